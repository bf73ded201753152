//! The MNIST family as publishers, mirrors and programs hand it on.

mod common;

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use wgen::data::Spec;
use wgen::data::idx::{self, Part};
use wgen::data::images::Options;

use common::folder::{Folder, counts};

fn idx(dims: &[u32], elements: Vec<u8>) -> Vec<u8> {
    let head = [0, 0, 8, dims.len() as u8];
    let sizes: Vec<u8> = dims.iter().flat_map(|d| d.to_be_bytes()).collect();
    [&head[..], &sizes, &elements].concat()
}

/// Six images and labels of a part from `first` on, under names by `name(part, kind and rank)`.
fn idx_part(folder: &Folder, part: &str, first: u8, name: impl Fn(&str, &str) -> String) {
    let images = idx(&[6, 2, 2], (0..24).collect());
    folder.file(&name(part, "images-idx3"), &images);
    let labels = idx(&[6], (0..6).map(|i| first + i % 3).collect());
    folder.file(&name(part, "labels-idx1"), &labels);
}

#[test]
fn idx_files_of_other_publishers_are_found() {
    type Name = fn(&str, &str) -> String;
    let names: [Name; 6] = [
        |part, kind| format!("{part}-{kind}-ubyte"),
        |part, kind| format!("{part}-{}-ubyte", kind.replace("-idx", ".idx")),
        |part, kind| format!("emnist-letters-{part}-{kind}-ubyte"),
        |part, kind| format!("{part}-{kind}-ubyte/{part}-{kind}-ubyte"),
        |part, kind| format!("MNIST/raw/{part}-{kind}-ubyte"),
        |part, kind| format!("gzip/qmnist-{part}-{kind}-ubyte"),
    ];
    for name in names {
        let folder = Folder::new();
        idx_part(&folder, "train", 0, name);
        idx_part(&folder, "t10k", 0, name);
        folder.file(".DS_Store", b"x");
        let spec = Spec::Idx(folder.path(""));
        for part in [Part::Training, Part::Test] {
            assert_eq!(
                spec.load(part, &Options::default())
                    .unwrap()
                    .labels
                    .unwrap()
                    .len(),
                6
            );
        }
    }
    // EMNIST calls the other part test.
    let folder = Folder::new();
    idx_part(&folder, "test", 0, |part, kind| {
        format!("emnist-digits-{part}-{kind}-ubyte")
    });
    assert_eq!(
        Spec::Idx(folder.path(""))
            .load(Part::Test, &Options::default())
            .unwrap()
            .rows(),
        6
    );
    // Several sets in a folder: one is named.
    idx_part(&folder, "test", 1, |part, kind| {
        format!("emnist-letters-{part}-{kind}-ubyte")
    });
    let error = Spec::Idx(folder.path(""))
        .load(Part::Test, &Options::default())
        .unwrap_err();
    assert!(error.to_string().contains("emnist-letters"), "{error}");
    let named = Spec::Idx(folder.path("emnist-letters"));
    assert_eq!(
        named
            .load(Part::Test, &Options::default())
            .unwrap()
            .labels
            .unwrap()[..3],
        [1, 2, 3]
    );
    assert!(
        Spec::Idx(folder.path("emnist-none"))
            .load(Part::Test, &Options::default())
            .is_err()
    );
    // What lies there is said.
    let error = named
        .load(Part::Training, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("train-images-idx3-ubyte") && error.contains("emnist-digits-test"),
        "{error}"
    );
}

#[test]
fn gzip_files_of_several_members_are_read_whole() {
    let gzip = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let images = idx(&[6, 2, 2], (0..24).collect());
    let read = |bytes: &[u8]| {
        let folder = Folder::new();
        folder.file("train-images-idx3-ubyte.gz", bytes);
        let data = idx::load(folder.0.path(), Part::Training);
        data.map(|data| data.values).map_err(|e| e.to_string())
    };
    let whole = read(&gzip(&images)).unwrap();
    assert_eq!(whole.to_f32()[23], 23.0);
    // As bgzip has it, an empty member at the end; cut inside of the magic number; a block of a tape filled up.
    let pieces = |at: &[usize]| {
        let mut packed = Vec::new();
        let mut start = 0;
        for &end in at.iter().chain([&images.len()]) {
            packed.extend(gzip(&images[start..end]));
            start = end;
        }
        packed
    };
    for packed in [
        pieces(&[20]),
        pieces(&[2]),
        pieces(&[1, 1, 30]),
        [pieces(&[17]), gzip(b"")].concat(),
        [pieces(&[17]), vec![0; 512]].concat(),
        [gzip(&images), b"what gzip passes over".to_vec()].concat(),
    ] {
        assert!(read(&packed).unwrap() == whole);
    }
    // More is more wherever it lies, and a member cut short is.
    let more = read(&[gzip(&images), gzip(&[7])].concat()).unwrap_err();
    assert!(more.contains("more than the 24 bytes"), "{more}");
    let all = pieces(&[20]);
    for length in [all.len() - 1, all.len() - 9, gzip(&images[..20]).len() + 3] {
        let error = read(&all[..length]).unwrap_err();
        assert!(
            error.contains("damaged") || error.contains("cut short"),
            "{error}"
        );
    }
}

#[test]
fn the_labels_of_qmnist_are_the_first_of_eight() {
    let ints = |dims: &[u32], values: &[i32]| {
        let mut file = idx(dims, values.iter().flat_map(|v| v.to_be_bytes()).collect());
        file[2] = 0x0c;
        file
    };
    let read = |labels: &[u8]| {
        let folder = Folder::new();
        let images = idx(&[2, 2, 2], (0..8).collect());
        folder.file("qmnist-train-images-idx3-ubyte", &images);
        folder.file("qmnist-train-labels-idx2-int", labels);
        let data = idx::load(folder.0.path(), Part::Training);
        data.map(|data| data.labels.unwrap())
            .map_err(|e| e.to_string())
    };
    let row = |class: i32| [class, 4, 3041, 60_000, 0, 0, 1, -1];
    let rows = [row(5), row(3)].concat();
    assert_eq!(read(&ints(&[2, 8], &rows)).unwrap(), [5, 3]);
    assert_eq!(read(&ints(&[2], &[9, 0])).unwrap(), [9, 0]);
    for (labels, word) in [
        (ints(&[2], &[9, -1]), "label -1"),
        (ints(&[2], &[70_000, 1]), "label 70000"),
        (
            ints(&[3, 8], &[rows.clone(), row(1).to_vec()].concat()),
            "2 images",
        ),
        (ints(&[2, 0], &[]), "2 images"),
        (ints(&[2, 8], &rows[1..]), "cut short"),
    ] {
        let error = read(&labels).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn labels_from_1_leave_a_class_without_examples_and_images_alone_have_none() {
    let folder = Folder::new();
    idx_part(&folder, "train", 1, |part, kind| {
        format!("{part}-{kind}-ubyte")
    });
    let spec = Spec::Idx(folder.path(""));
    let report = spec
        .read(Part::Training, &Options::default())
        .unwrap()
        .report;
    assert_eq!(counts(&report), [("0", 0), ("1", 2), ("2", 2), ("3", 2)]);
    assert_eq!(report.without_examples(), ["0"]);
    fs::remove_file(folder.path("train-labels-idx1-ubyte")).unwrap();
    let data = spec.load(Part::Training, &Options::default()).unwrap();
    assert_eq!(
        (data.rows(), data.labels.clone(), data.classes()),
        (6, None, 0)
    );
    // In colour, as some write it.
    folder.file(
        "train-images-idx3-ubyte",
        &idx(&[2, 2, 2, 3], (0..24).collect()),
    );
    let data = spec.load(Part::Training, &Options::default()).unwrap();
    assert_eq!((data.rows(), data.shape.channels), (2, 3));
}

#[test]
fn idx_images_never_get_the_labels_of_another_set() {
    let load = |folder: &Folder, sub: &str| {
        Spec::Idx(folder.path(sub)).load(Part::Training, &Options::default())
    };
    // As torchvision lays two sets beside each other: one is named.
    let folder = Folder::new();
    for set in ["FashionMNIST", "MNIST"] {
        idx_part(&folder, "train", 0, |part, kind| {
            format!("{set}/raw/{part}-{kind}-ubyte")
        });
    }
    let error = load(&folder, "").unwrap_err().to_string();
    assert!(
        error.contains("several folders")
            && error.contains("FashionMNIST/raw")
            && error.contains("MNIST/raw"),
        "{error}"
    );
    assert!(load(&folder, "MNIST").unwrap().labels.is_some());
    // One of them without labels has none, though the other's lie beside it.
    let folder = Folder::new();
    idx_part(&folder, "train", 0, |part, kind| {
        format!("Fashion/{part}-{kind}-ubyte")
    });
    idx_part(&folder, "train", 0, |part, kind| {
        format!("{part}-{kind}-ubyte")
    });
    for file in fs::read_dir(folder.path("")).unwrap().flatten() {
        if file.file_name().to_string_lossy().contains("labels") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    assert!(load(&folder, "").unwrap().labels.is_none());
    // Images and labels in a folder each belong together.
    let folder = Folder::new();
    idx_part(&folder, "train", 0, |part, kind| {
        format!("{}/{part}-{kind}-ubyte", &kind[..6])
    });
    assert!(load(&folder, "").unwrap().labels.is_some());
}
