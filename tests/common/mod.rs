//! What the tests share: golden tensors, and a GPU that must be there.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use wgen::gpu::{Choice, Gpu};
use wgen::tensor::{Data, Value};

/// The adapter of the tests. There must be one: a GPU test never passes by not running.
pub(crate) fn gpu() -> Gpu {
    Gpu::new(&Choice::Auto)
        .expect("GPU tests need an adapter; Debian: apt-get install mesa-vulkan-drivers")
}

/// The tensors of a golden file.
pub(crate) fn golden(name: &str) -> BTreeMap<String, Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.safetensors"));
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let data = match view.dtype() {
                safetensors::Dtype::F64 => Data::F64(
                    view.data()
                        .chunks_exact(8)
                        .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                        .collect(),
                ),
                safetensors::Dtype::I32 => Data::U32(
                    view.data()
                        .chunks_exact(4)
                        .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
                        .collect(),
                ),
                other => panic!("{name} is {other:?}"),
            };
            (name.to_owned(), Value::new(view.shape(), data).unwrap())
        })
        .collect()
}

/// The largest difference relative to the expected array's range.
#[must_use]
pub(crate) fn relative_difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let range = expected.iter().fold(1e-12_f64, |m, x| m.max(x.abs()));
    got.iter()
        .zip(expected)
        .fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs() / range))
}
