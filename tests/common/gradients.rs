//! Gradients of whole models beside PyTorch's.

use std::collections::BTreeMap;

use wgen::graph::layout::{Layout, Role};
use wgen::tensor::Value;

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, Value>;

/// The parameters of case `name`, `NAME/w/PARAMETER`, as the device has them.
pub(crate) fn weights(name: &str, tensors: &Tensors, layout: &Layout) -> Vec<Vec<f32>> {
    let of = |p: &wgen::graph::layout::Parameter| match tensors.get(&format!("{name}/w/{}", p.name))
    {
        Some(value) => {
            assert_eq!(value.shape, p.file_shape(), "{name} {}", p.name);
            p.from_border(&value.data.to_f32())
        }
        // A counter, which PyTorch has as an integer.
        None => vec![0.0; p.shape.count()],
    };
    layout.parameters.iter().map(of).collect()
}

/// Every gradient of set `set` within 1e-4 of PyTorch's, `NAME/g/PARAMETER`, relative to its range or to 1e-3 of the model's largest. How many
/// there are, and the worst in these units.
pub(crate) fn agree(
    name: &str,
    tensors: &Tensors,
    layout: &Layout,
    gradients: &[Vec<f32>],
    set: u8,
) -> (usize, f64) {
    let trained = layout.parameters.iter().zip(gradients);
    let trained: Vec<_> = trained
        .filter(|(p, _)| p.role == Role::Trained(set))
        .collect();
    let wanted =
        |p: &wgen::graph::layout::Parameter| tensors[&format!("{name}/g/{}", p.name)].data.to_f64();
    let range = |x: &[f64]| x.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let largest = trained
        .iter()
        .map(|(p, _)| range(&wanted(p)))
        .fold(0.0, f64::max);
    let mut worst = 0.0_f64;
    for &(parameter, gradient) in &trained {
        let expected = wanted(parameter);
        let unit = range(&expected).max(1e-3 * largest);
        let got = parameter.to_border(gradient);
        assert_eq!(got.len(), expected.len(), "{name}, {}", parameter.name);
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let difference = (f64::from(*got) - expected).abs();
            assert!(
                difference <= 1e-4 * unit,
                "{name}, gradient of {} [{i}]: {got}, PyTorch's {expected}; {difference:e} above 1e-4 of {unit:e}",
                parameter.name
            );
            worst = worst.max(difference / unit);
        }
    }
    (trained.len(), worst)
}
