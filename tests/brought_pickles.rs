//! What `torch.save` wrote: both containers are read to the same bits wherever a safetensors file may be, and every other pickle is refused by
//! what it asks for. `tests/fixtures/pt/` was written by PyTorch (`make.py` there); what PyTorch does not write is made by hand.

#[path = "brought_pickles/bad.rs"]
mod bad;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::Dtype;
use serde_json::json;
use wgen::files::stored::Stored as File;
use wgen::files::weights::{read_tensors, tensors_from_bytes};

use bad::{floats, refused_object};
use common::pickled::{
    BOTH, Container, call, dict, global, int, objects, packed, saved, storage, text, tuple, view,
};
use common::saved::{Stored, f32s, file, opened, opened_with, refused, stored, temporary, vae};

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/pt")
        .join(name)
}

#[test]
fn what_pytorch_saved_loads_to_the_same_bits() {
    let wanted = read_tensors(&fixture("expected.safetensors")).unwrap();
    assert!(wanted.len() > 10, "{}", wanted.len());
    for name in ["zip.pt", "legacy.pt", "protocol4.pt"] {
        let mut file = File::open(&fixture(name)).unwrap();
        let types: BTreeMap<String, Dtype> = file
            .table()
            .iter()
            .map(|(n, e)| (n.clone(), e.dtype))
            .collect();
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64, Dtype::I64] {
            assert!(types.values().any(|t| *t == dtype), "{name}: no {dtype:?}");
        }
        assert!(
            file.table().keys().eq(wanted.keys()),
            "{name}: {:?}",
            file.table().keys()
        );
        for (tensor, (shape, values)) in &wanted {
            assert_eq!(&file.table()[tensor].shape, shape, "{name}: {tensor}");
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(
                bits(&file.floats(tensor).unwrap()),
                bits(values),
                "{name}: {tensor}"
            );
        }
        assert_eq!(read_tensors(&fixture(name)).unwrap(), wanted, "{name}");
        // Views of one storage lie in one place.
        let ranges = ["flat.a", "flat.b"].map(|n| file.table()[n].range.clone());
        assert_eq!(ranges[0].end, ranges[1].start, "{name}");
    }
}

#[test]
fn nerf_pytorchs_tar_is_both_of_its_networks() {
    let wanted = read_tensors(&fixture("nerf.expected.safetensors")).unwrap();
    assert!(wanted.keys().any(|name| name.starts_with("network_fine.")));
    assert_eq!(read_tensors(&fixture("nerf.tar")).unwrap(), wanted);
}

#[test]
fn a_run_opens_with_either_container_under_any_name() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    for container in BOTH {
        let bytes = saved(container, &f32s(&tensors));
        for name in ["bin", "pt", "pth", "ckpt", "tar", "safetensors"] {
            let path = folder.join(format!("model.{name}"));
            fs::write(&path, &bytes).unwrap();
            assert_eq!(opened(&folder).weights(), weights, "{name}");
            fs::remove_file(path).unwrap();
        }
    }
    // And the other way: what a file is its content says.
    fs::write(folder.join("model.bin"), file(&f32s(&tensors))).unwrap();
    assert_eq!(opened(&folder).weights(), weights);
    // A variant, two names of which none is the plain one, and what is preferred.
    fs::rename(folder.join("model.bin"), folder.join("model.fp16.bin")).unwrap();
    let words = ["there is no model.safetensors; model.fp16.bin is read"];
    assert_eq!(opened_with(&folder, &words).weights(), weights);
    let pickle = saved(Container::Zip, &BTreeMap::new());
    fs::write(folder.join("model.pt"), &pickle).unwrap();
    fs::write(folder.join("model.ckpt"), &pickle).unwrap();
    refused(
        &folder,
        &["has no model.safetensors, but model.pt, model.ckpt; rename"],
    );
    fs::write(folder.join("model.safetensors"), file(&f32s(&tensors))).unwrap();
    assert_eq!(opened(&folder).weights(), weights);
}

#[test]
fn shards_of_pickles_are_put_together() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let mut parts = [BTreeMap::new(), BTreeMap::new()];
    let mut map = serde_json::Map::new();
    let names = [1, 2].map(|i| format!("model-0000{i}-of-00002.bin"));
    for (i, (name, tensor)) in f32s(&tensors).into_iter().enumerate() {
        map.insert(name.clone(), json!(names[i % 2]));
        parts[i % 2].insert(name, tensor);
    }
    for ((name, part), container) in names.iter().zip(&parts).zip(BOTH) {
        fs::write(folder.join(name), saved(container, part)).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": map});
    fs::write(folder.join("model.bin.index.json"), index.to_string()).unwrap();
    assert_eq!(opened(&folder).weights(), weights);
    fs::remove_file(folder.join(&names[0])).unwrap();
    refused(
        &folder,
        &["names 2 files, of which 1 are missing", &names[0]],
    );
    // Files that are there, and not beside the index.
    for outside in [
        "../run/model-00002-of-00002.bin",
        "/etc/passwd",
        "a/../b.bin",
    ] {
        let map = json!({"weight_map": {"fc1.weight": outside}});
        fs::write(folder.join("model.bin.index.json"), map.to_string()).unwrap();
        refused(&folder, &[outside, "no file beside it"]);
    }
}

#[test]
fn a_table_is_found_beside_what_training_scripts_keep() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let stored = f32s(&tensors);
    let (pairs, storages) = objects(&stored);
    let table = dict(&pairs);
    let path = folder.join("model.pt");
    let step = int(200_000);
    let float = b"G\x3f\xe0\0\0\0\0\0\0".to_vec();
    let optimizer = dict(&[("state", b"}".to_vec()), ("lr", float)]);
    for container in BOTH {
        for key in ["state_dict", "model_state_dict", "model", "ema"] {
            let object = dict(&[
                ("epoch", step.clone()),
                (key, table.clone()),
                ("optimizer", optimizer.clone()),
            ]);
            fs::write(&path, packed(container, &object, &storages)).unwrap();
            assert_eq!(opened(&folder).weights(), weights, "{key}");
        }
    }
    // A wrapper's names; an average, which is taken, and said; a number beside tensors.
    let wrapped: Vec<(String, Vec<u8>)> = pairs
        .iter()
        .map(|(n, t)| (format!("module.{n}"), t.clone()))
        .collect();
    let wrapped: Vec<(&str, Vec<u8>)> = wrapped.iter().map(|(n, t)| (&n[..], t.clone())).collect();
    let object = dict(&[("state_dict", dict(&wrapped))]);
    fs::write(&path, packed(Container::Zip, &object, &storages)).unwrap();
    assert_eq!(opened(&folder).weights(), weights);
    let object = dict(&[("model", dict(&pairs[..1])), ("ema", table.clone())]);
    fs::write(&path, packed(Container::Zip, &object, &storages)).unwrap();
    let words = ["under ema and model; ema is read"];
    assert_eq!(opened_with(&folder, &words).weights(), weights);
    let beside = [&pairs[..], &[("step", step.clone())]].concat();
    fs::write(&path, packed(Container::Zip, &dict(&beside), &storages)).unwrap();
    assert_eq!(
        opened_with(&folder, &["no tensors is passed over: step"]).weights(),
        weights
    );

    refused_object(
        &dict(&[("encoder", b"}".to_vec()), ("step", step)]),
        &["its keys are encoder, step"],
    );
    refused_object(&int(3), &["holds no table of tensors"]);
    refused_object(
        &view(floats(), 0, &[4], &[1]),
        &["one tensor without a name"],
    );
}

#[test]
fn halves_doubles_and_views_of_shared_storages_are_widened() {
    let values: Vec<f64> = (0..12).map(|i| 0.1 * f64::from(i) - 0.5).collect();
    let wide = |dtype: Dtype| -> (Vec<u8>, Vec<f32>) {
        let each = values.iter().map(|x| match dtype {
            Dtype::F16 => (
                f16::from_f64(*x).to_le_bytes().to_vec(),
                f16::from_f64(*x).to_f32(),
            ),
            Dtype::BF16 => (
                bf16::from_f64(*x).to_le_bytes().to_vec(),
                bf16::from_f64(*x).to_f32(),
            ),
            Dtype::F64 => (x.to_le_bytes().to_vec(), *x as f32),
            _ => ((*x as f32).to_le_bytes().to_vec(), *x as f32),
        });
        let (bytes, values): (Vec<_>, Vec<_>) = each.unzip();
        (bytes.concat(), values)
    };
    for container in BOTH {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64] {
            let (bytes, values) = wide(dtype);
            // As guided-diffusion's trainer in halves keeps its weights: all in one buffer. A stride of an axis of one says nothing.
            let flat = || storage(dtype, "flat", 12);
            let object = dict(&[
                ("a", view(flat(), 0, &[2, 3], &[3, 1])),
                ("b", view(flat(), 6, &[3, 1, 2], &[2, 77, 1])),
                ("scalar", view(flat(), 11, &[], &[])),
                ("none", view(flat(), 12, &[0, 5], &[5, 1])),
                ("all", view(flat(), 0, &[12], &[1])),
            ]);
            let file = packed(
                container,
                &object,
                &[(("flat".to_owned(), bytes), (dtype.bitsize() / 8))],
            );
            let read = tensors_from_bytes(Path::new("w.pt"), &file).unwrap();
            assert_eq!(read["a"], (vec![2, 3], values[..6].to_vec()));
            assert_eq!(read["b"], (vec![3, 1, 2], values[6..].to_vec()));
            assert_eq!(read["scalar"], (vec![], values[11..].to_vec()));
            assert_eq!(read["none"], (vec![0, 5], vec![]));
            assert_eq!(read["all"], (vec![12], values));
        }
    }
}

#[test]
fn types_and_values_are_refused_as_in_safetensors() {
    let (_dir, folder) = temporary();
    let (weights, tensors) = vae(&folder);
    let path = folder.join("model.pt");
    let with = |name: &str, tensor: Stored| {
        let mut all = f32s(&tensors);
        all.insert(name.to_owned(), tensor);
        fs::write(&path, saved(Container::Legacy, &all)).unwrap();
    };
    for dtype in [
        Dtype::I64,
        Dtype::I32,
        Dtype::I16,
        Dtype::I8,
        Dtype::U8,
        Dtype::BOOL,
    ] {
        with(
            "fc21.bias",
            (dtype, vec![2], vec![0; 2 * (dtype.bitsize() / 8)]),
        );
        refused(&folder, &["'fc21.bias' is", "F16, BF16 or F64 is wanted"]);
        with(
            "global_step",
            (dtype, Vec::new(), vec![1; dtype.bitsize() / 8]),
        );
        let words = ["no weights are passed over: global_step"];
        assert_eq!(opened_with(&folder, &words).weights(), weights);
        let error = read_tensors(&path).unwrap_err().to_string();
        assert!(error.contains("'global_step' is"), "{error}");
    }
    with(
        "fc21.bias",
        (
            Dtype::F64,
            vec![2],
            [0.5, -1e39_f64].map(f64::to_le_bytes).concat(),
        ),
    );
    refused(&folder, &["'fc21.bias' is F64", "-1e39 at 1", "beyond f32"]);
    with(
        "fc21.bias",
        (
            Dtype::F32,
            vec![2],
            [0.5, f32::NAN].map(f32::to_le_bytes).concat(),
        ),
    );
    refused(&folder, &["'fc21.bias' holds NaN at 1"]);
    with("fc9.bias", (Dtype::F16, vec![2], vec![0; 4]));
    refused(&folder, &["'fc9.bias', which the model does not have"]);
    // Counters of batches are whole numbers in PyTorch's files too.
    let count = (Dtype::I64, Vec::new(), 7_i64.to_le_bytes().to_vec());
    let counter = BTreeMap::from([("bn.num_batches_tracked".to_owned(), count)]);
    let read = tensors_from_bytes(Path::new("w.pt"), &saved(Container::Zip, &counter)).unwrap();
    assert_eq!(read["bn.num_batches_tracked"].1, [7.0]);
    // All of a model in halves.
    let halves = stored(&tensors, Dtype::F16, |x| {
        f16::from_f32(x).to_le_bytes().to_vec()
    });
    fs::write(&path, saved(Container::Zip, &halves)).unwrap();
    let rounded = weights
        .iter()
        .map(|w| w.iter().map(|x| f16::from_f32(*x).to_f32()).collect());
    assert_eq!(
        opened(&folder).weights(),
        rounded.collect::<Vec<Vec<f32>>>()
    );
}

#[test]
fn pythons_other_ways_to_say_the_same_are_read() {
    let blob = (
        "0".to_owned(),
        [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat(),
    );
    let tensor = view(floats(), 0, &[2, 2], &[2, 1]);
    let parameter = call(
        "torch._utils",
        "_rebuild_parameter",
        &[tensor.clone(), vec![0x88], b"}".to_vec()],
    );
    let wanted = (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]);
    let short = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let ordered =
        |pairs: Vec<u8>| [&global("collections", "OrderedDict")[..], &pairs, b"R"].concat();
    let set = |tensor: &[u8]| [b"}", &text("w")[..], tensor, b"s"].concat();
    let forms: Vec<(&str, Vec<u8>)> = vec![
        ("a parameter", dict(&[("w", parameter)])),
        ("one item", set(&tensor)),
        ("DICT", [b"(", &text("w")[..], &tensor, b"d"].concat()),
        (
            "Python 2",
            ordered([b"](](", &short("w")[..], &tensor, b"ee\x85"].concat()),
        ),
        (
            "a list of tuples",
            ordered([b"(](", &tuple(&[text("w"), tensor.clone()])[..], b"et"].concat()),
        ),
        (
            "LIST",
            ordered([b"((", &tuple(&[text("w"), tensor.clone()])[..], b"lt"].concat()),
        ),
        (
            "with a state",
            [
                &ordered(b")".to_vec())[..],
                &text("w"),
                &tensor,
                b"s}",
                &text("_metadata"),
                b"}sb",
            ]
            .concat(),
        ),
        ("the first kind of tensor", {
            let old = call(
                "torch._utils",
                "_rebuild_tensor",
                &[
                    floats(),
                    int(0),
                    tuple(&[int(2), int(2)]),
                    tuple(&[int(2), int(1)]),
                ],
            );
            dict(&[("w", old)])
        }),
        (
            "remembered",
            [
                b"}",
                &text("w")[..],
                b"q\x05",
                &tensor,
                b"r\x06\0\0\0",
                b"s(h\x05j\x06\0\0\0u",
            ]
            .concat(),
        ),
        (
            "written twice",
            [b"}", &text("w")[..], b"Ns", &text("w"), &tensor, b"s"].concat(),
        ),
        ("protocol 4", {
            let stack = |module: &str, name: &str| {
                let short = |t: &str| [&[0x8c, t.len() as u8], t.as_bytes()].concat();
                [&short(module)[..], &short(name), b"\x93\x94"].concat()
            };
            let id = [
                b"(",
                &text("storage")[..],
                &stack("torch", "FloatStorage"),
                &text("0"),
                &text("cpu"),
                b"K\x04tQ",
            ]
            .concat();
            let arguments = [b"(", &id[..], b"K\0K\x02K\x02\x86K\x02K\x01\x86\x89)t"].concat();
            let tensor = [
                &stack("torch._utils", "_rebuild_tensor_v2")[..],
                &arguments,
                b"R\x94",
            ]
            .concat();
            [
                &b"\x95\x09\0\0\0\0\0\0\0}\x94"[..],
                b"\x8d\x01\0\0\0\0\0\0\0w",
                &tensor,
                b"s",
            ]
            .concat()
        }),
    ];
    for (what, object) in forms {
        for container in BOTH {
            let file = packed(container, &object, &[(blob.clone(), 4)]);
            let read = tensors_from_bytes(Path::new("w.pt"), &file)
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(read["w"], wanted, "{what}");
        }
    }
}
