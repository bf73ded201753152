//! Weights as other programs save them, and what is said when a folder of them is opened.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use wgen::Run;
use wgen::files::weights::{Tensors, to_file};
use wgen::files::{Config, Training};
use wgen::graph::layout::Layout;
use wgen::models::vae::{Config as VaeConfig, Decoder, Vae};
use wgen::tensor::ImageShape;

thread_local! {
    /// What was said on this thread.
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) {
            SAID.with_borrow_mut(|said| said.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// What opening a folder gives, and what is said meanwhile.
pub(crate) fn open(folder: &Path) -> (wgen::Result<Run>, Vec<String>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    SAID.with_borrow_mut(Vec::clear);
    let run = Run::open(folder);
    (run, SAID.with_borrow(Clone::clone))
}

/// A run that opens without a word.
#[track_caller]
pub(crate) fn opened(folder: &Path) -> Run {
    let (run, said) = open(folder);
    assert!(said.is_empty(), "{said:?}");
    run.unwrap_or_else(|e| panic!("{e}"))
}

/// A run that opens with one warning, which has these words.
#[track_caller]
pub(crate) fn opened_with(folder: &Path, words: &[&str]) -> Run {
    let (run, said) = open(folder);
    let run = run.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(said.len(), 1, "{said:?}");
    for word in words {
        assert!(said[0].contains(word), "no '{word}' in {said:?}");
    }
    run
}

#[track_caller]
pub(crate) fn refused(folder: &Path, words: &[&str]) {
    let message = match open(folder).0 {
        Ok(_) => panic!("it was taken; {words:?}"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(message.contains(word), "no '{word}' in: {message}");
    }
}

/// A tensor as a file has it.
pub(crate) type Stored = (Dtype, Vec<usize>, Vec<u8>);

pub(crate) fn f32s(tensors: &Tensors) -> BTreeMap<String, Stored> {
    stored(tensors, Dtype::F32, |x| x.to_le_bytes().to_vec())
}

pub(crate) fn stored(
    tensors: &Tensors,
    dtype: Dtype,
    bytes: impl Fn(f32) -> Vec<u8>,
) -> BTreeMap<String, Stored> {
    let each = tensors.iter().map(|(name, (shape, values))| {
        let data = values.iter().flat_map(|x| bytes(*x)).collect();
        (name.clone(), (dtype, shape.clone(), data))
    });
    each.collect()
}

pub(crate) fn file(tensors: &BTreeMap<String, Stored>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The same file with a header of `length` bytes, spaces at its end.
pub(crate) fn padded(file: &[u8], length: usize) -> Vec<u8> {
    let old = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut out = (length as u64).to_le_bytes().to_vec();
    out.extend(&file[8..8 + old]);
    out.resize(8 + length, b' ');
    out.extend(&file[8 + old..]);
    out
}

/// A run folder of a small VAE whose weights are numbers that halves do not hold.
pub(crate) fn vae(folder: &Path) -> (Vec<Vec<f32>>, Tensors) {
    let config = VaeConfig {
        width: 4,
        hidden: vec![3],
        latent: 2,
        decoder: Decoder::Bernoulli,
        ..VaeConfig::mnist()
    };
    let image = ImageShape {
        height: 2,
        width: 2,
        channels: 1,
    };
    let model = Arc::new(Vae::new(config).unwrap());
    let config = Config::new(model, image, "digits", Training::default());
    fs::create_dir_all(folder).unwrap();
    let text = serde_json::to_string(&config).unwrap();
    fs::write(folder.join("config.json"), text).unwrap();
    let layout = Layout::new(config.model.parameters(), u64::MAX).unwrap();
    let weights = numbers(&layout);
    let tensors = to_file(&layout.parameters, &weights, "");
    (weights, tensors)
}

/// Weights in [-0.5, 0.5), all of them different.
pub(crate) fn numbers(layout: &Layout) -> Vec<Vec<f32>> {
    let mut i = 0_u32;
    let mut next = || {
        i += 1;
        f32::from_bits(0x3f80_0000 | (i.wrapping_mul(2_654_435_761) >> 9)) - 1.5
    };
    let counts = layout.parameters.iter().map(|p| p.shape.count());
    counts.map(|n| (0..n).map(|_| next()).collect()).collect()
}

pub(crate) fn temporary() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    (dir, folder)
}

/// The files and the index of shards `stem` of two halves.
pub(crate) fn shard(folder: &Path, stem: &str, tensors: &BTreeMap<String, Stored>) -> [String; 2] {
    let names = [1, 2].map(|i| format!("{stem}-0000{i}-of-00002.safetensors"));
    let mut parts = [BTreeMap::new(), BTreeMap::new()];
    let mut map = serde_json::Map::new();
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        parts[i % 2].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), Json::from(names[i % 2].clone()));
    }
    for (name, part) in names.iter().zip(&parts) {
        fs::write(folder.join(name), file(part)).unwrap();
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    fs::write(
        folder.join(format!("{stem}.safetensors.index.json")),
        index.to_string(),
    )
    .unwrap();
    names
}
