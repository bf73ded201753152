//! What is refused, and in which words.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::Dtype;
use wgen::files::weights::tensors_from_bytes;

use super::common::pickled::{
    BOTH, Blob, call, dict, global, int, legacy, packed, pickle, saved, storage, text, tuple, view,
    zip, zip_of,
};
use super::fixture;

/// What is said of a file that is refused.
#[track_caller]
fn said(bytes: &[u8]) -> String {
    match tensors_from_bytes(Path::new("w.pt"), bytes) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn refused_with(bytes: &[u8], words: &[&str]) {
    let message = said(bytes);
    for word in words {
        assert!(message.contains(word), "no '{word}' in: {message}");
    }
}

/// Four numbers in a storage, and tensor `w` by these words of the pickle; in both containers.
#[track_caller]
pub(crate) fn refused_object(object: &[u8], words: &[&str]) {
    let blob = (
        "0".to_owned(),
        [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat(),
    );
    // A row of pickles lists no storage that nothing is in.
    let used = object.windows(12).any(|w| w == b"FloatStorage");
    let storages = if used { vec![(blob, 4)] } else { Vec::new() };
    for container in BOTH {
        refused_with(&packed(container, object, &storages), words);
    }
}

pub(crate) fn floats() -> Vec<u8> {
    storage(Dtype::F32, "0", 4)
}

#[test]
fn foreign_globals_are_refused_by_name() {
    let bad = dict(&[("w", call("os", "system", &[text("echo no")]))]);
    refused_object(
        &bad,
        &[
            "'os.system', which is refused",
            "no code is run",
            "state_dict",
        ],
    );
    let bad = [&text("builtins")[..], &text("eval"), b"\x93"].concat();
    refused_object(&bad, &["'builtins.eval', which is refused"]);
    let bad = call("torchvision.models.resnet", "ResNet", &[]);
    refused_object(&bad, &["'torchvision.models.resnet.ResNet'"]);
    for name in ["FloatStorage.__init__", "load", "ComplexFloatStorage"] {
        refused_object(&global("torch", name), &[&format!("'torch.{name}'")]);
    }
    // What is known is called with what is its own alone.
    refused_object(
        &call("torch", "FloatStorage", &[int(4)]),
        &["a storage of F32 without saying where"],
    );
    refused_object(
        &call("collections", "OrderedDict", &[int(4)]),
        &["OrderedDict with 1 arguments"],
    );
    refused_object(
        &call("torch._utils", "_rebuild_tensor_v2", &[floats()]),
        &["RebuildTensorV2 with 1 arguments"],
    );
    refused_object(b"]K\x01)R", &["calls what is no global"]);
    refused_object(b"])b", &["gives a state to what has none (list)"]);
    let long = "m".repeat(300);
    refused_object(&global(&long, "x"), &["a global of more than 256 bytes"]);
}

#[test]
fn opcodes_that_no_table_needs_are_refused_by_name() {
    let names = [
        (b'i', "INST"),
        (b'o', "OBJ"),
        (0x81, "NEWOBJ"),
        (0x92, "NEWOBJ_EX"),
        (0x82, "EXT1"),
        (0x83, "EXT2"),
        (0x84, "EXT4"),
        (b'P', "PERSID"),
        (b'0', "POP"),
        (b'1', "POP_MARK"),
        (b'2', "DUP"),
        (b'g', "GET"),
        (b'p', "PUT"),
        (b'I', "INT"),
        (b'L', "LONG"),
        (b'F', "FLOAT"),
        (b'S', "STRING"),
        (b'V', "UNICODE"),
        (b'B', "BINBYTES"),
        (b'C', "SHORT_BINBYTES"),
        (0x8b, "LONG4"),
        (0x8e, "BINBYTES8"),
        (0x8f, "EMPTY_SET"),
        (0x90, "ADDITEMS"),
        (0x91, "FROZENSET"),
        (0x96, "BYTEARRAY8"),
        (0x97, "NEXT_BUFFER"),
        (0x98, "READONLY_BUFFER"),
        (0, "0x00"),
        (0xff, "0xff"),
    ];
    for (opcode, name) in names {
        refused_object(
            &[b'}', opcode],
            &[&format!("the opcode {name}, which is refused")],
        );
    }
    refused_object(b"\x80\x09}", &["protocol 9"]);
}

#[test]
fn what_is_not_there_is_not_taken() {
    refused_object(b"h\x07", &["remembered as number 7, which is not there"]);
    refused_object(b"j\x07\0\0\x80", &["number 2147483655, which is not there"]);
    refused_object(
        b"}r\xff\xff\xff\x7f",
        &["remembers something as number 2147483647"],
    );
    for object in [
        &b"s"[..],
        b"}s",
        b"(}s",
        b"\x85",
        b"N\x86",
        b"N(\x86",
        b"a",
        b"q\0",
        b"b",
        b"R",
        b"Q",
        b"",
    ] {
        refused_object(object, &["empty stack"]);
    }
    for object in [&b"t"[..], b"u", b"e", b"l", b"d"] {
        refused_object(object, &["a mark that is not there"]);
    }
    refused_object(b"}Ns", &["fills what is no list or dictionary"]);
    refused_object(b"](NNu", &["fills what is no list or dictionary"]);
    refused_object(b"}(Nu", &["a key without a value"]);
    refused_object(b"(](u", &["fills what is no list or dictionary"]);
    refused_object(b"X\x02\0\0\0\xff\xff", &["no UTF-8"]);
    refused_object(b"X\xff\xff\xff\xff..", &["cut short"]);
    refused_object(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff..", &["cut short"]);
    refused_object(b"K\x04Q", &["refers to something that is no storage"]);
    refused_object(b")Q", &["refers to something that is no storage"]);
}

#[test]
fn tensors_that_do_not_lie_in_their_storages_are_refused() {
    let with = |tensor: Vec<u8>, words: &[&str]| refused_object(&dict(&[("w", tensor)]), words);
    with(
        view(floats(), 0, &[2, 2], &[1, 2]),
        &["'w' [2, 2] has strides [1, 2]", "contiguous()"],
    );
    with(view(floats(), 0, &[4], &[0]), &["'w' [4] has strides [0]"]);
    with(view(floats(), 0, &[2], &[2]), &["'w' [2] has strides [2]"]);
    with(
        view(floats(), 1, &[4], &[1]),
        &["'w' ends at element 5 of a storage that has 4"],
    );
    with(
        view(floats(), i64::MAX, &[4], &[1]),
        &["'w' ends at element"],
    );
    with(view(floats(), -1, &[4], &[1]), &["begins at element -1"]);
    with(
        view(floats(), 0, &[-4], &[1]),
        &["'w' has a shape or strides that are no sizes"],
    );
    with(
        view(floats(), 0, &[4], &[1, 1]),
        &["'w' has 1 axes, but strides of 2"],
    );
    with(
        view(floats(), 0, &[1 << 40, 1 << 40], &[1 << 40, 1]),
        &["larger than any file"],
    );
    let nowhere = dict(&[("w", view(storage(Dtype::F32, "9", 4), 0, &[4], &[1]))]);
    for container in BOTH {
        refused_with(
            &packed(container, &nowhere, &[]),
            &["storage '9' is not in it"],
        );
    }
    with(
        view(storage(Dtype::F32, "0", -4), 0, &[4], &[1]),
        &["a storage of -4 elements"],
    );
    // A storage that ends beyond the file, by the pickle's word, the container's, and a type's size.
    with(
        view(storage(Dtype::F32, "0", 400), 0, &[400], &[1]),
        &["storage '0' of 400 F32, of which the file has 16 bytes"],
    );
    with(
        view(storage(Dtype::F32, "0", i64::MAX), 0, &[1], &[1]),
        &["of which the file has 16 bytes"],
    );
    let object = dict(&[("w", view(floats(), 0, &[4], &[1]))]);
    let blob = || ("0".to_owned(), vec![0; 16]);
    let mut file = legacy(&object, &[(blob(), 4)]);
    let at = file.len() - 24;
    file[at..at + 8].copy_from_slice(&(1_i64 << 40).to_le_bytes());
    refused_with(
        &file,
        &["storage '0' has 1099511627776 elements", "beyond its end"],
    );
    file[at..at + 8].copy_from_slice(&(-1_i64).to_le_bytes());
    refused_with(&file, &["storage '0' has -1 elements"]);
    let object = dict(&[("w", view(storage(Dtype::F64, "0", 4), 0, &[4], &[1]))]);
    refused_with(
        &zip(&object, &[blob()]),
        &["storage '0' of 4 F64, of which the file has 16 bytes"],
    );
    // A view as PyTorch had them before 0.4.
    let id = tuple(&[
        text("storage"),
        global("torch", "FloatStorage"),
        text("0"),
        text("cpu"),
        int(4),
        tuple(&[]),
    ]);
    with(
        view([&id[..], b"Q"].concat(), 0, &[4], &[1]),
        &["views of others", "before 0.4"],
    );
}

#[test]
fn what_contains_itself_is_refused() {
    let words = ["contains itself"];
    // A dictionary, a list, an OrderedDict, in themselves and by a detour.
    refused_object(&[b"}q\x01", &text("w")[..], b"h\x01s"].concat(), &words);
    refused_object(&[b"}", &text("l")[..], b"]q\x01h\x01as"].concat(), &words);
    refused_object(
        &[
            b"}",
            &text("d")[..],
            b"}q\x01",
            &text("t"),
            b"h\x01\x85\x85ss",
        ]
        .concat(),
        &words,
    );
    refused_object(
        &[b"}q\x01", &text("state_dict")[..], b"h\x01s"].concat(),
        &words,
    );
    // Depth is bounded, and is no depth of calls: neither when it is looked through nor when it is dropped.
    let deep = [b"}", &text("w")[..], b"N", &vec![0x85; 1 << 12][..], b"s"].concat();
    refused_object(&deep, &["nested more than 64 deep"]);
    let deep = [&vec![b'('; 1 << 12][..], b"N", &vec![b't'; 1 << 12]].concat();
    refused_object(&deep, &["nested more than 64 deep"]);
    // The same thing twice is no circle.
    let shared = [
        b"}",
        &text("l")[..],
        b"]q\x01s",
        &text("m"),
        b"h\x01s",
        &text("w"),
        &view(floats(), 0, &[4], &[1]),
        b"s",
    ]
    .concat();
    let blob = ("0".to_owned(), vec![0; 16]);
    for container in BOTH {
        let file = packed(container, &shared, &[(blob.clone(), 4)]);
        assert_eq!(
            tensors_from_bytes(Path::new("w.pt"), &file).unwrap().len(),
            1
        );
    }
}

#[test]
fn files_cut_at_every_length_are_refused() {
    let mut files: Vec<Vec<u8>> = ["zip.pt", "legacy.pt"]
        .iter()
        .map(|n| fs::read(fixture(n)).unwrap())
        .collect();
    let small = BTreeMap::from([("w".to_owned(), (Dtype::F32, vec![4], vec![0; 16]))]);
    files.extend(BOTH.map(|container| saved(container, &small)));
    for file in files {
        for length in 0..file.len() {
            let message = said(&file[..length]);
            assert!(
                message.contains("cut short") || message.contains("is empty"),
                "{length}: {message}"
            );
        }
        assert!(tensors_from_bytes(Path::new("w.pt"), &file).is_ok());
    }
}

#[test]
fn containers_that_are_not_pytorchs_are_said() {
    let object = dict(&[("w", view(floats(), 0, &[4], &[1]))]);
    let entry = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let entries = [
        entry("m/data.pkl", &pickle(&object)),
        entry("m/data/0", &[0; 16]),
    ];
    // Sizes of 64 bits, a comment at the end, no folder: all read.
    for file in [
        zip_of(&entries, true),
        zip_of(
            &[
                entry("data.pkl", &pickle(&object)),
                entry("data/0", &[0; 16]),
            ],
            false,
        ),
        {
            let mut file = zip_of(&entries, false);
            let at = file.len() - 2;
            file[at] = 4;
            file.extend(b"made");
            file
        },
    ] {
        assert_eq!(
            tensors_from_bytes(Path::new("w.pt"), &file).unwrap()["w"].1,
            [0.0; 4]
        );
    }
    let more = |more: &[Blob]| zip_of(&[&entries[..], more].concat(), false);
    refused_with(&more(&[entry("n/data.pkl", b"")]), &["several data.pkl"]);
    refused_with(
        &more(&[entry("m/data/0", b"")]),
        &["two of its entries have one name"],
    );
    refused_with(&more(&[entry("m/byteorder", b"big")]), &["big-endian"]);
    refused_with(
        &zip_of(&[entry("word/document.xml", b"")], false),
        &["a zip without data.pkl"],
    );
    refused_with(&zip_of(&entries[..1], false), &["storage '0' is not in it"]);
    refused_with(&zip_of(&[], false), &["no whole safetensors file"]);
    let find =
        |file: &[u8], what: &[u8]| file.windows(what.len()).rposition(|w| w == what).unwrap();
    let file = zip_of(&entries, false);
    let changed = |at: usize, to: &[u8], words: &[&str]| {
        let mut file = file.clone();
        file[at..at + to.len()].copy_from_slice(to);
        refused_with(&file, words);
    };
    let record = find(&file, b"m/data/0") - 46;
    changed(
        record + 10,
        &[8, 0],
        &["'m/data/0' compressed or encrypted"],
    );
    changed(record + 8, &[1, 0], &["'m/data/0' compressed or encrypted"]);
    changed(
        record + 20,
        &[[0xf0, 0xff, 0xff, 0x7f]; 2].concat(),
        &["'m/data/0' has 2147483632 bytes", "beyond its end"],
    );
    changed(
        record + 42,
        &[0xf0, 0xff, 0xff, 0x7f],
        &["'m/data/0' begins at byte 2147483632"],
    );
    changed(
        record + 42,
        &[1, 0, 0, 0],
        &["'m/data/0' is not where its directory has it"],
    );
    changed(record, b"KP", &["its directory is no row of entries"]);
    let end = file.len() - 22;
    changed(
        end + 16,
        &[0xf0, 0xff, 0xff, 0x7f],
        &["the directory ends beyond the file"],
    );
    changed(end + 10, &[0xf0, 0xff], &["fewer entries than it says"]);
    // Rows of other pickles.
    refused_with(
        &pickle(&object),
        &["a pickle that torch.save did not write"],
    );
    let good = legacy(&object, &[(("0".to_owned(), vec![0; 16]), 4)]);
    let other = |from: &[u8], to: &[u8], words: &[&str]| {
        let mut file = good.clone();
        let at = file.windows(from.len()).position(|w| w == from).unwrap();
        file[at..at + to.len()].copy_from_slice(to);
        refused_with(&file, words);
    };
    other(
        &1001_i64.to_le_bytes(),
        &1002_i64.to_le_bytes(),
        &["that is not 1001"],
    );
    other(b"little_endian\x88", b"little_endian\x89", &["big-endian"]);
    let twice = [
        (("0".to_owned(), vec![0; 16]), 4),
        (("0".to_owned(), vec![0; 16]), 4),
    ];
    refused_with(&legacy(&object, &twice), &["lists a storage twice"]);
    let others = [
        (("0".to_owned(), vec![0; 16]), 4),
        (("1".to_owned(), vec![0; 16]), 4),
    ];
    refused_with(
        &legacy(&object, &others),
        &["lists a storage that nothing is in"],
    );
}
