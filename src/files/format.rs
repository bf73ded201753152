//! The bytes of a safetensors file as tensors, and what else was taken for one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::graph::layout::COUNTER;

/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// A tensor of a file.
#[derive(Debug)]
pub(super) enum Tensor {
    /// Of a type that f32 stands for: its shape and values.
    Floats(Vec<usize>, Vec<f32>),
    /// Of another type.
    Other(Dtype),
}

impl Tensor {
    /// The shape and values of tensor `name`.
    ///
    /// # Errors
    /// When it is none of floats.
    pub(super) fn floats(self, path: &Path, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        match self {
            Self::Floats(shape, values) => Ok((shape, values)),
            Self::Other(dtype) => Err(Error::format(
                path,
                format!("tensor '{name}' is {dtype:?}; F32, F16, BF16 or F64 is wanted"),
            )),
        }
    }
}

/// The tensors of a file; `path` is for messages alone. F16 and BF16 are widened, F64 is rounded; counters of batches become floats too.
///
/// # Errors
/// When it is no safetensors file, saying what it is, is cut short or damaged, or an F64 is beyond f32.
pub(super) fn decode(path: &Path, data: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    recognise(data).map_err(|why| Error::format(path, why))?;
    let file = SafeTensors::deserialize(data)
        .map_err(|e| Error::format(path, format!("{NOT_WHOLE}: {}", damage(data, &e))))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let tensor = widened(name, &view).map_err(|why| Error::format(path, why))?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

const NOT_WHOLE: &str = "is no whole safetensors file";

/// Whether the file begins as the format has it: the length of a header that is within bounds, and the brace that the header begins with.
/// Only what does not is looked at for being something else: the length's own bytes may be any.
fn recognise(data: &[u8]) -> Result<(), String> {
    let length = data.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    if let (Some(length), Some(b'{')) = (length, data.get(8))
        && length <= LONGEST_HEADER
    {
        let rest = data.len() as u64 - 8;
        return if length <= rest {
            Ok(())
        } else {
            Err(format!(
                "{NOT_WHOLE}: it is cut short: of a header of {length} bytes there are {rest}"
            ))
        };
    }
    let text = data.trim_ascii_start();
    Err(match data {
        [] => format!("{NOT_WHOLE}: it is empty"),
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => "is a PyTorch pickle, which may run code when it is loaded; save it with safetensors.torch.save_file instead".to_owned(),
        _ if data.starts_with(b"version https://git-lfs") => {
            format!("{NOT_WHOLE}: it is a Git LFS pointer, which stands for it; run `git lfs pull`, or download the file itself")
        }
        _ if text.starts_with(b"<") => {
            format!("{NOT_WHOLE}: it is a web page; download the file itself")
        }
        _ if data.len() < 9 => format!(
            "{NOT_WHOLE}: it is cut short after {} bytes, before its header",
            data.len()
        ),
        _ => format!("{NOT_WHOLE}: it does not begin with a header"),
    })
}

/// What an error of the crate means to who has the file.
fn damage(data: &[u8], error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            let Some(end) = promised(data) else {
                return format!("it is damaged: {error}");
            };
            let length = data.len() as u64;
            if length < end {
                format!(
                    "it is cut short: of {end} bytes {} are missing",
                    end - length
                )
            } else {
                format!("it has {} bytes after its last tensor", length - end)
            }
        }
        SafeTensorError::InvalidOffset(name) => {
            format!(
                "its header is damaged: tensor '{name}' does not begin where the one before it ends"
            )
        }
        other => format!("its header is damaged: {other}"),
    }
}

#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    data_offsets: Option<(u64, u64)>,
}

/// The length of the file by its header.
fn promised(data: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(*data.first_chunk()?);
    let end = usize::try_from(length).ok()?.checked_add(8)?;
    let places: BTreeMap<Cow<str>, Place> = serde_json::from_slice(data.get(8..end)?).ok()?;
    let last = places
        .values()
        .filter_map(|p| Some(p.data_offsets?.1))
        .max();
    last.unwrap_or(0).checked_add(end as u64)
}

fn widened(name: &str, view: &TensorView) -> Result<Tensor, String> {
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => each(data, f32::from_le_bytes),
        Dtype::F16 => each(data, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(data, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => {
            let values = each(data, |b| f64::from_le_bytes(b) as f32);
            let beyond = |(i, x): (usize, &f32)| {
                let wide = f64::from_le_bytes(*data[8 * i..].first_chunk()?);
                (x.is_infinite() && wide.is_finite()).then_some((i, wide))
            };
            if let Some((i, wide)) = values.iter().enumerate().find_map(beyond) {
                return Err(format!(
                    "tensor '{name}' is F64 and holds {wide:e} at {i}, which is beyond f32"
                ));
            }
            values
        }
        Dtype::I64 if name.ends_with(COUNTER) => each(data, |b| i64::from_le_bytes(b) as f32),
        other => return Ok(Tensor::Other(other)),
    };
    Ok(Tensor::Floats(view.shape().to_vec(), values))
}

/// The elements of `N` bytes each; the crate has checked that there is a whole number of them.
fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks()
        .0
        .iter()
        .map(|bytes| value(*bytes))
        .collect()
}
