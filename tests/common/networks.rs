//! Networks beside PyTorch: weights that both sides draw, gradients of which a golden file has some elements, waves that a formula gives.

use std::collections::BTreeMap;

use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::{Flat, PlanOptions};
use wgen::tensor::{Data, ImageShape, Value};

use super::{drawn, gpu};

/// A parameter's values as the device has them: `weight` of the scripts.
pub(crate) fn weight(case: &str, parameter: &Parameter) -> Vec<f32> {
    let shape = parameter.file_shape();
    let name = format!("{case}/{}", parameter.name);
    let file = if let [count] = shape.dims() {
        let gain = if name.ends_with("weight") { 1.0 } else { 0.0 };
        drawn(&name, *count, 0.3, gain)
    } else {
        let inputs: usize = shape.dims()[1..].iter().product();
        drawn(&name, shape.count(), (3.0 / inputs as f64).sqrt(), 0.0)
    };
    parameter.from_border(&file)
}

/// Images as files have them and as the device has them.
pub(crate) fn images(batch: usize, image: ImageShape) -> Parameter {
    let shape = [batch, image.height, image.width, image.channels];
    Parameter::new("x", shape, Init::Constant(0.0)).with_border(&[0, 3, 1, 2])
}

/// The largest absolute value.
pub(crate) fn range(values: &[f64]) -> f64 {
    values.iter().fold(0.0_f64, |m, x| m.max(x.abs()))
}

/// A graph that gives gradients, compiled for a store of the scripts' weights.
pub(crate) fn planned(case: &str, graph: &Graph, parameters: &[Parameter]) -> (Store, Plan) {
    let options = StoreOptions {
        training: true,
        ema: false,
    };
    let layout = Layout::new(parameters.to_vec(), 128 << 20).unwrap();
    let store = Store::new(&gpu(), layout, options).unwrap();
    let weights: Vec<Vec<f32>> = parameters.iter().map(|p| weight(case, p)).collect();
    store.write(Flat::Parameters, &weights).unwrap();
    let plan = Plan::compile(graph, &store, &[], PlanOptions::default()).unwrap();
    (store, plan)
}

/// Asserts that a store's gradients are a golden file's, `NAME/grad/PARAMETER`, of which it has about `most` elements a tensor: within 1e-4 of
/// each tensor's range, or of a thousandth of the largest one's.
pub(crate) fn assert_gradients(
    name: &str,
    parameters: &[Parameter],
    store: &Store,
    tensors: &BTreeMap<String, Value>,
    most: usize,
) {
    let prefix = format!("{name}/grad/");
    // As many parameters as PyTorch has, under the same names.
    let count = tensors.keys().filter(|k| k.starts_with(&prefix)).count();
    assert_eq!(parameters.len(), count, "{name}");
    let theirs = |p: &Parameter| tensors[&format!("{prefix}{}", p.name)].data.to_f64();
    let largest = parameters
        .iter()
        .map(|p| range(&theirs(p)))
        .fold(0.0, f64::max);
    for (p, got) in parameters.iter().zip(store.read(Flat::Gradients).unwrap()) {
        let expected = theirs(p);
        // `thinned` of the script.
        let got = p.to_border(&got);
        let stride = (got.len() / most).max(1);
        let got: Vec<f32> = got.iter().copied().step_by(stride).collect();
        assert_eq!(got.len(), expected.len(), "{name}, {}", p.name);
        let scale = range(&expected).max(1e-3 * largest);
        let off = got
            .iter()
            .zip(&expected)
            .map(|(&a, b)| (f64::from(a) - b).abs());
        let worst = off.fold(0.0, f64::max);
        assert!(
            worst < 1e-4 * scale,
            "{name}, {}: {:e}",
            p.name,
            worst / scale
        );
    }
}

/// A parameter's values in f64, given by their places in files.
pub(crate) fn placed(p: &Parameter, file: impl Fn(usize) -> f64) -> Value {
    // Borders move numbers, in f32: of f64 the places are moved.
    let places: Vec<f32> = (0..p.shape.count()).map(|i| i as f32).collect();
    let places = p.from_border(&places);
    let data = Data::F64(places.iter().map(|&i| file(i as usize)).collect());
    Value::new(p.shape.clone(), data).unwrap()
}

/// Parameters as the notes on guided-diffusion's networks have them: parameter k in the order of its state dict, element i: 0.1 sin(0.7 i + k),
/// plus 1 for weights of one axis.
pub(crate) fn waves(parameters: &[Parameter]) -> Vec<(&str, Value)> {
    let wave = |(k, p): (usize, &Parameter)| {
        let gain = p.file_shape().rank() == 1 && p.name.ends_with("weight");
        let gain = if gain { 1.0 } else { 0.0 };
        placed(p, |i| 0.1 * (0.7 * i as f64 + k as f64).sin() + gain)
    };
    let names = parameters.iter().map(|p| &p.name[..]);
    names.zip(parameters.iter().enumerate().map(wave)).collect()
}
