//! Small radiance fields, and how the program is asked to train such.

use std::sync::Arc;

use wgen::data::Dataset;
use wgen::data::scene::analytic;
use wgen::files::{Config, Training};
use wgen::graph::update::Rule;
use wgen::models::Model;
use wgen::models::nerf::ngp::{self, Ngp};
use wgen::models::nerf::vanilla::{self, Nerf};
use wgen::session::Device;

use super::gpu;

/// The occupancy grid's tensor.
pub(crate) const OCCUPANCY: &str = "occupancy.values";

pub(crate) fn small_ngp() -> ngp::Config {
    ngp::Config {
        levels: 3,
        features: 2,
        log2_entries: 9,
        base_resolution: 4,
        finest_resolution: 32,
        width: 16,
        outputs: 8,
        grid: 16,
        steps: 48,
        capacity: 3000,
        target_samples: 2500,
        ..ngp::Config::blender(analytic::camera())
    }
}

pub(crate) fn small_nerf() -> vanilla::Config {
    vanilla::Config {
        coarse: 8,
        fine: 8,
        depth: 2,
        width: 16,
        skips: Vec::new(),
        point_octaves: Some(4),
        direction_octaves: Some(2),
        ..vanilla::Config::blender(analytic::camera())
    }
}

/// A small one of each.
pub(crate) fn models() -> [Arc<dyn Model>; 2] {
    [
        Arc::new(Ngp::new(small_ngp()).unwrap()),
        Arc::new(Nerf::new(small_nerf()).unwrap()),
    ]
}

pub(crate) fn devices() -> [(&'static str, Device); 2] {
    [("gpu", Device::Gpu(gpu())), ("cpu", Device::Cpu)]
}

/// Arguments of a small ngp.
pub(crate) const NGP: &[&str] = &[
    "train",
    "ngp",
    "--data",
    "analytic:4",
    "--levels",
    "3",
    "--features",
    "2",
    "--log2-entries",
    "9",
    "--base-resolution",
    "4",
    "--finest-resolution",
    "32",
    "--width",
    "16",
    "--occupancy",
    "16",
    "--ray-steps",
    "48",
    "--samples",
    "3000",
    "--batch",
    "96",
    "--no-previews",
    "--out",
];

/// Arguments of a small nerf.
pub(crate) const NERF: &[&str] = &[
    "train",
    "nerf",
    "--data",
    "analytic:4",
    "--coarse",
    "8",
    "--fine",
    "8",
    "--depth",
    "2",
    "--width",
    "16",
    "--point-octaves",
    "4",
    "--direction-octaves",
    "2",
    "--batch",
    "96",
    "--no-previews",
    "--out",
];

/// [`NGP`] or [`NERF`] without an option.
pub(crate) fn without<'a>(arguments: &[&'a str], option: &str) -> Vec<&'a str> {
    let at = arguments.iter().position(|a| *a == option).unwrap();
    arguments[..at]
        .iter()
        .chain(&arguments[at + 2..])
        .copied()
        .collect()
}

/// A run of a small field on four views.
pub(crate) fn config(model: Arc<dyn Model>, data: &Dataset, steps: u64) -> Config {
    let training = Training {
        steps: Some(steps),
        epochs: None,
        batch: 96,
        seed: 3,
        log_steps: 1,
        checkpoint_steps: 4,
        ema: Some(0.9),
        optimizer: Rule::Adam {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-15,
            decay: 0.0,
        },
        ..Training::default()
    };
    Config::new(model, data.shape, "analytic:4", training)
}
