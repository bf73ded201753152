//! Files of `torch.save`: their tables, values, and their fit to a model.
#![no_main]

use std::path::Path;

use wgen::files::stored::Stored;
use wgen::files::weights::{from_file, tensors_from_bytes};
use wgen::graph::layout::Layout;
use wgen::models::Model;
use wgen::models::vae::{Config, Decoder, Vae};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzzed");
    let Ok(mut stored) = Stored::from_bytes(path, bytes) else {
        return;
    };
    // One by one, then together where they are not many times the file.
    let table = stored.table().clone();
    for (name, entry) in table.iter().take(16) {
        assert!(entry.range.end <= bytes.len() as u64);
        assert_eq!(entry.count() * entry.dtype.bitsize(), 8 * (entry.range.end - entry.range.start) as usize);
        if let Ok(values) = stored.floats(name) {
            assert_eq!(values.len(), entry.count());
        }
    }
    let Ok(tensors) = tensors_from_bytes(path, bytes) else {
        return;
    };
    assert!(tensors.keys().eq(table.keys()));
    let config = Config { width: 2, hidden: vec![2], latent: 1, decoder: Decoder::Bernoulli, ..Config::mnist() };
    let model = Vae::new(config).expect("these sizes are right");
    let layout = Layout::new(model.parameters(), 1 << 27).expect("it is small");
    if let Ok(weights) = from_file(path, &tensors, &layout, "") {
        assert!(weights.iter().flatten().all(|w| w.is_finite()));
    }
});
