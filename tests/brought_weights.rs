//! Weights and folders that other programs wrote: every kind that people bring is read, or what it is is said.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Once};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use wgen::Run;
use wgen::files::weights::{Tensors, read_tensors, tensors_from_bytes, to_file};
use wgen::files::{Config, Training};
use wgen::graph::layout::Layout;
use wgen::models::diffusion::process::Prediction;
use wgen::models::diffusion::{Denoiser, Diffusion, unet};
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
fn open(folder: &Path) -> (wgen::Result<Run>, Vec<String>) {
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
fn opened(folder: &Path) -> Run {
    let (run, said) = open(folder);
    assert!(said.is_empty(), "{said:?}");
    run.unwrap_or_else(|e| panic!("{e}"))
}

/// A run that opens with one warning, which has these words.
#[track_caller]
fn opened_with(folder: &Path, words: &[&str]) -> Run {
    let (run, said) = open(folder);
    let run = run.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(said.len(), 1, "{said:?}");
    for word in words {
        assert!(said[0].contains(word), "no '{word}' in {said:?}");
    }
    run
}

#[track_caller]
fn refused(folder: &Path, words: &[&str]) {
    let message = match open(folder).0 {
        Ok(_) => panic!("it was taken; {words:?}"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(message.contains(word), "no '{word}' in: {message}");
    }
}

/// A tensor as a file has it.
type Stored = (Dtype, Vec<usize>, Vec<u8>);

fn f32s(tensors: &Tensors) -> BTreeMap<String, Stored> {
    stored(tensors, Dtype::F32, |x| x.to_le_bytes().to_vec())
}

fn stored(
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

fn file(tensors: &BTreeMap<String, Stored>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The same file with a header of `length` bytes, spaces at its end.
fn padded(file: &[u8], length: usize) -> Vec<u8> {
    let old = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut out = (length as u64).to_le_bytes().to_vec();
    out.extend(&file[8..8 + old]);
    out.resize(8 + length, b' ');
    out.extend(&file[8 + old..]);
    out
}

/// A run folder of a small VAE whose weights are numbers that halves do not hold.
fn vae(folder: &Path) -> (Vec<Vec<f32>>, Tensors) {
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
fn numbers(layout: &Layout) -> Vec<Vec<f32>> {
    let mut i = 0_u32;
    let mut next = || {
        i += 1;
        f32::from_bits(0x3f80_0000 | (i.wrapping_mul(2_654_435_761) >> 9)) - 1.5
    };
    let counts = layout.parameters.iter().map(|p| p.shape.count());
    counts.map(|n| (0..n).map(|_| next()).collect()).collect()
}

fn temporary() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    (dir, folder)
}

#[test]
fn a_header_of_any_length_is_one() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let path = folder.join("model.safetensors");
    // Every low byte, 0x80 of pickles and the P of zips among them; whole beginnings of both.
    let pickles = [2, 3, 4, 5].map(|protocol| protocol << 8 | 0x80);
    let zips = [0x4b50, 0x0403_4b50];
    let one: Tensors = tensors.clone().into_iter().take(1).collect();
    let short = file(&f32s(&one));
    for length in (0x100..0x200).chain(pickles).chain(zips) {
        let bytes = padded(&short, length);
        let read = tensors_from_bytes(&path, &bytes).unwrap_or_else(|e| panic!("{length:#x}: {e}"));
        assert_eq!(read, one, "{length:#x}");
    }
    let plain = file(&f32s(&tensors));
    for length in [0x680, 0x4b50] {
        fs::write(&path, padded(&plain, length)).unwrap();
        assert_eq!(opened(&folder).weights(), weights);
    }
}

#[test]
fn what_is_no_safetensors_file_is_said() {
    let said = |bytes: &[u8]| match tensors_from_bytes(Path::new("weights"), bytes) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    };
    for protocol in 2..=5 {
        let pickle = [&[0x80, protocol, b'}', b'q', 0, b'.'][..], &[0; 20]].concat();
        assert!(said(&pickle).contains("is a PyTorch pickle"));
    }
    // As torch.save writes it, whose zip has version 0 and flags; and as other programs do.
    for zip in [
        &b"PK\x03\x04\0\0\x08\x08\0\0"[..],
        b"PK\x03\x04\x14\0\0\0\0\0{}",
    ] {
        assert!(said(zip).contains("is a PyTorch pickle"));
    }
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 170\n";
    assert!(said(pointer).contains("git lfs pull"));
    assert!(said(b"\n<!DOCTYPE html><html>").contains("web page"));
    assert!(said(b"GGUF\x03\0\0\0\x10\0\0\0").contains("does not begin with a header"));

    let dir = tempfile::tempdir().unwrap();
    let (_, tensors) = vae(dir.path());
    let whole = file(&f32s(&tensors));
    for length in 0..whole.len() {
        let message = said(&whole[..length]);
        assert!(message.contains("no whole safetensors file"), "{message}");
        let kind = if length == 0 { "empty" } else { "cut short" };
        assert!(message.contains(kind), "{length}: {message}");
    }
    let message = said(&whole[..whole.len() - 9]);
    assert!(
        message.contains(&format!("of {} bytes 9 are missing", whole.len())),
        "{message}"
    );
    let message = said(&[&whole[..], &[0; 7]].concat());
    assert!(
        message.contains("7 bytes after its last tensor"),
        "{message}"
    );
    let mut damaged = whole.clone();
    damaged[9] = b'}';
    assert!(said(&damaged).contains("its header is damaged"));
    // A shape that is not its bytes', and a tensor that begins within another.
    let header = |text: &str| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.bytes().chain([0; 8]));
        bytes
    };
    let shape = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#;
    assert!(said(&header(shape)).contains("its header is damaged"));
    let within = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#;
    assert!(said(&header(within)).contains("tensor 'b'"));
}

#[test]
fn halves_are_widened_and_doubles_rounded() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let path = folder.join("model.safetensors");
    let round = |value: &dyn Fn(f32) -> f32| -> Vec<Vec<f32>> {
        let each = weights
            .iter()
            .map(|w| w.iter().map(|x| value(*x)).collect());
        each.collect()
    };
    let write = |dtype, bytes: &dyn Fn(f32) -> Vec<u8>| {
        fs::write(&path, file(&stored(&tensors, dtype, bytes))).unwrap();
        opened(&folder).weights().to_vec()
    };
    let read = write(Dtype::F16, &|x| f16::from_f32(x).to_le_bytes().to_vec());
    assert_eq!(read, round(&|x| f16::from_f32(x).to_f32()));
    assert_ne!(read, weights);
    let read = write(Dtype::BF16, &|x| bf16::from_f32(x).to_le_bytes().to_vec());
    assert_eq!(read, round(&|x| bf16::from_f32(x).to_f32()));
    let read = write(Dtype::F64, &|x| {
        (f64::from(x) + 1e-12).to_le_bytes().to_vec()
    });
    assert_eq!(read, round(&|x| (f64::from(x) + 1e-12) as f32));

    // Types side by side, as mixed precision leaves them.
    let mut mixed = f32s(&tensors);
    let halves = stored(&tensors, Dtype::F16, |x| {
        f16::from_f32(x).to_le_bytes().to_vec()
    });
    mixed.insert("fc1.weight".to_owned(), halves["fc1.weight"].clone());
    fs::write(&path, file(&mixed)).unwrap();
    assert_eq!(opened(&folder).weights()[1..], weights[1..]);
}

#[test]
fn values_and_types_that_are_no_weights_are_refused_by_name() {
    let (_dir, folder) = temporary();
    let (_, tensors) = vae(&folder);
    let with = |name: &str, tensor: Stored, words: &[&str]| {
        let mut all = f32s(&tensors);
        all.insert(name.to_owned(), tensor);
        fs::write(folder.join("model.safetensors"), file(&all)).unwrap();
        refused(&folder, words);
    };
    let doubles = |values: [f64; 2]| {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        (Dtype::F64, vec![2], bytes)
    };
    with(
        "fc21.bias",
        doubles([0.5, -1e39]),
        &["'fc21.bias' is F64", "-1e39 at 1", "beyond f32"],
    );
    with(
        "fc21.bias",
        doubles([f64::INFINITY, 0.0]),
        &["'fc21.bias' holds inf at 0"],
    );
    let nan = f16::NAN.to_le_bytes();
    let halves = (Dtype::F16, vec![2], [nan, nan].concat());
    with("fc21.bias", halves, &["'fc21.bias' holds NaN at 0"]);
    for dtype in [Dtype::I32, Dtype::U32] {
        with(
            "fc21.bias",
            (dtype, vec![2], vec![0; 8]),
            &["'fc21.bias' is", "F16, BF16 or F64 is wanted"],
        );
    }
    with(
        "fc21.bias",
        (Dtype::F8_E4M3, vec![2], vec![0; 2]),
        &["F8_E4M3"],
    );
    with(
        "module.fc21.bias",
        (Dtype::I64, vec![2], vec![0; 16]),
        &["'module.fc21.bias' is I64"],
    );
    with(
        "fc9.bias",
        (Dtype::F16, vec![2], vec![0; 4]),
        &["'fc9.bias', which the model does not have"],
    );
}

#[test]
fn tensors_that_are_no_weights_are_passed_over_with_a_word() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let mut all = f32s(&tensors);
    all.insert("history".to_owned(), (Dtype::F32, vec![0, 4], Vec::new()));
    all.insert(
        "global_step".to_owned(),
        (Dtype::I64, vec![1], vec![20, 0, 0, 0, 0, 0, 0, 0]),
    );
    all.insert(
        "n_averaged".to_owned(),
        (Dtype::I64, Vec::new(), vec![0; 8]),
    );
    all.insert("mask".to_owned(), (Dtype::BOOL, vec![3], vec![1; 3]));
    fs::write(folder.join("model.safetensors"), file(&all)).unwrap();
    let words = ["no weights are passed over: global_step, history, mask, n_averaged"];
    assert_eq!(opened_with(&folder, &words).weights(), weights);
    // In the library, where no model says what is a weight, whole numbers stay refused.
    let error = read_tensors(&folder.join("model.safetensors")).unwrap_err();
    assert!(
        error.to_string().contains("'global_step' is I64"),
        "{error}"
    );
}

#[test]
fn names_that_wrappers_give_are_taken_off() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let path = folder.join("model.safetensors");
    let named = |name: &dyn Fn(&str) -> String| -> BTreeMap<String, Stored> {
        let each = f32s(&tensors).into_iter();
        each.map(|(n, tensor)| (name(&n), tensor)).collect()
    };
    for wrapper in [
        "_orig_mod.",
        "module.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
    ] {
        fs::write(&path, file(&named(&|n| format!("{wrapper}{n}")))).unwrap();
        assert_eq!(opened(&folder).weights(), weights, "{wrapper}");
    }
    // A part that was compiled alone, and an average, which counts beside.
    let mut part = named(&|n| n.replace("fc1.", "fc1._orig_mod."));
    fs::write(&path, file(&part)).unwrap();
    assert_eq!(opened(&folder).weights(), weights);
    part.insert("fc1.bias".to_owned(), (Dtype::F32, vec![3], vec![0; 12]));
    fs::write(&path, file(&part)).unwrap();
    refused(&folder, &["holds tensor 'fc1.bias' twice"]);
    let mut average = named(&|n| format!("module.{n}"));
    average.insert(
        "n_averaged".to_owned(),
        (Dtype::I64, Vec::new(), vec![0; 8]),
    );
    fs::write(&path, file(&average)).unwrap();
    assert_eq!(opened_with(&folder, &["n_averaged"]).weights(), weights);
    // Another name may mean another network: it is said, not guessed.
    fs::write(&path, file(&named(&|n| format!("ema_model.{n}")))).unwrap();
    refused(
        &folder,
        &["lacks tensor 'fc1.weight'", "take 'ema_model.' off"],
    );
}

/// The files and the index of shards `stem` of two halves.
fn shard(folder: &Path, stem: &str, tensors: &BTreeMap<String, Stored>) -> [String; 2] {
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

#[test]
fn variants_are_found_where_there_is_one() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let bytes = file(&f32s(&tensors));
    fs::write(folder.join("model.fp16.safetensors"), &bytes).unwrap();
    let words = ["there is no model.safetensors; model.fp16.safetensors is read"];
    assert_eq!(opened_with(&folder, &words).weights(), weights);
    fs::write(folder.join("model.non_ema.safetensors"), &bytes).unwrap();
    refused(
        &folder,
        &[
            "model.fp16.safetensors, model.non_ema.safetensors",
            "rename the one that is meant",
        ],
    );
    // What has the plain name is what is meant.
    fs::write(folder.join("model.safetensors"), &bytes).unwrap();
    assert_eq!(opened(&folder).weights(), weights);
    for name in [
        "model.safetensors",
        "model.fp16.safetensors",
        "model.non_ema.safetensors",
    ] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    refused(&folder, &["has no model.safetensors"]);
    #[cfg(unix)]
    {
        let link = folder.join("model.safetensors");
        std::os::unix::fs::symlink("../blobs/0a1b", &link).unwrap();
        refused(
            &folder,
            &["model.safetensors", "is a link to a file that is not there"],
        );
        fs::remove_file(link).unwrap();
    }
    fs::write(folder.join("model.pt"), b"PK\x03\x04").unwrap();
    refused(
        &folder,
        &[
            "model.pt",
            "is a PyTorch pickle",
            "safetensors.torch.save_file",
        ],
    );
}

#[test]
fn shards_are_put_together() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let names = shard(&folder, "model", &f32s(&tensors));
    assert_eq!(opened(&folder).weights(), weights);

    // The plain file where a shard is gone; the shards where there are all, as diffusers has it.
    let index = folder.join("model.safetensors.index.json");
    let second = fs::read(folder.join(&names[1])).unwrap();
    fs::write(folder.join("model.safetensors"), file(&BTreeMap::new())).unwrap();
    assert_eq!(opened(&folder).weights(), weights);
    fs::remove_file(folder.join(&names[1])).unwrap();
    refused(&folder, &["model.safetensors: lacks tensor"]);
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    refused(
        &folder,
        &["names 2 files, of which 1 are missing", &names[1]],
    );
    // A shard cut short, one of another model, and a tensor that the index has and no shard.
    fs::write(folder.join(&names[1]), &second[..second.len() - 4]).unwrap();
    refused(&folder, &[&names[1], "cut short"]);
    fs::write(folder.join(&names[1]), file(&BTreeMap::new())).unwrap();
    refused(&folder, &["index.json", "which does not have it"]);
    fs::write(folder.join(&names[1]), &second).unwrap();
    for outside in [
        "../model.safetensors",
        "/etc/passwd",
        "parts/model.safetensors",
    ] {
        let map = json!({"weight_map": {"fc1.weight": outside}});
        fs::write(&index, map.to_string()).unwrap();
        refused(&folder, &[outside, "no file beside it"]);
    }
    fs::write(&index, "{}").unwrap();
    refused(&folder, &["no index of shards", "weight_map"]);
    fs::remove_file(&index).unwrap();
    refused(&folder, &["is one of several", "index.json is missing"]);
}

/// A U-Net as diffusers' `save_pretrained` leaves it, whose configuration is ours with other values, or without where they are null.
fn save_unet(folder: &Path, more: &Json) -> (Vec<Vec<f32>>, Tensors) {
    let image = ImageShape {
        height: 8,
        width: 8,
        channels: 1,
    };
    let base = unet::Config {
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        ..unet::Config::of(image, &[4, 8], 1, &[])
    };
    let mut fields = base.to_diffusers();
    // As diffusers writes it.
    fields["mid_block_scale_factor"] = 1.into();
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    let config = unet::Config::from_diffusers(&fields.to_string()).unwrap();
    let network = unet::UNet2DModel::new(config).unwrap();
    let layout = Layout::new(network.parameters(), u64::MAX).unwrap();
    let weights = numbers(&layout);
    let tensors = to_file(&layout.parameters, &weights, "");
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), fields.to_string()).unwrap();
    let path = folder.join("diffusion_pytorch_model.safetensors");
    fs::write(path, file(&f32s(&tensors))).unwrap();
    (weights, tensors)
}

fn write_json(path: &Path, value: &Json) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

/// Changes the file's object.
fn change(path: &Path, more: &Json) {
    let mut json: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for (name, value) in more.as_object().unwrap() {
        json[name] = value.clone();
    }
    write_json(path, &json);
}

fn pipeline(folder: &Path, unet: &Json, scheduler: &Json) -> (Vec<Vec<f32>>, Tensors) {
    let saved = save_unet(&folder.join("unet"), unet);
    let path = folder.join("scheduler/scheduler_config.json");
    write_json(
        &path,
        &json!({"_class_name": "DDPMScheduler", "num_train_timesteps": 20}),
    );
    change(&path, scheduler);
    let index = json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.1.1",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    });
    write_json(&folder.join("model_index.json"), &index);
    saved
}

fn diffusion(run: &Run) -> wgen::models::diffusion::Config {
    let model = run.model().as_any().downcast_ref::<Diffusion>().unwrap();
    model.config().clone()
}

#[test]
fn halves_variants_shards_and_wrapped_names_of_pipelines_are_read() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = pipeline(&folder, &json!({}), &json!({}));
    let unet = folder.join("unet");
    let plain = unet.join("diffusion_pytorch_model.safetensors");
    assert_eq!(opened(&folder).weights(), weights);

    let halves = stored(&tensors, Dtype::F16, |x| {
        f16::from_f32(x).to_le_bytes().to_vec()
    });
    fs::write(&plain, file(&halves)).unwrap();
    let half = opened(&folder).weights().to_vec();
    let rounded = weights
        .iter()
        .map(|w| w.iter().map(|x| f16::from_f32(*x).to_f32()).collect());
    assert_eq!(half, rounded.collect::<Vec<Vec<f32>>>());
    fs::rename(
        &plain,
        unet.join("diffusion_pytorch_model.fp16.safetensors"),
    )
    .unwrap();
    assert_eq!(
        opened_with(&folder, &["fp16.safetensors is read"]).weights(),
        half
    );
    fs::remove_file(unet.join("diffusion_pytorch_model.fp16.safetensors")).unwrap();

    // An index of the variant, under diffusers' name for it.
    let names = shard(&unet, "diffusion_pytorch_model", &f32s(&tensors));
    assert_eq!(opened(&folder).weights(), weights);
    let index = unet.join("diffusion_pytorch_model.safetensors.index.json");
    fs::rename(
        index,
        unet.join("diffusion_pytorch_model.safetensors.index.fp16.json"),
    )
    .unwrap();
    assert_eq!(
        opened_with(&folder, &["index.fp16.json is read"]).weights(),
        weights
    );
    for name in names {
        fs::remove_file(unet.join(name)).unwrap();
    }
    fs::remove_file(unet.join("diffusion_pytorch_model.safetensors.index.fp16.json")).unwrap();

    // torch.compile's names, of today and with those that attention had before 0.15.
    let old = |name: &str| {
        let name = name.replace(".to_q.", ".query.").replace(".to_k.", ".key.");
        name.replace(".to_v.", ".value.")
            .replace(".to_out.0.", ".proj_attn.")
    };
    assert!(tensors.keys().any(|name| old(name) != *name));
    for rename in [&|n: &str| n.to_owned(), &old as &dyn Fn(&str) -> String] {
        let each = f32s(&tensors).into_iter();
        let compiled = each
            .map(|(n, t)| (format!("_orig_mod.{}", rename(&n)), t))
            .collect();
        fs::write(&plain, file(&compiled)).unwrap();
        assert_eq!(opened(&folder).weights(), weights);
    }
}

#[test]
fn keys_of_other_releases_are_passed_over_with_a_word() {
    let (_dir, folder) = temporary();
    let later = json!({
        "_class_name": "DDIMScheduler", "skip_prk_steps": true, "interpolation_type": "linear", "use_karras_sigmas": false, "sigma_min": null,
        "timestep_type": "discrete", "lower_order_final": true,
    });
    let (weights, _) = pipeline(&folder, &json!({}), &later);
    let words = [
        "scheduler_config.json",
        "interpolation_type, lower_order_final, sigma_min, skip_prk_steps, timestep_type, use_karras_sigmas",
    ];
    let run = opened_with(&folder, &words);
    assert_eq!(run.weights(), weights);
    assert_eq!(diffusion(&run).sampling.sampler, "ddim");
    assert_eq!(diffusion(&run).process.timesteps, 20);

    let first = json!({"tensor_format": "pt", "timestep_values": null, "predict_epsilon": true, "variance_type": "fixed_large"});
    pipeline(&folder, &json!({}), &first);
    let run = opened_with(&folder, &["over: tensor_format, timestep_values"]);
    assert_eq!(diffusion(&run).prediction, Prediction::Epsilon);

    // A training script's moving average, and a key that is to come.
    let average = json!({
        "decay": 0.9999, "inv_gamma": 1.0, "power": 0.75, "optimization_step": 100, "min_decay": 0.0, "update_after_step": 0,
        "use_ema_warmup": true, "of_the_year_2030": [1],
    });
    pipeline(&folder, &average, &json!({}));
    let words = [
        "unet/config.json",
        "decay",
        "optimization_step",
        "of_the_year_2030",
    ];
    assert_eq!(opened_with(&folder, &words).weights(), weights);

    // What begins with an underscore says where a file came from, and a byte order mark nothing.
    let private = json!({"_name_or_path": "someone/something", "_use_default_values": ["beta_end"], "beta_end": 0.5});
    pipeline(&folder, &json!({"_name_or_path": "x"}), &private);
    for name in ["unet/config.json", "scheduler/scheduler_config.json"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        fs::write(folder.join(name), format!("\u{feff}{text}")).unwrap();
    }
    assert_eq!(diffusion(&opened(&folder)).process.beta_end, 0.02);
}

#[test]
fn keys_of_the_first_schedulers_mean_what_they_meant() {
    let (_dir, folder) = temporary();
    let with = |more: Json| {
        pipeline(&folder, &json!({}), &json!({}));
        let path = folder.join("scheduler/scheduler_config.json");
        let mut all = json!({"_class_name": "DDPMScheduler"});
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        write_json(&path, &all);
    };
    with(json!({"predict_epsilon": false}));
    assert_eq!(diffusion(&opened(&folder)).prediction, Prediction::Sample);
    with(json!({"predict_epsilon": false, "prediction_type": "sample"}));
    assert_eq!(diffusion(&opened(&folder)).prediction, Prediction::Sample);
    with(json!({"predict_epsilon": null, "prediction_type": "v_prediction"}));
    assert_eq!(
        diffusion(&opened_with(&folder, &["predict_epsilon"])).prediction,
        Prediction::Velocity
    );
    with(json!({"predict_epsilon": true, "prediction_type": "v_prediction"}));
    refused(
        &folder,
        &[
            "predict_epsilon true",
            "prediction_type is \"v_prediction\"",
        ],
    );
    with(json!({"predict_epsilon": 0}));
    refused(&folder, &["predict_epsilon 0"]);
    // Before 0.1.
    with(json!({"timesteps": 50, "clip_predicted_image": false}));
    let config = diffusion(&opened(&folder));
    assert_eq!((config.process.timesteps, config.clip), (50, None));
    // Today's names are what counts where there are both; a list of timesteps never was T.
    with(json!({"timesteps": 50, "num_train_timesteps": 30}));
    assert_eq!(
        diffusion(&opened_with(&folder, &["over: timesteps"]))
            .process
            .timesteps,
        30
    );
    with(json!({"timesteps": [9, 4]}));
    assert_eq!(
        diffusion(&opened_with(&folder, &["over: timesteps"]))
            .process
            .timesteps,
        1000
    );
}

#[test]
fn what_would_change_results_is_refused_by_name() {
    let (_dir, folder) = temporary();
    for (key, value, words) in [
        ("thresholding", json!(true), "thresholding true"),
        ("trained_betas", json!([0.1, 0.2]), "trained_betas"),
        (
            "beta_schedule",
            json!("laplace"),
            "beta_schedule \"laplace\"",
        ),
        ("timestep_spacing", json!("log"), "timestep_spacing \"log\""),
        ("prediction_type", json!("flow"), "prediction_type \"flow\""),
        (
            "num_train_timesteps",
            json!("many"),
            "num_train_timesteps \"many\"",
        ),
        ("variance_type", json!("learned"), "variance_type 'learned'"),
    ] {
        pipeline(&folder, &json!({}), &json!({key: value}));
        refused(&folder, &["scheduler_config.json", words]);
    }
    for (key, value, words) in [
        (
            "time_embedding_type",
            json!("fourier"),
            "time_embedding_type 'fourier'",
        ),
        ("cross_attention_dim", json!(64), "cross_attention_dim 64"),
        ("layers_per_block", json!([1, 2]), "layers_per_block [1,2]"),
    ] {
        pipeline(&folder, &json!({}), &json!({}));
        change(&folder.join("unet/config.json"), &json!({key: value}));
        refused(&folder, &["unet/config.json", words]);
    }
    // DDIM has no use for a variance that it was given by the scheduler that it was converted from.
    let converted = json!({"_class_name": "DDIMScheduler", "variance_type": "learned"});
    pipeline(&folder, &json!({}), &converted);
    opened_with(&folder, &["over: variance_type"]);
    // Samples that something else makes pictures of.
    pipeline(&folder, &json!({}), &json!({}));
    change(
        &folder.join("model_index.json"),
        &json!({"safety_checker": [null, null]}),
    );
    opened(&folder);
    change(
        &folder.join("model_index.json"),
        &json!({"vqvae": ["diffusers", "VQModel"]}),
    );
    refused(&folder, &["model_index.json", "vqvae (VQModel)"]);
}

#[test]
fn folders_of_the_first_releases_are_read() {
    let (_dir, folder) = temporary();
    let (weights, _) = save_unet(&folder, &json!({}));
    let path = folder.join("config.json");
    let mut config: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for key in [
        "add_attention",
        "class_embed_type",
        "num_class_embeds",
        "downsample_type",
        "time_embedding_dim",
        "mid_block_type",
    ] {
        config.as_object_mut().unwrap().remove(key).unwrap();
    }
    write_json(&path, &config);
    let scheduler = json!({"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "num_train_timesteps": 30, "trained_betas": null});
    write_json(&folder.join("scheduler_config.json"), &scheduler);
    let index = json!({"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]});
    write_json(&folder.join("model_index.json"), &index);
    let run = opened(&folder);
    assert_eq!(run.weights(), weights);
    assert_eq!(diffusion(&run).process.timesteps, 30);
    fs::remove_file(folder.join("scheduler_config.json")).unwrap();
    refused(
        &folder,
        &[
            "no whole pipeline",
            "scheduler_config.json",
            "copy all of its files",
        ],
    );
    let weights = folder.join("diffusion_pytorch_model.safetensors");
    fs::rename(&weights, weights.with_extension("bin")).unwrap();
    write_json(&folder.join("scheduler_config.json"), &scheduler);
    refused(
        &folder,
        &[
            "diffusion_pytorch_model.bin",
            "is a PyTorch pickle",
            "safe_serialization=True",
        ],
    );
}

#[test]
fn a_network_alone_is_sampled_as_diffusers_does_by_default() {
    let (_dir, folder) = temporary();
    let (weights, _) = save_unet(&folder, &json!({}));
    let words = [
        "has no scheduler_config.json",
        "DDPMScheduler()",
        "1000 timesteps",
    ];
    let run = opened_with(&folder, &words);
    assert_eq!(run.weights(), weights);
    let config = diffusion(&run);
    assert_eq!(
        (config.process.timesteps, config.prediction, config.clip),
        (1000, Prediction::Epsilon, Some(1.0))
    );
    assert_eq!(config.sampling.sampler, "ddpm");
    // A scheduler put there is taken.
    write_json(
        &folder.join("scheduler_config.json"),
        &json!({"_class_name": "DDIMScheduler", "num_train_timesteps": 40}),
    );
    assert_eq!(diffusion(&opened(&folder)).process.timesteps, 40);
    // The network's folder of a pipeline: the scheduler lies beside.
    let other = folder.join("pipeline");
    pipeline(&other, &json!({}), &json!({}));
    let run = opened_with(
        &other.join("unet"),
        &["the scheduler is the one of", "pipeline/scheduler/"],
    );
    assert_eq!(diffusion(&run).process.timesteps, 20);
    // A size that is not written down is diffusers' own, said.
    change(&folder.join("config.json"), &json!({"sample_size": null}));
    assert_eq!(
        opened_with(&folder, &["has no sample_size: images of 32 by 32"])
            .image()
            .height,
        32
    );
}

#[test]
fn checkpoints_of_training_scripts_give_their_moving_average() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("ddpm-model");
    let checkpoint = output.join("checkpoint-500");
    let (weights, tensors) = save_unet(
        &checkpoint.join("unet_ema"),
        &json!({"decay": 0.9999, "optimization_step": 100}),
    );
    let (run, said) = open(&checkpoint);
    assert_eq!(run.unwrap().weights(), weights);
    assert!(
        said.len() == 2
            && said[0].contains("decay, optimization_step")
            && said[1].contains("DDPMScheduler()"),
        "{said:?}"
    );

    save_unet(&checkpoint.join("unet"), &json!({}));
    let zeros = stored(&tensors, Dtype::F32, |_| vec![0; 4]);
    fs::write(
        checkpoint.join("unet/diffusion_pytorch_model.safetensors"),
        file(&zeros),
    )
    .unwrap();
    let (run, said) = open(&checkpoint);
    assert_eq!(run.unwrap().weights(), weights);
    assert!(
        said.iter()
            .any(|s| s.contains("unet_ema, which is read; for the other give its folder unet")),
        "{said:?}"
    );
    let run = opened_with(&checkpoint.join("unet"), &["DDPMScheduler()"]);
    assert!(run.weights().iter().flatten().all(|x| *x == 0.0));

    // Where the training came to its end, its scheduler lies beside the checkpoints.
    refused(
        &output,
        &["is no run folder", "there is one in it: checkpoint-500"],
    );
    pipeline(&output, &json!({}), &json!({}));
    assert_eq!(diffusion(&opened(&output)).process.timesteps, 20);
    let run = opened_with(&checkpoint.join("unet"), &["the scheduler is the one of"]);
    assert_eq!(diffusion(&run).process.timesteps, 20);
}

#[test]
fn a_folder_of_folders_says_which_to_give() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), &["is no run folder: it has no config.json"]);
    // The cache of the Hugging Face Hub.
    let snapshot = dir.path().join("snapshots/0a1b2c");
    pipeline(&snapshot, &json!({}), &json!({}));
    refused(dir.path(), &["there is one in it: snapshots/0a1b2c"]);
    opened(&snapshot);
    for i in 0..9 {
        vae(&dir.path().join(format!("vae-{i}")));
    }
    refused(dir.path(), &["snapshots/0a1b2c, vae-0", "and others"]);
}

/// The classes of so many samples where none is asked for.
fn turns(run: &Run, count: usize) -> Vec<usize> {
    let sampling = run.model().sampling(count).unwrap();
    let (_, value) = sampling.classes.input(count, None, 0).unwrap().unwrap();
    let rows = value.shape.dims()[1];
    let flags = value.data.to_f32();
    let of = |row: &[f32]| row.iter().position(|x| *x == 1.0).unwrap();
    flags.chunks(rows).map(of).collect()
}

#[test]
fn every_class_of_what_diffusers_trained_takes_its_turn() {
    let (_dir, folder) = temporary();
    pipeline(&folder, &json!({"num_class_embeds": 5}), &json!({}));
    let run = opened(&folder);
    assert_eq!(
        (run.classes(), turns(&run, 7)),
        (5, vec![0, 1, 2, 3, 4, 0, 1])
    );
    assert_eq!(diffusion(&run).null_share, 0.0);
    // One class alone, and the version that we too write.
    pipeline(&folder, &json!({"num_class_embeds": 1}), &json!({}));
    assert_eq!(turns(&opened(&folder), 2), [0, 0]);

    // Ours are marked, and so are those in which no embedding is the null class.
    for (mark, classes) in [(json!(4), 4), (Json::Null, 5)] {
        pipeline(
            &folder,
            &json!({"num_class_embeds": 5, "_wgen_null_class": mark}),
            &json!({}),
        );
        let run = opened(&folder);
        let expected: Vec<usize> = (0..6).map(|i| i % classes).collect();
        assert_eq!(turns(&run, 6), expected);
        assert_eq!(diffusion(&run).null_share > 0.0, classes == 4);
    }
    for mark in [json!(2), json!(5), json!(-1), json!("last")] {
        pipeline(
            &folder,
            &json!({"num_class_embeds": 5, "_wgen_null_class": mark}),
            &json!({}),
        );
        refused(&folder, &["unet/config.json", "_wgen_null_class"]);
    }
    // Before there was a mark, ours had 1.0 here, where diffusers has 1.
    let before = json!({"num_class_embeds": 5, "mid_block_scale_factor": 1.0});
    pipeline(&folder, &before, &json!({}));
    assert_eq!(turns(&opened(&folder), 5), [0, 1, 2, 3, 0]);
    change(
        &folder.join("unet/config.json"),
        &json!({"_diffusers_version": "0.30.0"}),
    );
    assert_eq!(turns(&opened(&folder), 5), [0, 1, 2, 3, 4]);
}

#[test]
fn what_wgen_writes_for_diffusers_says_which_class_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let squares = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/squares");
    for (share, mark, classes) in [("0.1", json!(5), 5), ("0", Json::Null, 5)] {
        let out = dir.path().join(share);
        let status = Command::new(env!("CARGO_BIN_EXE_wgen"))
            .args([
                "-q",
                "--device",
                "cpu",
                "train",
                "diffusion",
                "--conditional",
                "--channels",
                "2,4",
                "--groups",
                "2",
            ])
            .args([
                "--head-channels",
                "2",
                "--batch",
                "4",
                "--timesteps",
                "4",
                "--steps",
                "1",
                "--null-share",
                share,
                "--data",
            ])
            .arg(format!("idx:{}", squares.display()))
            .arg("--out")
            .arg(&out)
            .status()
            .unwrap();
        assert!(status.success());
        let text = fs::read_to_string(out.join("unet/config.json")).unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(json["_wgen_null_class"], mark);
        assert!(json.as_object().unwrap().contains_key("_wgen_null_class"));
        // As our own folder, and as what diffusers would have of it.
        let whole = opened(&out);
        fs::remove_file(out.join("config.json")).unwrap();
        let part = opened(&out);
        for run in [&whole, &part] {
            assert_eq!(
                (run.classes(), turns(run, 6)),
                (classes, vec![0, 1, 2, 3, 4, 0])
            );
        }
        assert_eq!(part.weights(), whole.weights());
        assert_eq!(diffusion(&part).null_share, diffusion(&whole).null_share);
    }
}
