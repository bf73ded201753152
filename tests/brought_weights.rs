//! Weights that other programs wrote: every kind that people bring is read, or what it is is said.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::Dtype;
use serde_json::json;
use wgen::files::weights::{Tensors, read_tensors, tensors_from_bytes};

use common::saved::{
    Stored, f32s, file, opened, opened_with, padded, refused, shard, stored, temporary, vae,
};

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
        assert!(said(&pickle).contains("is a pickle that torch.save did not write"));
    }
    // As torch.save writes it, whose zip has version 0 and flags; and as other programs do.
    for zip in [
        &b"PK\x03\x04\0\0\x08\x08\0\0"[..],
        b"PK\x03\x04\x14\0\0\0\0\0{}",
    ] {
        assert!(said(zip).contains("is no whole PyTorch file"));
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
        &["model.pt", "is no whole PyTorch file", "cut short"],
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
