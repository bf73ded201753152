//! Files of scenes that are wrong, cut short or made to harm: each is refused with what is wrong, and none makes room for what it has not.

mod common;

use std::path::Path;

use common::scenes::{Scene, npy};
use proptest::prelude::*;
use wgen::data::Spec;
use wgen::data::idx::Part;
use wgen::data::images::Options;
use wgen::data::scene::colmap::{Encoding, Files, Model, from_bytes};
use wgen::data::scene::{llff, transforms};

const FOLDER: &str = "sparse/0";

fn binary(cameras: &[u8], images: &[u8], points: &[u8]) -> wgen::Result<Model> {
    let files = Files {
        cameras,
        images,
        points: Some(points),
    };
    from_bytes(Path::new(FOLDER), Encoding::Binary, &files)
}

fn text(cameras: &str, images: &str, points: &str) -> wgen::Result<Model> {
    let files = Files {
        cameras: cameras.as_bytes(),
        images: images.as_bytes(),
        points: Some(points.as_bytes()),
    };
    from_bytes(Path::new(FOLDER), Encoding::Text, &files)
}

fn says<T: std::fmt::Debug>(found: wgen::Result<T>, words: &[&str]) {
    let message = found.unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "'{word}' is not in '{message}'");
    }
}

/// The binary files of a small model.
fn model() -> [Vec<u8>; 3] {
    let scene = Scene::usual(3);
    scene.colmap_binary("m");
    ["cameras", "images", "points3D"]
        .map(|n| std::fs::read(scene.path(&format!("m/{n}.bin"))).unwrap())
}

#[test]
fn counts_and_names_are_held_against_what_is_left_of_a_file() {
    let [cameras, images, points] = model();
    assert!(binary(&cameras, &images, &points).is_ok());
    let claims = |bytes: &[u8], count: u64| [&count.to_le_bytes(), &bytes[8..]].concat();
    // Counts of things for which no machine has room, and of one too many.
    for count in [u64::MAX, 1 << 60, 1 << 40, 1000] {
        let claimed = format!("claims {count}");
        says(
            binary(&claims(&cameras, count), &images, &points),
            &["cameras.bin", &claimed],
        );
        says(
            binary(&cameras, &claims(&images, count), &points),
            &["images.bin", &claimed],
        );
        says(
            binary(&cameras, &images, &claims(&points, count)),
            &["points3D.bin", &claimed],
        );
    }
    // Of the places of the first picture, behind its name.
    let at = 8 + 4 + 56 + 4 + "a view 00.png".len() + 1;
    let mut many = images.clone();
    many[at..at + 8].copy_from_slice(&(1_u64 << 61).to_le_bytes());
    says(
        binary(&cameras, &many, &points),
        &["places in a picture", "the rest of the file"],
    );
    // Of the pictures of the first point.
    let at = 8 + 8 + 24 + 3 + 8;
    let mut many = points.clone();
    many[at..at + 8].copy_from_slice(&(1_u64 << 61).to_le_bytes());
    says(binary(&cameras, &images, &many), &["pictures of a place"]);
    // A name without an end.
    let endless: Vec<u8> = images
        .iter()
        .map(|b| if *b == 0 { 1 } else { *b })
        .collect();
    let endless = [&images[..72], &endless[72..]].concat();
    says(binary(&cameras, &endless, &points), &["name", "has no end"]);
    // Cut short anywhere.
    for end in 0..images.len() {
        let message = binary(&cameras, &images[..end], &points)
            .unwrap_err()
            .to_string();
        assert!(message.contains("images.bin"), "{end}: {message}");
    }
    for end in 0..cameras.len() {
        assert!(binary(&cameras[..end], &images, &points).is_err());
    }
    // Nothing at all in it is a model, of which a scene is not.
    let none = 0_u64.to_le_bytes();
    assert_eq!(binary(&none, &none, &none).unwrap(), Model::default());
}

#[test]
fn what_a_model_says_wrong_is_named() {
    let [cameras, images, points] = model();
    let with = |at: usize, value: i32| {
        let mut changed = cameras.clone();
        changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
        changed
    };
    says(binary(&with(12, 99), &images, &points), &["model 99"]);
    says(binary(&with(12, -1), &images, &points), &["model -1"]);
    says(
        binary(&with(8, 6), &images, &points),
        &["camera 7, which is none of"],
    );
    says(
        binary(&with(16, 0), &images, &points),
        &["pictures of 0 x 24"],
    );
    let mut far = points.clone();
    far[16..24].copy_from_slice(&f64::NAN.to_le_bytes());
    says(binary(&cameras, &images, &far), &["place 100 is at"]);
    let mut turned = images.clone();
    turned[12..44].fill(0);
    says(
        binary(&cameras, &turned, &points),
        &["a view 00.png", "no pose"],
    );

    let camera = "7 PINHOLE 32 24 32 32 16 12";
    let image = "1 1 0 0 0 0 0 5 7 a b.png\n\n";
    assert!(text(camera, image, "").is_ok());
    for (line, words) in [
        ("7 FOV 32 24 1 2 3 4 5", "model FOV, which is not read"),
        (
            "7 THIN_PRISM_FISHEYE 32 24 1 2 3 4 5 6 7 8 9 10 11 12",
            "THIN_PRISM_FISHEYE",
        ),
        (
            "7 FULL_OPENCV 32 24 1 2 3 4 5 6 7 8 9 10 11 12",
            "k4, k5 and k6 are 10, 11 and 12",
        ),
        ("7 DIVISION 32 24 1 2 3 4", "model DIVISION"),
        ("7 PINHOLE 32 24 32 32 16", "with 3 parameters, which has 4"),
        ("7 PINHOLE 32 24 32 32 16 12 1", "with 5 parameters"),
        ("7 PINHOLE 32 24 32 32 16 x", "'x' is no parameter"),
        ("7 PINHOLE 32 -24 32 32 16 12", "no width and height"),
        ("7 PINHOLE", "no width and height"),
        ("x PINHOLE", "'x' is no camera's number"),
    ] {
        says(text(line, image, ""), &["cameras.txt: line 1", words]);
    }
    for (lines, words) in [
        ("1 1 0 0 0 0 0 5 7\n\n", "line 1: has no picture's name"),
        (
            "1 1 0 0 0 0 0 5\n\n",
            "line 1: has no number of a picture's camera",
        ),
        ("1 1 0 0 0 0 0 five 7 a.png\n\n", "'five'"),
        (
            "# head\n1 0 0 0 0 0 0 5 7 a.png\n\n",
            "line 2: its rotation",
        ),
        (
            "1 1 0 0 0 0 0 5 7 a.png\n1 2\n",
            "line 2: has no number of a place",
        ),
        (
            "1 1 0 0 0 0 0 5 7 a.png\n2 1 0 0 0 0 0 5 7 b.png\n",
            "line 2: 'b.png' is no place",
        ),
        ("1 1 0 0 0 0 0 5 8 a.png\n\n", "camera 8, which is none"),
    ] {
        says(text(camera, lines, ""), &["images.txt", words]);
    }
    // A place that is none is passed over, as one of no point is.
    let nowhere = "1 1 0 0 0 0 0 5 7 a.png\nnan 2 9 3 inf 9 3 4 9\n";
    let model = text(camera, nowhere, "9 1 2 3 0 0 0 0\n").unwrap();
    assert_eq!(model.images[0].seen, [([3.0, 4.0], 9)]);
    says(
        text(camera, image, "1 0 0\n"),
        &["points3D.txt: line 1", "position"],
    );
    says(
        text(camera, image, "1 0 0 inf 1 1 1 0\n"),
        &["place 1 is at"],
    );
}

#[test]
fn a_picture_without_places_has_an_empty_line_and_names_have_spaces() {
    let camera = "7 PINHOLE 32 24 32 32 16 12\r\n";
    let images = "# comments\n1 1 0 0 0 0 0 5 7 first with  two spaces.JPG\n\n\
                  2 1 0 0 0 0 0 6 7 sub dir/b.png\r\n1 2 -1 3 4 9\r\n\
                  3 1 0 0 0 0 0 7 7 c.png";
    let model = text(camera, images, "9 1 2 3 0 0 0 0\n").unwrap();
    let names: Vec<&str> = model.images.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(
        names,
        ["first with  two spaces.JPG", "sub dir/b.png", "c.png"]
    );
    let seen: Vec<usize> = model.images.iter().map(|i| i.seen.len()).collect();
    assert_eq!(seen, [0, 1, 0]);
    assert_eq!(model.images[1].seen, [([3.0, 4.0], 9)]);
    assert_eq!(model.images[2].pose.position(), [0.0, 0.0, -7.0]);
    // Names in another encoding are names.
    let files = Files {
        cameras: camera.as_bytes(),
        images: b"1 1 0 0 0 0 0 5 7 caf\xe9 1.png\n\n",
        points: None,
    };
    let latin = from_bytes(Path::new(FOLDER), Encoding::Text, &files).unwrap();
    assert_eq!(latin.images[0].name, "caf\u{fffd} 1.png");
}

#[test]
fn tables_of_llff_are_of_seventeen_real_columns() {
    let scene = Scene::usual(3);
    scene.pictures("images");
    scene.llff();
    let right = std::fs::read(scene.path("poses_bounds.npy")).unwrap();
    let path = Path::new("poses_bounds.npy");
    let views = llff::from_bytes(path, &right).unwrap();
    assert_eq!(views.len(), 3);
    let row: Vec<f64> = right[right.len() - 3 * 136..][..136]
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| f64::from_le_bytes(*b))
        .collect();
    let changed = |at: usize, value: f64| {
        let mut row = row.clone();
        row[at] = value;
        npy("<f8", false, "(1, 17)", &row)
    };
    // Columns first is another order of the same numbers.
    let columns = npy("<f8", true, "(1, 17)", &row);
    assert_eq!(llff::from_bytes(path, &columns).unwrap()[0], views[0]);
    for (bytes, words) in [
        (npy("<f8", false, "(17,)", &row), "shape [17]"),
        (npy("<f8", false, "(17, 1)", &row), "17 rows of 1 numbers"),
        (
            npy("<f8", false, "(1, 15)", &row[..15]),
            "1 rows of 15 numbers",
        ),
        (npy("<f8", false, "(0, 17)", &[]), "0 rows"),
        (npy("<i8", false, "(1, 17)", &row), "type <i8"),
        (npy("<f8", false, "(2, 17)", &row), "cut short"),
        (
            npy("<f8", false, "(9223372036854775807, 17)", &row),
            "claims",
        ),
        (changed(0, 3.0), "row 0: its pose is no rigid motion"),
        (changed(3, f64::NAN), "not a finite number"),
        (changed(4, 0.0), "pictures of 32 x 0"),
        (changed(14, -1.0), "focal length of -1"),
        (changed(15, 0.0), "depths from 0"),
        (changed(16, 1.0), "depths from 3 to 1"),
        (b"PK\x03\x04".to_vec(), "no array of NumPy"),
    ] {
        says(llff::from_bytes(path, &bytes), &["poses_bounds.npy", words]);
    }
    // As many rows as pictures.
    std::fs::remove_file(scene.path("images/a view 01.png")).unwrap();
    let spec = Spec::Scene(scene.dir().to_owned());
    let found = spec.read(Part::Training, &Options::default());
    says(found.map(|_| ()), &["3 rows", "2 pictures", "images"]);
}

#[test]
fn intrinsics_that_fit_no_picture_are_refused() {
    let scene = Scene::usual(2);
    scene.pictures("images");
    let spec = Spec::Scene(scene.dir().to_owned());
    let refused = |head: &str, words: &[&str]| {
        scene.transforms("transforms.json", head, |_| String::new());
        says(
            spec.read(Part::Training, &Options::default()).map(|_| ()),
            words,
        );
    };
    refused(
        r#""w": 24, "h": 32, "fl_x": 30"#,
        &["24 x 32", "32 x 24", "another shape"],
    );
    refused(r#""w": 32, "h": 24, "fl_x": 1"#, &["field of view"]);
    refused(
        r#""fl_x": 30, "camera_model": "FISHEYE624""#,
        &["FISHEYE624"],
    );
    refused(r#""fl_x": 30, "aabb_scale": -1"#, &["aabb_scale is -1"]);
    // What f32 does not hold, which a device computes with.
    refused(
        r#""fl_x": 1e300, "fl_y": 30"#,
        &["a view 00", "beyond what f32 holds"],
    );
    refused(r#""fl_x": 30, "cx": 1e200"#, &["beyond what f32 holds"]);
    refused(r#""fl_x": 30, "k1": 1e60"#, &["beyond what f32 holds"]);
    scene.transforms("transforms.json", r#""fl_x": 30"#, |_| String::new());
    let huge = Options {
        scene_scale: Some(1e250),
        ..Options::default()
    };
    says(
        spec.read(Part::Training, &huge).map(|_| ()),
        &["beyond what f32 holds"],
    );
    let options = Options {
        scene_scale: Some(f64::NAN),
        ..Options::default()
    };
    says(
        spec.read(Part::Training, &options).map(|_| ()),
        &["scene_scale NaN"],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn hostile_models_and_tables_never_panic(
        which in 0..3_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut files = model();
        for (at, byte) in &flips {
            let at = at.index(files[which].len());
            files[which][at] = *byte;
        }
        let end = cut.index(4 * files[which].len()).min(files[which].len());
        files[which].truncate(end);
        let [cameras, images, points] = &files;
        if let Ok(model) = binary(cameras, images, points) {
            for image in &model.images {
                prop_assert!(image.pose.check().is_ok());
            }
        }
    }

    #[test]
    fn hostile_texts_never_panic(words in prop::collection::vec(prop::sample::select(vec![
        "1", "-1", "0", "nan", "1e400", "PINHOLE", "OPENCV", "\n", "#", "a b.png", "32 24", "\r\n", "\u{e9}",
    ]), 0..60)) {
        let all = words.join(" ");
        text(&all, &all, &all).ok();
        text("7 PINHOLE 32 24 32 32 16 12", &all, &all).ok();
        transforms::from_text(Path::new("t.json"), &all).ok();
        llff::from_bytes(Path::new("p.npy"), all.as_bytes()).ok();
    }
}
