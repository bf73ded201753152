//! What the tests share: golden tensors, and a GPU that must be there.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wgen::Result;
use wgen::data::Dataset;
use wgen::files::{Config, Training};
use wgen::gpu::{Choice, Gpu};
use wgen::graph::Graph;
use wgen::graph::layout::{Init, Layout, Parameter};
use wgen::kernels::philox::Domain;
use wgen::models::vae::{Config as VaeConfig, Decoder, Vae};
use wgen::plan::{Store, StoreOptions};
use wgen::program::Flat;
use wgen::session::Device;
use wgen::tensor::{Data, TensorType, Value};
use wgen::train::{Summary, Trainer};

pub(crate) mod calls;
pub(crate) mod continuous;
pub(crate) mod example;
pub(crate) mod fields;
pub(crate) mod folder;
pub(crate) mod gradients;
pub(crate) mod graphs;
pub(crate) mod laws;
pub(crate) mod networks;
pub(crate) mod pickled;
#[cfg(unix)]
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod rays;
pub(crate) mod sampled;
pub(crate) mod saved;
pub(crate) mod scenes;
pub(crate) mod wgsl;

/// The adapter of the tests. There must be one: a GPU test never passes by not running.
pub(crate) fn gpu() -> Gpu {
    Gpu::new(&Choice::Auto)
        .expect("GPU tests need an adapter; Debian: apt-get install mesa-vulkan-drivers")
}

/// Numbers on [-scale, scale) + shift: `drawn` of the scripts that write goldens, which so need no weights and inputs.
pub(crate) fn drawn(name: &str, count: usize, scale: f64, shift: f64) -> Vec<f32> {
    let key = name.bytes().fold(0x811c_9dc5_u32, |key, byte| {
        (key ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let one = |i: usize| {
        let mut x = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(key);
        for _ in 0..2 {
            x ^= x >> 16;
            x = x.wrapping_mul(0x45d_9f3b);
        }
        x ^= x >> 16;
        let unit = (f64::from(x) / 2_f64.powi(31) - 1.0) as f32;
        (f64::from(unit) * scale + shift) as f32
    };
    (0..count).map(one).collect()
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
                safetensors::Dtype::F32 => Data::F64(
                    view.data()
                        .chunks_exact(4)
                        .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                        .collect(),
                ),
                safetensors::Dtype::I16 => Data::F64(
                    view.data()
                        .chunks_exact(2)
                        .map(|b| f64::from(i16::from_le_bytes(b.try_into().unwrap())))
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

/// y = sigmoid(z w^T + b), z [4, 8].
pub(crate) fn small_graph() -> Graph {
    let graph = Graph::new(Domain::Sampling);
    let z = graph.input("z", TensorType::f32([4, 8]));
    let w = graph.parameter("w", [16, 8]);
    let b = graph.parameter("b", [16]);
    graph.output("y", z.linear(w, b).sigmoid());
    graph
}

/// Its parameters, drawn.
pub(crate) fn small_store(gpu: &Gpu) -> Store {
    let init = Init::Normal(0.0, 1.0);
    let layout = Layout::new(
        vec![
            Parameter::new("w", [16, 8], init),
            Parameter::new("b", [16], init),
        ],
        1 << 20,
    )
    .unwrap();
    let store = Store::new(gpu, layout.clone(), StoreOptions::default()).unwrap();
    let values: Vec<_> = layout
        .parameters
        .iter()
        .map(|p| wgen::nn::init::draw(p, 1))
        .collect();
    store.write(Flat::Parameters, &values).unwrap();
    store
}

/// A VAE of one hidden layer.
pub(crate) fn config(
    dataset: &Dataset,
    hidden: usize,
    latent: usize,
    training: Training,
) -> Config {
    Config::new(
        Arc::new(
            Vae::new(VaeConfig {
                width: dataset.shape.count(),
                hidden: vec![hidden],
                latent,
                decoder: Decoder::Bernoulli,
                ..VaeConfig::mnist()
            })
            .unwrap(),
        ),
        dataset.shape,
        "test",
        training,
    )
}

/// Trains without listening.
pub(crate) fn train(
    device: &Device,
    config: Config,
    dataset: Dataset,
    out: &Path,
    resume: bool,
) -> Result<Summary> {
    Trainer::new(device, config, dataset, out, resume)?.run(&AtomicBool::new(false), |_, _| Ok(()))
}

/// A file's bytes.
pub(crate) fn file(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
