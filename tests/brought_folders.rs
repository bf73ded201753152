//! Folders that people bring: with other things in them, of parts and classes, under names of all kinds.

mod common;

use std::fs;

use image::{GrayImage, Luma};
use wgen::data::Loaded;
use wgen::data::held_out::HeldOut;
use wgen::data::idx::Part;
use wgen::data::images::{self, Options};
use wgen::data::report::{Reason, Used};

use common::folder::{Folder, counts, passed};

#[test]
fn hidden_files_and_what_systems_leave_are_passed_over() {
    let folder = Folder::new();
    for i in 0..4 {
        folder.picture(&format!("{i}.png"), i);
    }
    folder.picture(".ipynb_checkpoints/0-checkpoint.png", 9);
    folder.file("._0.png", b"\0\x05\x16\x07\0\x02\0\0Mac OS X");
    folder.file("__MACOSX/._0.png", b"\0\x05\x16\x07\0\x02\0\0Mac OS X");
    folder.picture("@eaDir/0.png/SYNOFILE_THUMB_M.png", 9);
    folder.file("Thumbs.db", b"x");
    folder.file("captions.txt", b"a cat");
    folder.file("raw.CR2", b"II*\0");
    let Loaded { data, report } = folder.read(Part::Training);
    assert_eq!(
        (data.rows(), data.labels, report.used.clone()),
        (4, None, Used::All)
    );
    let want = [
        (Reason::Hidden, 2),
        (Reason::System, 3),
        (Reason::OtherFiles, 1),
        (Reason::OtherFormats, 1),
    ];
    assert_eq!(passed(&report), want);
    assert_eq!(report.passed_over[0].example, "._0.png");
    // They are no classes either.
    let folder = Folder::new();
    for name in [
        "cat/0.png",
        "cat/.hidden.png",
        "dog/0.png",
        "dog/1.png",
        ".ipynb_checkpoints/0.png",
        "__MACOSX/cat/0.png",
    ] {
        folder.picture(name, 1);
    }
    fs::create_dir(folder.path("bird")).unwrap();
    let report = folder.read(Part::Training).report;
    assert_eq!(counts(&report), [("cat", 1), ("dog", 2)]);
    assert_eq!(report.empty_folders, ["bird"]);
}

#[test]
fn copies_and_downloads_that_have_not_ended_are_passed_over() {
    let folder = Folder::new();
    folder.picture("a.png", 1);
    let png = fs::read(folder.path("a.png")).unwrap();
    for name in [
        "a.png~",
        "b.png.bak",
        "c.png.part",
        "d.crdownload",
        "e.PNG.TMP",
        "f.orig",
    ] {
        folder.file(name, &png);
    }
    // A download without any ending is a picture; a folder may be named as it likes.
    folder.file("g", &png);
    let report = folder.read(Part::Training).report;
    assert_eq!(report.examples, 2);
    assert_eq!(passed(&report), [(Reason::System, 6)]);
    let folder = Folder::new();
    folder.picture("cats.bak/a.png", 1);
    assert_eq!(
        counts(&folder.read(Part::Training).report),
        [("cats.bak", 1)]
    );
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_stay_apart_and_steer_no_terminal() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    for name in [
        &b"caf\xe9"[..],
        b"caf\xe8",
        "caf\u{e9}".as_bytes(),
        b"\x1b[31mred",
    ] {
        let class = folder.0.path().join(OsStr::from_bytes(name));
        fs::create_dir(&class).unwrap();
        GrayImage::from_pixel(4, 4, Luma([1]))
            .save(class.join("0.png"))
            .unwrap();
    }
    let read = folder.read(Part::Training);
    let classes: Vec<&str> = read.data.classes.iter().map(String::as_str).collect();
    assert_eq!(
        classes,
        [r"\u{1b}[31mred", "caf\u{e9}", r"caf\xe8", r"caf\xe9"]
    );
    assert_eq!(read.data.labels.unwrap(), [0, 1, 2, 3]);
}

#[test]
fn pictures_beside_folders_of_pictures_are_refused() {
    let folder = Folder::new();
    folder.picture("0.png", 1);
    folder.picture("rejected/0.png", 2);
    folder.refused(&[
        "1 pictures beside the folder rejected (1 pictures)",
        "move them",
        "rejected)",
    ]);
    // So are they beside parts, and within one.
    let folder = Folder::new();
    folder.picture("0.png", 1);
    folder.picture("train/0.png", 2);
    folder.refused(&["beside the folder train"]);
    let folder = Folder::new();
    folder.picture("train/0.png", 1);
    folder.picture("train/cat/0.png", 2);
    folder.picture("test/cat/0.png", 2);
    folder.refused(&["train", "beside the folder cat"]);
    // Pictures beside a folder without any are not.
    let folder = Folder::new();
    folder.picture("0.png", 1);
    folder.file("labels/all.csv", b"0,1");
    assert_eq!(folder.read(Part::Training).report.examples, 1);
}

#[test]
fn a_class_has_all_that_lies_below_its_folder() {
    let folder = Folder::new();
    for (name, grey) in [
        ("b/0.png", 1),
        ("b/more/deep/0.png", 2),
        ("a/x/0.png", 3),
        ("a/x/1.png", 4),
    ] {
        folder.picture(name, grey);
    }
    // As torchvision's ImageFolder: classes in the order of names, files in the order of paths.
    let data = folder.read(Part::Training).data;
    assert_eq!(data.classes, ["a", "b"]);
    assert_eq!(data.labels.clone().unwrap(), [0, 0, 1, 1]);
    let firsts: Vec<f32> = data.values.to_f32().chunks(48).map(|p| p[0]).collect();
    assert_eq!(firsts, [3.0, 4.0, 1.0, 2.0]);
}

#[test]
fn train_and_test_are_parts() {
    let folder = Folder::new();
    for (name, grey) in [("train/0.png", 1), ("train/1.png", 2), ("test/0.png", 3)] {
        folder.picture(name, grey);
    }
    let training = folder.read(Part::Training);
    assert_eq!(
        (
            training.data.rows(),
            training.data.labels,
            training.report.used
        ),
        (2, None, Used::Training)
    );
    let test = folder.read(Part::Test);
    assert_eq!(
        (test.data.rows(), test.report.used),
        (1, Used::Part("test".to_owned()))
    );
    assert_eq!(test.data.values.to_f32()[0], 3.0);
    assert_eq!(folder.spec().usually_held_out().unwrap(), HeldOut::Count(0));

    // Classes have the same numbers in both, though one lacks some.
    let folder = Folder::new();
    for name in [
        "Train/ant/0.png",
        "Train/cat/0.png",
        "Validation/bee/0.png",
        "Validation/cat/0.png",
        "Validation/cat/1.png",
    ] {
        folder.picture(name, 1);
    }
    let training = folder.read(Part::Training);
    assert_eq!(
        counts(&training.report),
        [("ant", 1), ("bee", 0), ("cat", 1)]
    );
    assert_eq!(training.report.without_examples(), ["bee"]);
    let test = folder.read(Part::Test);
    assert_eq!(test.report.used, Used::Part("Validation".to_owned()));
    assert_eq!(test.data.labels.unwrap(), [1, 2, 2]);

    // Their names may say that these are images, or a year's.
    for (train, test) in [
        ("train_images", "test_images"),
        ("TrainSet", "Test-Set"),
        ("train2017", "val2017"),
        ("images.train", "images.test"),
    ] {
        let folder = Folder::new();
        folder.picture(&format!("{train}/0.png"), 1);
        folder.picture(&format!("{test}/0.png"), 2);
        let read = folder.read(Part::Test);
        assert_eq!(read.report.used, Used::Part(test.to_owned()), "{train}");
        assert_eq!(read.data.values.to_f32()[0], 2.0, "{train}");
    }
    // What lies beside both is trained on no more than they are tested on.
    let folder = Folder::new();
    for name in [
        "train/0.png",
        "test/0.png",
        "unlabeled/0.png",
        "extra/a/0.png",
    ] {
        folder.picture(name, 1);
    }
    let read = folder.read(Part::Training);
    assert_eq!((read.data.rows(), &read.data.labels), (1, &None));
    assert_eq!(passed(&read.report), [(Reason::OtherParts, 2)]);
    assert_eq!(read.report.parts.len(), 4);
    // What an archive unpacks to.
    let folder = Folder::new();
    for name in ["zip/train/a/0.png", "zip/train/b/0.png", "zip/test/b/0.png"] {
        folder.picture(name, 1);
    }
    folder.file("zip/README", b"about");
    let read = folder.read(Part::Training);
    assert_eq!(counts(&read.report), [("a", 1), ("b", 1)]);
    assert_eq!(folder.read(Part::Test).data.labels.unwrap(), [1]);
    // The only class may have folders, which are no classes; that is said.
    let folder = Folder::new();
    for name in ["flowers/daisy/0.png", "flowers/rose/0.png", "flowers/0.png"] {
        folder.picture(name, 1);
    }
    let report = folder.read(Part::Training).report;
    assert_eq!(counts(&report), [("flowers", 3)]);
    assert!(report.inner_folders.is_empty());
    fs::remove_file(folder.path("flowers/0.png")).unwrap();
    let report = folder.read(Part::Training).report;
    assert_eq!(report.inner_folders, ["daisy", "rose"]);

    // Beside other folders these are classes: trains, and no tests.
    let folder = Folder::new();
    for name in ["train/0.png", "bus/0.png"] {
        folder.picture(name, 1);
    }
    assert_eq!(
        counts(&folder.read(Part::Training).report),
        [("bus", 1), ("train", 1)]
    );
    // A third part is not read, and said.
    let folder = Folder::new();
    for name in ["train/0.png", "val/0.png", "test/0.png"] {
        folder.picture(name, 1);
    }
    assert_eq!(
        passed(&folder.read(Part::Test).report),
        [(Reason::OtherParts, 1)]
    );
    // To train on none is no guess of ours.
    let folder = Folder::new();
    folder.picture("test/0.png", 1);
    folder.refused(&["has test but no train"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    folder.picture("0.png", 1);
    symlink(".", folder.path("again")).unwrap();
    let report = folder.read(Part::Training).report;
    assert_eq!(
        (report.examples, passed(&report)),
        (1, vec![(Reason::Loops, 1)])
    );

    let folder = Folder::new();
    folder.picture("cat/0.png", 1);
    symlink("..", folder.path("cat/up")).unwrap();
    symlink("cat", folder.path("dog")).unwrap();
    let report = folder.read(Part::Training).report;
    // dog is a link to cat and has its picture; both lead up once.
    assert_eq!(counts(&report), [("cat", 1), ("dog", 1)]);
    assert_eq!(passed(&report), [(Reason::Loops, 2)]);

    symlink("nowhere.png", folder.path("cat/1.png")).unwrap();
    folder.refused(&["1.png", "link to a file that is not there"]);
    fs::remove_file(folder.path("cat/1.png")).unwrap();
    // What is neither file nor folder is not waited for.
    let socket = folder.path("cat/socket.png");
    let _held = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let report = folder.read(Part::Training).report;
    assert!(
        passed(&report).contains(&(Reason::NoFiles, 2)),
        "{:?}",
        passed(&report)
    );
}

#[test]
fn a_folder_without_pictures_says_what_lies_there() {
    let folder = Folder::new();
    folder.refused(&["has no images"]);
    folder.file("0.tif", b"II*\0");
    folder.file("1.tiff", b"II*\0");
    folder.refused(&["0.tif and 1 more", "convert it to PNG or JPEG"]);
    let error = images::load(&folder.path("0.tif"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("is a file"), "{error}");
}

#[test]
fn a_held_out_part_is_of_every_class_and_never_trained_on() {
    let folder = Folder::new();
    for (class, count) in [("cat", 40_u8), ("dog", 20)] {
        for i in 0..count {
            folder.picture(
                &format!("{class}/{i}.png"),
                if class == "cat" { i } else { 100 + i },
            );
        }
    }
    let options = Options {
        held_out: folder.spec().usually_held_out().unwrap(),
        ..Options::default()
    };
    let part = |part, options: &Options| {
        let read = folder.spec().read(part, options).unwrap();
        let greys: Vec<u8> = read
            .data
            .values
            .to_f32()
            .chunks(48)
            .map(|p| p[0] as u8)
            .collect();
        (greys, read.report)
    };
    let (training, report) = part(Part::Training, &options);
    assert_eq!(
        (report.examples, report.of, report.used),
        (54, 60, Used::Training)
    );
    let (held_out, report) = part(Part::Test, &options);
    assert_eq!(counts(&report), [("cat", 4), ("dog", 2)]);
    assert_eq!(report.used, Used::HeldOut { seed: 0 });
    let mut all = [training, held_out.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..40).chain(100..120).collect::<Vec<u8>>());
    let other = Options {
        held_out_seed: 1,
        ..options
    };
    assert_ne!(part(Part::Test, &other).0, held_out);
    assert_eq!(
        part(
            Part::Test,
            &Options {
                grey: true,
                size: Some(2),
                ..options
            }
        )
        .1
        .examples,
        6
    );
    // The same pictures, wherever the folder lies and whatever is beside it.
    let copy = Folder::new();
    for (class, count) in [("cat", 40_u8), ("dog", 20)] {
        for i in 0..count {
            copy.picture(
                &format!("{class}/{i}.png"),
                if class == "cat" { i } else { 100 + i },
            );
        }
    }
    copy.file("notes.txt", b"mine");
    let there = copy.spec().read(Part::Test, &options).unwrap();
    assert_eq!(there.report.folder, report.folder);
    let greys: Vec<u8> = there
        .data
        .values
        .to_f32()
        .chunks(48)
        .map(|p| p[0] as u8)
        .collect();
    assert_eq!(greys, held_out);
    copy.picture("cat/new.png", 7);
    assert_ne!(
        Some(images::fingerprint(&copy.path("")).unwrap()),
        report.folder
    );
    // Too many.
    let error = folder.spec().load(
        Part::Training,
        &Options {
            held_out: HeldOut::Count(60),
            ..options
        },
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("held_out 60 of 60")
    );
}

#[test]
fn classes_go_by_their_names() {
    let folder = Folder::new();
    for name in ["cat/0.png", "dog/0.png", "dog/1.png"] {
        folder.picture(name, 1);
    }
    let data = folder.read(Part::Training).data;
    assert_eq!(data.of_every_class(3), [0, 1, 2]);
    assert_eq!(data.of_every_class(9).len(), 3);
    let names = ["bird", "dog", "cat"].map(str::to_owned);
    let numbered = data.clone().numbered(&names);
    assert_eq!(
        (numbered.labels.unwrap(), numbered.classes),
        (vec![2, 1, 1], names.to_vec())
    );
    // What is unknown comes after them.
    let numbered = data.numbered(&names[..1]);
    assert_eq!(
        (numbered.labels.clone().unwrap(), numbered.classes()),
        (vec![1, 2, 2], 3)
    );
    let error = numbered.one_hot(1).unwrap_err().to_string();
    assert!(error.contains("class 1 (cat)"), "{error}");
}
