//! Parameters in safetensors files and in what `torch.save` wrote, under the names and with the axes that the reference PyTorch implementation has. On the device images
//! lie with their channels last, so that weights of convolutions are permuted on the way.
//!
//! ```
//! use wgen::files::weights::{from_file, read_tensors, to_file, write_tensors};
//! use wgen::graph::layout::Layout;
//! use wgen::nn::Conv2d;
//! # let dir = tempfile::tempdir().unwrap();
//!
//! let parameters = Conv2d::new("conv1", 1, 2, [3, 1, 0]).parameters();
//! let layout = Layout::new(parameters, 1 << 20)?;
//! let values = vec![(0..18).map(|i| i as f32).collect(), vec![0.5, -0.5]];
//! let path = dir.path().join("model.safetensors");
//! write_tensors(&path, &to_file(&layout.parameters, &values, ""))?;
//!
//! let tensors = read_tensors(&path)?;
//! assert_eq!(tensors["conv1.weight"].0, [2, 1, 3, 3]); // out, in, height, width
//! assert_eq!(from_file(&path, &tensors, &layout, "")?, values);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::stored::Stored;
use crate::error::{Error, Result};
use crate::graph::layout::{COUNTER, Init, Layout, Parameter};
use crate::tensor::ImageShape;

/// Named f32 tensors with their shapes. PyTorch's counters of batches are I64 in files (`num_batches_tracked` of batch normalisation).
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Writes a file of f32 tensors and syncs it.
///
/// # Errors
/// When it cannot be written: a full disk, a folder without permission.
pub fn write_tensors(path: &Path, tensors: &Tensors) -> Result<()> {
    super::synced::write_synced(path, &tensors_to_bytes(path, tensors)?)
}

/// A file's bytes, as [`write_tensors`] writes them; `path` is for messages alone.
///
/// # Errors
/// When a tensor's values do not fill its shape.
pub(crate) fn tensors_to_bytes(path: &Path, tensors: &Tensors) -> Result<Vec<u8>> {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = if name.ends_with(COUNTER) {
                values
                    .iter()
                    .flat_map(|v| (*v as i64).to_le_bytes())
                    .collect()
            } else {
                values.iter().flat_map(|v| v.to_le_bytes()).collect()
            };
            (name, shape, bytes)
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| {
            let dtype = if name.ends_with(COUNTER) {
                Dtype::I64
            } else {
                Dtype::F32
            };
            TensorView::new(dtype, (*shape).clone(), data)
                .map(|view| ((*name).clone(), view))
                .map_err(|e| Error::format(path, format!("tensor '{name}': {e}")))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|e| Error::format(path, e.to_string()))
}

/// Reads a file of floats, safetensors or what `torch.save` wrote: F32, or F16, BF16 and F64, which become f32.
///
/// # Errors
/// When it is missing, of neither kind, cut short or damaged, holds more than tables of tensors, or a tensor is of another type or has a value
/// beyond f32.
pub fn read_tensors(path: &Path) -> Result<Tensors> {
    all(Stored::open(path)?)
}

/// As [`read_tensors`], from memory; `path` is for messages alone.
///
/// # Errors
/// As [`read_tensors`].
pub fn tensors_from_bytes(path: &Path, data: &[u8]) -> Result<Tensors> {
    all(Stored::from_bytes(path, data)?)
}

fn all(file: Stored) -> Result<Tensors> {
    let each = file.all()?;
    each.map(|tensor| tensor.map(|(name, shape, values)| (name, (shape, values))))
        .collect()
}

/// Tensors of the device as a file has them: border order, names with `prefix`.
pub fn to_file(parameters: &[Parameter], values: &[Vec<f32>], prefix: &str) -> Tensors {
    let each = parameters.iter().zip(values);
    each.map(|(p, v)| {
        (
            format!("{prefix}{}", p.name),
            (p.file_shape().dims().to_vec(), p.to_border(v)),
        )
    })
    .collect()
}

/// Tensors of a file in the layout's order, as they lie on the device.
///
/// # Errors
/// When one is missing, misshapen, superfluous, or holds a NaN or an infinity.
pub fn from_file(
    path: &Path,
    tensors: &Tensors,
    layout: &Layout,
    prefix: &str,
) -> Result<Vec<Vec<f32>>> {
    let shapes = tensors
        .iter()
        .map(|(name, (shape, _))| (&name[..], &shape[..]));
    check_names(path, &shapes.collect(), layout, prefix)?;
    let each = layout.parameters.iter().map(|parameter| {
        let name = format!("{prefix}{}", parameter.name);
        let values = &tensors[&name].1;
        check_finite(path, &name, values)?;
        Ok(parameter.from_border(values))
    });
    each.collect()
}

/// Whether tensors of these names and shapes are the layout's, names with `prefix`.
///
/// # Errors
/// When one is missing, misshapen or superfluous.
pub(super) fn check_names(
    path: &Path,
    shapes: &BTreeMap<&str, &[usize]>,
    layout: &Layout,
    prefix: &str,
) -> Result<()> {
    for parameter in &layout.parameters {
        let name = format!("{prefix}{}", parameter.name);
        let Some(shape) = shapes.get(&name[..]) else {
            return Err(Error::format(path, lacks(shapes, &name)));
        };
        let wanted = parameter.file_shape();
        if *shape != wanted.dims() {
            return Err(Error::format(
                path,
                format!("tensor '{name}' is {shape:?}, the model has {wanted:?}"),
            ));
        }
    }
    let known = |name: &str| {
        let bare = name.strip_prefix(prefix);
        bare.is_none_or(|bare| layout.find(bare).is_some())
    };
    match shapes.keys().find(|name| !known(name)) {
        Some(extra) => Err(Error::format(
            path,
            format!("has tensor '{extra}', which the model does not have"),
        )),
        None => Ok(()),
    }
}

/// Refuses values of tensor `name` of a file that are no numbers.
///
/// # Errors
/// When there is a NaN or an infinity among them.
pub(super) fn check_finite(path: &Path, name: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(Error::format(
            path,
            format!("tensor '{name}' holds {} at {i}", values[i]),
        )),
        None => Ok(()),
    }
}

/// That a tensor is missing, and under which name it may be there.
fn lacks(shapes: &BTreeMap<&str, &[usize]>, name: &str) -> String {
    let longer = |other: &&&str| {
        let rest = other.strip_suffix(name);
        rest.is_some_and(|before| before.ends_with('.'))
    };
    match shapes.keys().find(longer) {
        Some(other) => format!(
            "lacks tensor '{name}'; it has '{other}': take '{}' off its names",
            &other[..other.len() - name.len()]
        ),
        None => format!("lacks tensor '{name}'; it is not a file of this model"),
    }
}

/// Images `[n, height, width, channels]` as they lie on the device in the order of files, `[n, channels, height, width]`.
pub fn images_to_file(values: &[f32], image: ImageShape) -> (Vec<usize>, Vec<f32>) {
    let tensor = image_tensor(values.len(), image);
    (
        tensor.file_shape().dims().to_vec(),
        tensor.to_border(values),
    )
}

/// The `n` images of tensor `name` of a file, `[n, channels, height, width]`, as they lie on the device.
///
/// # Errors
/// When the file cannot be read, has no such tensor, or one of another shape.
pub fn images_from_file(path: &Path, name: &str, image: ImageShape, n: usize) -> Result<Vec<f32>> {
    let tensors = read_tensors(path)?;
    let tensor = image_tensor(n * image.count(), image);
    match tensors.get(name) {
        None => Err(Error::format(
            path,
            format!(
                "has no tensor '{name}'; it has {}",
                tensors.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        )),
        Some((shape, _)) if *shape != tensor.file_shape().dims() => Err(Error::format(
            path,
            format!(
                "{name} is {shape:?}; for `n` {n} of this model it must be {:?}",
                tensor.file_shape()
            ),
        )),
        Some((_, values)) => Ok(tensor.from_border(values)),
    }
}

fn image_tensor(values: usize, image: ImageShape) -> Parameter {
    let n = values / image.count().max(1);
    let shape = [n, image.height, image.width, image.channels];
    Parameter::new("images", shape, Init::Constant(0.0)).with_border(&[0, 3, 1, 2])
}
