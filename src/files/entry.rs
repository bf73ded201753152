//! What is known of a tensor in a file before its values are read, and its values as f32.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};
pub use safetensors::tensor::Dtype;

use crate::graph::layout::COUNTER;

/// A tensor of a file: what it is, and where its values lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The type of its values.
    pub dtype: Dtype,
    /// Its shape; the last axis is the one along which values are neighbours.
    pub shape: Vec<usize>,
    /// The bytes of the file that are its values, little-endian, with nothing between them.
    pub range: Range<u64>,
}

/// The tensors of a file by name.
pub type Table = BTreeMap<String, Entry>;

impl Entry {
    /// How many values it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether f32 stands for the values of tensor `name`: floats, and PyTorch's counters of batches, which are I64 in files.
    pub(super) fn holds_floats(&self, name: &str) -> bool {
        match self.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 => true,
            Dtype::I64 => name.ends_with(COUNTER),
            _ => false,
        }
    }

    /// That f32 does not stand for the values of tensor `name`.
    pub(super) fn no_floats(&self, name: &str) -> String {
        let dtype = self.dtype;
        format!("tensor '{name}' is {dtype:?}; F32, F16, BF16 or F64 is wanted")
    }
}

/// Adds values of tensor `name`, of a type for which [`Entry::holds_floats`], to those that came before them. F16 and BF16 are widened,
/// F64 is rounded.
///
/// # Errors
/// When an F64 is beyond f32.
pub(super) fn append(
    name: &str,
    dtype: Dtype,
    bytes: &[u8],
    values: &mut Vec<f32>,
) -> Result<(), String> {
    match dtype {
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32(), values),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32(), values),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32, values),
        Dtype::F64 => {
            let before = values.len();
            each(bytes, |b| f64::from_le_bytes(b) as f32, values);
            let beyond = |(i, x): (usize, &f32)| {
                let wide = f64::from_le_bytes(*bytes[8 * i..].first_chunk()?);
                (x.is_infinite() && wide.is_finite()).then_some((before + i, wide))
            };
            if let Some((i, wide)) = values[before..].iter().enumerate().find_map(beyond) {
                return Err(format!(
                    "tensor '{name}' is F64 and holds {wide:e} at {i}, which is beyond f32"
                ));
            }
        }
        _ => each(bytes, f32::from_le_bytes, values),
    }
    Ok(())
}

/// The elements of `N` bytes each; there is a whole number of them.
fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32, into: &mut Vec<f32>) {
    into.extend(bytes.as_chunks().0.iter().map(|bytes| value(*bytes)));
}
