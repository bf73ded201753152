//! What is allocated while PyTorch's files are read: four times their size and a mebibyte at most, whatever they say.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use proptest::prelude::*;
use safetensors::tensor::Dtype;
use wgen::files::stored::Stored;
use wgen::files::weights;

use super::common::pickled;
use super::{damaged, peak};

/// What a reader of pickles may hold at once for a file of `size` bytes, whatever is in it.
fn allowance_of_pickles(size: usize) -> usize {
    4 * size + (1 << 20)
}

/// Reads a pickle's table, and all of its values where they are no more than a table's may be; what was held at most.
fn read_pickle(bytes: &[u8]) -> usize {
    let path = Path::new("x");
    let table = peak(|| {
        Stored::from_bytes(path, bytes).ok();
    });
    let all = peak(|| {
        weights::tensors_from_bytes(path, bytes).ok();
    });
    table.max(all)
}

/// One tensor of halves and one that shares its storage.
fn valid_pickle(container: pickled::Container) -> Vec<u8> {
    let flat = || pickled::storage(Dtype::F16, "0", 16);
    let object = pickled::dict(&[
        ("fc1.weight", pickled::view(flat(), 0, &[3, 4], &[4, 1])),
        ("fc1.bias", pickled::view(flat(), 12, &[4], &[1])),
    ]);
    let object = pickled::dict(&[("state_dict", object)]);
    pickled::packed(container, &object, &[(("0".to_owned(), vec![60; 32]), 2)])
}

/// Opcodes that make, fill, remember and recall, with what they take.
fn opcode() -> impl Strategy<Value = Vec<u8>> {
    let plain = b"N()}](tlaesudR.bQ\x85\x86\x87\x88\x93\x94".map(|byte| vec![byte]);
    let short = (0..6_u8).prop_flat_map(|id| {
        let forms = [vec![b'q', id], vec![b'h', id], vec![b'K', id]];
        proptest::sample::select(forms.to_vec())
    });
    let others = vec![
        pickled::text("storage"),
        pickled::text("0"),
        pickled::global("torch", "FloatStorage"),
        pickled::global("torch._utils", "_rebuild_tensor_v2"),
        pickled::global("torch._utils", "_rebuild_parameter"),
        pickled::global("collections", "OrderedDict"),
        pickled::storage(Dtype::F32, "0", 4),
        pickled::view(pickled::storage(Dtype::F32, "0", 4), 0, &[4], &[1]),
    ];
    prop_oneof![
        proptest::sample::select(plain.to_vec()),
        short,
        proptest::sample::select(others),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_zipped_pickles_never_panic(bytes in damaged(valid_pickle(pickled::Container::Zip))) {
        let used = read_pickle(&bytes);
        prop_assert!(used <= allowance_of_pickles(bytes.len()), "{used} bytes for {}", bytes.len());
    }

    #[test]
    fn hostile_rows_of_pickles_never_panic(bytes in damaged(valid_pickle(pickled::Container::Legacy))) {
        let used = read_pickle(&bytes);
        prop_assert!(used <= allowance_of_pickles(bytes.len()), "{used} bytes for {}", bytes.len());
    }

    #[test]
    fn hostile_objects_never_panic(object in proptest::collection::vec(opcode(), 0..200)) {
        let object = object.concat();
        for container in pickled::BOTH {
            let bytes = pickled::packed(container, &object, &[]);
            let used = read_pickle(&bytes);
            prop_assert!(used <= allowance_of_pickles(bytes.len()), "{used} bytes for {}", bytes.len());
        }
    }
}

#[test]
fn hostile_pickles_hold_four_times_their_size_and_a_mebibyte_at_most() {
    let n = 2 << 20;
    let flood = |opcodes: &[u8]| opcodes.repeat(n / opcodes.len());
    // Of each opcode that makes something of one byte or two, as many as there is room for.
    let mut objects: Vec<Vec<u8>> = [
        &b"N"[..],
        b"(",
        b")",
        b"}",
        b"]",
        b"K\0",
        b"N\x85",
        b"N\x94",
        b"](l",
        b"(d",
        b"G\0\0\0\0\0\0\0\0",
        b"X\0\0\0\0",
        b"X\x04\0\0\0text",
        b"ccollections\nOrderedDict\n)R",
    ]
    .map(flood)
    .to_vec();
    objects.push([b"}", &flood(b"\x94")[..]].concat());
    objects.push([b"]", &flood(b"Na")[..]].concat());
    objects.push([b"](", &flood(b"N")[..], b"e"].concat());
    objects.push([b"(", &flood(b"N")[..], b"t"].concat());
    objects.push([b"}", &flood(b"NNs")[..]].concat());
    objects.push([b"N\x85q\0", &flood(b"h\0\x85")[..]].concat());
    objects.push([pickled::text(&"x".repeat(n)), b"r\0\0\x1f\0".to_vec()].concat());
    objects.push(pickled::dict(&[(
        &"x".repeat(n),
        pickled::view(pickled::storage(Dtype::F32, "0", 4), 0, &[4], &[1]),
    )]));
    // Many small tensors in one large storage, all of it in each.
    let view = pickled::view(
        pickled::storage(Dtype::F16, "0", 1 << 18),
        0,
        &[1 << 18],
        &[1],
    );
    let names: Vec<String> = (0..400).map(|i| format!("t{i}")).collect();
    let many: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (&name[..], view.clone())).collect();
    let shared = pickled::dict(&many);
    let blob = ("0".to_owned(), vec![0; 1 << 19]);
    let mut files = Vec::new();
    for container in pickled::BOTH {
        files.extend(
            objects
                .iter()
                .map(|object| pickled::packed(container, object, &[])),
        );
        files.push(pickled::packed(container, &shared, &[(blob.clone(), 2)]));
    }
    // Directories of many entries, and entries of many directories' size.
    let name = |i: usize| format!("{i:04x}");
    let mut directory = pickled::directory_head("data.pkl", 0, 0, false);
    directory.extend((0..n / 50).flat_map(|i| pickled::directory_head(&name(i), 0, 0, false)));
    let start = b"PK\x03\x04".to_vec();
    let end = pickled::end_of_zip(n as u64 / 50 + 1, 4, directory.len() as u64, true);
    files.push([start, directory, end].concat());
    let mut most = 0.0_f64;
    for (i, file) in files.iter().enumerate() {
        let used = read_pickle(file);
        most = most.max(used as f64 / allowance_of_pickles(file.len()) as f64);
        assert!(
            used <= allowance_of_pickles(file.len()),
            "file {i}: {used} bytes for {}",
            file.len()
        );
    }
    println!(
        "{} files; at most {most:.3} of what is allowed",
        files.len()
    );
    // The tensors of the one storage can be had one by one.
    let file = pickled::packed(pickled::Container::Zip, &shared, &[(blob, 2)]);
    let path = Path::new("x");
    let error = weights::tensors_from_bytes(path, &file)
        .unwrap_err()
        .to_string();
    assert!(error.contains("views of each other"), "{error}");
    assert_eq!(
        Stored::from_bytes(path, &file)
            .unwrap()
            .floats("t7")
            .unwrap()
            .len(),
        1 << 18
    );
}

#[test]
fn a_large_pickle_stays_on_disk() {
    // 3 GiB, of which the disk has the ends: zeros, and after them a tensor that is wanted.
    let gib = 1_u64 << 30;
    let entry = |dtype, key: &str, count: i64| {
        pickled::view(pickled::storage(dtype, key, count), 0, &[count], &[1])
    };
    let object = pickled::dict(&[
        ("large", entry(Dtype::F32, "0", 3 << 28)),
        ("small", entry(Dtype::F32, "1", 2)),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.pt");
    let mut file = std::fs::File::create(&path).unwrap();
    let (mut place, mut directory) = (0, Vec::new());
    let pickle = pickled::pickle(&object);
    let small = [0.5_f32, -0.5].map(f32::to_le_bytes).concat();
    for (name, bytes, size) in [
        ("m/data.pkl", &pickle[..], pickle.len() as u64),
        ("m/data/0", &[], 3 * gib),
        ("m/data/1", &small, 8),
    ] {
        directory.extend(pickled::directory_head(name, size, place, true));
        let head = pickled::local_head(name, size, place);
        file.write_all(&head).unwrap();
        file.write_all(bytes).unwrap();
        place += head.len() as u64 + size;
        file.seek(SeekFrom::Start(place)).unwrap();
    }
    file.write_all(&directory).unwrap();
    file.write_all(&pickled::end_of_zip(3, place, directory.len() as u64, true))
        .unwrap();
    drop(file);
    let used = peak(|| {
        let mut file = Stored::open(&path).unwrap();
        assert_eq!(file.table()["large"].shape, [3 << 28]);
        assert_eq!(file.floats("small").unwrap(), [0.5, -0.5]);
    });
    println!("{used} bytes were held of a file of {} GiB", 3);
    assert!(used < 1 << 20, "{used}");
}
