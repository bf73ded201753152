//! Weights, and their fit to a model.
#![no_main]

use std::path::Path;

use wgen::graph::layout::Layout;
use wgen::models::Model;
use wgen::models::vae::{Config, Decoder, Vae};
use wgen::files::weights::{from_file, tensors_from_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzzed");
    let Ok(tensors) = tensors_from_bytes(path, bytes) else {
        return;
    };
    for (shape, values) in tensors.values() {
        assert_eq!(shape.iter().product::<usize>(), values.len());
    }
    let config = Config { width: 2, hidden: vec![2], latent: 1, decoder: Decoder::Bernoulli, ..Config::mnist() };
    let model = Vae::new(config).expect("these sizes are right");
    let layout = Layout::new(model.parameters(), 1 << 27).expect("it is small");
    if let Ok(weights) = from_file(path, &tensors, &layout, "") {
        assert!(weights.iter().flatten().all(|w| w.is_finite()));
    }
});
