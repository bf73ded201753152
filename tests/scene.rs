//! Posed pictures as people have them: what is read, what is passed over, what is refused.

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::calls::{done, refused};
use common::folder::Folder;
use common::rays::rows;
use image::{ImageBuffer, LumaA, Rgb, Rgba, RgbaImage};
use wgen::Result;
use wgen::data::idx::Part;
use wgen::data::images::Options;
use wgen::data::report::Used;
use wgen::data::scene::{self, analytic};
use wgen::data::{Loaded, Spec};
use wgen::tensor::DType;

const ANGLE: &str = "0.6911112070083618";

/// A list of frames.
fn list(camera: &str, frames: &[(&str, &str)]) -> String {
    let frames: Vec<String> = frames
        .iter()
        .map(|(name, matrix)| {
            let name = name.replace('\\', "\\\\");
            format!(
                r#"{{"file_path": "{name}", "rotation": 0.0125, "transform_matrix": {matrix}}}"#
            )
        })
        .collect();
    format!(
        r#"{{{camera}, "frames": [{}], "made_by": {{"hand": [1, 2]}}}}"#,
        frames.join(", ")
    )
}

fn angle(radians: &str) -> String {
    format!(r#""camera_angle_x": {radians}"#)
}

/// A camera at (0, 0, `z`), not turned.
fn at(z: f64) -> String {
    format!("[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, {z}], [0, 0, 0, 1]]")
}

fn lists(folder: &Folder, part: &str, names: &[&str]) {
    let poses: Vec<String> = (1..=names.len()).map(|i| at(i as f64)).collect();
    let frames: Vec<(&str, &str)> = names
        .iter()
        .copied()
        .zip(poses.iter().map(String::as_str))
        .collect();
    let name = format!("transforms_{part}.json");
    folder.file(&name, list(&angle(ANGLE), &frames).as_bytes());
}

fn save(folder: &Folder, name: &str, picture: &RgbaImage) {
    let path = folder.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

fn plain(grey: u8) -> RgbaImage {
    RgbaImage::from_pixel(4, 2, Rgba([grey, grey, grey, 255]))
}

fn spec(folder: &Folder) -> Spec {
    Spec::Scene(folder.path(""))
}

fn read(folder: &Folder, part: Part) -> Result<Loaded> {
    spec(folder).read(part, &Options::default())
}

fn refuses(folder: &Folder, words: &[&str]) {
    let message = read(folder, Part::Training).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "'{word}' is not in '{message}'");
    }
}

#[test]
fn a_scene_is_rows_of_straight_colours_numbered_view_after_view() {
    let folder = Folder::new();
    let picture = RgbaImage::from_fn(4, 2, |x, y| Rgba([x as u8, y as u8, 7, (10 * x) as u8]));
    save(&folder, "train/r_0.png", &picture);
    save(&folder, "train/with space.v2.png", &plain(9));
    save(&folder, "train/r_2.png", &plain(11));
    lists(
        &folder,
        "train",
        &["./train/r_0", "train/with space.v2", r".\train\r_2.png"],
    );
    let Loaded { data, report } = read(&folder, Part::Training).unwrap();
    let rows = rows(&data);
    assert_eq!(rows.len(), 3 * 8);
    // The colour of a pixel stays though nothing is seen of it, and so does its alpha.
    assert_eq!(rows[0], ([0, 0, 7, 0], 0));
    assert_eq!(rows[6], ([2, 1, 7, 20], 6));
    assert_eq!(rows[8], ([9, 9, 9, 255], 8));
    assert!(rows.iter().enumerate().all(|(i, r)| r.1 == i as u32));
    let views = data.views.as_ref().unwrap();
    assert_eq!(views.names[1], "train/with space.v2");
    assert_eq!(views.poses[2].position(), [0.0, 0.0, 3.0]);
    assert_eq!(
        views.matrix()[12..24],
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0]
    );
    assert!((views.camera().fx - 0.02 * 277.777_757_798).abs() < 1e-9);
    assert_eq!(
        (
            views.camera().cx,
            views.camera().cy,
            views.camera().pixel_offset
        ),
        (2.0, 1.0, 0.5)
    );
    assert_eq!(
        (data.shape, data.scaling(), data.dtype()),
        (scene::RAY, (1.0, 0.0), DType::U8)
    );
    let posed = report.posed.unwrap();
    assert_eq!(
        (posed.views, posed.listed, posed.transparent, posed.missing),
        (3, 3, 1, 0)
    );
    assert_eq!(
        (posed.width, posed.height, posed.distances),
        (4, 2, [1.0, 2.0, 3.0])
    );
    assert_eq!(report.used, Used::All);
}

#[test]
fn pictures_of_all_kinds_become_rgba_in_8_bits() {
    let folder = Folder::new();
    let path = |name: &str| folder.path(name);
    ImageBuffer::from_pixel(4, 2, Rgba([0xffff_u16, 0x8080, 129, 0x4000]))
        .save(path("a.png"))
        .unwrap();
    ImageBuffer::from_pixel(4, 2, LumaA([200_u8, 30]))
        .save(path("b.png"))
        .unwrap();
    ImageBuffer::from_pixel(4, 2, Rgb([1_u8, 2, 3]))
        .save(path("c.png"))
        .unwrap();
    ImageBuffer::from_pixel(4, 2, image::Luma([0x8080_u16]))
        .save(path("d.png"))
        .unwrap();
    lists(&folder, "train", &["a", "b", "c", "d"]);
    let data = read(&folder, Part::Training).unwrap().data;
    let first: Vec<[u8; 4]> = rows(&data).iter().step_by(8).map(|r| r.0).collect();
    assert_eq!(
        first,
        [
            [255, 128, 1, 64],
            [200, 200, 200, 30],
            [1, 2, 3, 255],
            [128, 128, 128, 255]
        ]
    );
    assert_eq!(data.views.unwrap().transparent, 2);
}

#[test]
fn the_part_to_test_on_is_test_else_val_else_everything() {
    let folder = Folder::new();
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        save(&folder, &format!("{name}.png"), &plain(i as u8));
    }
    lists(&folder, "train", &["a", "b"]);
    let used = |part| {
        let read = read(&folder, part).unwrap();
        (
            read.report.used,
            read.data.views.as_ref().unwrap().names.join(" "),
        )
    };
    assert_eq!(used(Part::Training), (Used::All, "a b".to_owned()));
    assert_eq!(used(Part::Test), (Used::All, "a b".to_owned()));
    lists(&folder, "val", &["c"]);
    assert_eq!(used(Part::Training), (Used::Training, "a b".to_owned()));
    assert_eq!(
        used(Part::Test),
        (Used::Part("val".to_owned()), "c".to_owned())
    );
    lists(&folder, "test", &["b", "c"]);
    assert_eq!(
        used(Part::Test),
        (Used::Part("test".to_owned()), "b c".to_owned())
    );
}

#[test]
fn missing_pictures_are_counted_and_named_until_under_half_are_left() {
    let folder = Folder::new();
    save(&folder, "a.png", &plain(1));
    save(&folder, "b.png", &plain(2));
    save(&folder, "c.png", &plain(3));
    save(&folder, "d.png", &plain(4));
    lists(&folder, "train", &["w", "a", "x", "b", "y", "c", "z", "d"]);
    let report = read(&folder, Part::Training).unwrap().report;
    let posed = report.posed.unwrap();
    assert_eq!((posed.views, posed.listed, posed.missing), (4, 8, 4));
    assert_eq!(posed.missing_names, ["w", "x", "y"]);
    // Those that are there keep their own poses.
    let data = read(&folder, Part::Training).unwrap().data;
    assert_eq!(data.views.unwrap().poses[1].position(), [0.0, 0.0, 4.0]);
    let said = done(&["data", &spec(&folder).to_string()]);
    assert!(
        said.contains("4 of 8 listed pictures are missing and passed over: w, x, y, ..."),
        "{said}"
    );

    fs::remove_file(folder.path("d.png")).unwrap();
    refuses(
        &folder,
        &[
            "only 3 of its 8 pictures are there, under half",
            "5 are missing",
            "w, x, y",
        ],
    );
    for name in ["a", "b", "c"] {
        fs::remove_file(folder.path(&format!("{name}.png"))).unwrap();
    }
    refuses(
        &folder,
        &["none of its 8 pictures is there", "transforms_train.json"],
    );
}

#[test]
fn broken_pictures_are_refused_by_name_or_passed_over() {
    let folder = Folder::new();
    save(&folder, "a.png", &plain(1));
    folder.file("b.png", b"no picture");
    save(&folder, "c.png", &plain(3));
    lists(&folder, "train", &["a", "b", "c"]);
    refuses(&folder, &["b.png", "is text", "`skip_broken`"]);
    let skip = Options {
        skip_broken: true,
        ..Options::default()
    };
    let read = spec(&folder).read(Part::Training, &skip).unwrap();
    assert_eq!((read.data.rows(), read.report.broken.len()), (16, 1));
    assert_eq!(read.data.views.unwrap().names, ["a", "c"]);
    folder.file("c.png", b"no picture");
    let message = spec(&folder)
        .read(Part::Training, &skip)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("only 1 of its 3 pictures are whole"),
        "{message}"
    );
}

#[test]
fn pictures_of_other_sizes_have_cameras_of_their_own() {
    let folder = Folder::new();
    save(&folder, "a.png", &plain(1));
    save(&folder, "b.png", &RgbaImage::from_pixel(8, 3, Rgba([7; 4])));
    lists(&folder, "train", &["a", "b"]);
    let Loaded { data, report } = read(&folder, Part::Training).unwrap();
    let views = data.views.as_ref().unwrap();
    let [a, b] = [views.cameras[0], views.cameras[1]];
    assert_eq!((b.width, b.height, b.cx, b.cy), (8, 3, 4.0, 1.5));
    // They look as wide.
    assert!((b.fx - 2.0 * a.fx).abs() < 1e-12 && views.common().is_none());
    let rows = rows(&data);
    assert_eq!(
        (rows.len(), rows[8], rows[31]),
        (8 + 24, ([7; 4], 8), ([7; 4], 31))
    );
    let posed = report.posed.unwrap();
    assert_eq!((posed.cameras, posed.sizes), (2, [[4, 2], [8, 3]]));
    let said = done(&["data", &spec(&folder).to_string()]);
    assert!(said.contains("from 4 to 8 wide and 2 to 3 high"), "{said}");
}

#[test]
fn a_camera_that_is_none_is_refused() {
    let folder = Folder::new();
    save(&folder, "a.png", &plain(1));
    let file = |camera: &str| {
        folder.file(
            "transforms_train.json",
            list(camera, &[("a", &at(4.0))]).as_bytes(),
        );
    };
    for (camera, words) in [
        (angle("0.0"), "camera_angle_x is 0"),
        (
            angle("2.97"),
            "170.2 degrees: it must be above 0 and at most 170",
        ),
        (angle("NaN"), "no camera_angle_x"),
        (
            r#""fl_x": 0"#.to_owned(),
            "fl_x is 0; a focal length must be above 0",
        ),
        (r#""fl_x": 0.17"#.to_owned(), "a field of view of 170."),
        (r#""made_with": "love""#.to_owned(), "no camera_angle_x"),
    ] {
        file(&camera);
        refuses(&folder, &[words, "transforms_train.json"]);
    }
    file(&angle("2.96"));
    assert!(read(&folder, Part::Training).is_ok());
}

#[test]
fn a_pose_that_is_none_is_refused_by_its_frame() {
    let folder = Folder::new();
    save(&folder, "a.png", &plain(1));
    save(&folder, "b.png", &plain(1));
    let good = at(4.0);
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    for (matrix, words) in [
        (
            with("1, 0, 0, 0", "2, 0, 0, 0"),
            "lengths 2.0000, 1.0000 and 1.0000",
        ),
        (with("1, 0, 0, 0", "-1, 0, 0, 0"), "mirrors"),
        (with("1, 0, 0, 0", "1, 0.1, 0, 0"), "no rigid motion"),
        (
            with("1, 0, 0, 0", "NaN, 0, 0, 0"),
            "not a finite number (NaN) in row 0, column 0",
        ),
        (
            with("1, 0, 0, 0", "1, 0, 0, -Infinity"),
            "not a finite number (NaN) in row 0, column 3",
        ),
        (with("0, 0, 0, 1", "0, 0, 1, 1"), "last row"),
        (with("[0, 0, 0, 1]", "[0, 1]"), "rows of [4, 4, 4, 2]"),
    ] {
        let frames = [("a", good.as_str()), ("b", matrix.as_str())];
        folder.file(
            "transforms_train.json",
            list(&angle(ANGLE), &frames).as_bytes(),
        );
        refuses(&folder, &["frame 1 (b): transform_matrix", words]);
    }
}

#[test]
fn what_is_no_scene_is_said_to_be_none() {
    let folder = Folder::new();
    refuses(&folder, &["has no transforms_train.json"]);
    folder.file("transforms.json", b"{}");
    refuses(&folder, &["transforms.json", "frames"]);
    folder.file("transforms_train.json", b"{\"frames\": []}");
    refuses(&folder, &["lists no frames"]);
    folder.file(
        "transforms_train.json",
        b"{\"frames\": [{\"file_path\": \"a\"}]}",
    );
    refuses(&folder, &["no list of cameras", "transform_matrix"]);
    folder.file("transforms_train.json", b"\xff\xfe");
    refuses(&folder, &["is no text"]);
    let file = Spec::Scene(folder.path("transforms_train.json"));
    let message = file
        .load(Part::Training, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(message.contains("wants the folder"), "{message}");
    let nowhere = Spec::Scene(folder.path("nowhere"));
    assert!(nowhere.load(Part::Training, &Options::default()).is_err());
    let lens = r#""camera_angle_x": 0.7, "k4": 0.05"#;
    save(&folder, "a.png", &plain(1));
    folder.file(
        "transforms_train.json",
        list(lens, &[("a", &at(4.0))]).as_bytes(),
    );
    refuses(&folder, &["k4 is 0.05", "is_fisheye"]);
}

#[test]
fn a_random_background_needs_alpha() {
    let folder = Folder::new();
    save(&folder, "a.png", &plain(1));
    lists(&folder, "train", &["a"]);
    let cameras = || {
        let data = read(&folder, Part::Training).unwrap().data;
        data.views.unwrap().cameras()
    };
    let message = cameras().check_random_background().unwrap_err().to_string();
    assert!(
        message.contains("background random needs pictures that are transparent"),
        "{message}"
    );
    save(
        &folder,
        "a.png",
        &RgbaImage::from_pixel(4, 2, Rgba([1, 2, 3, 254])),
    );
    assert!(cameras().alpha && cameras().check_random_background().is_ok());
}

#[test]
fn a_scene_is_known_again_by_what_is_in_it() {
    let folder = Folder::new();
    save(&folder, "a.png", &plain(1));
    lists(&folder, "train", &["a"]);
    let known = || {
        (
            scene::fingerprint(&folder.path("")).unwrap(),
            read(&folder, Part::Training).unwrap().data.digest(),
        )
    };
    let before = known();
    assert_eq!(known(), before);
    let digest_by_z = |z: f64| {
        folder.file(
            "transforms_train.json",
            list(&angle(ANGLE), &[("a", &at(z))]).as_bytes(),
        );
        known()
    };
    let moved = digest_by_z(1.5);
    assert!(moved.0 != before.0 && moved.1 != before.1);
    assert_eq!(digest_by_z(1.5), moved);
}

#[test]
fn specs_of_scenes_are_read_and_written() {
    for (text, spec) in [
        ("scene:a b/c", Spec::Scene("a b/c".into())),
        ("analytic:7", Spec::Analytic(7)),
    ] {
        assert_eq!(text.parse::<Spec>().unwrap(), spec);
        assert_eq!(spec.to_string(), text);
    }
    assert_eq!(
        "analytic".parse::<Spec>().unwrap(),
        Spec::Analytic(analytic::VIEWS)
    );
    for text in ["scene:", "scene", "analytic:0", "analytic:x", "analytic:"] {
        assert!(text.parse::<Spec>().is_err(), "{text}");
    }
}

#[test]
fn views_are_drawn_and_commands_for_pictures_refuse_rays() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("views.png");
    let out = out.to_str().unwrap();
    let said = done(&["data", "analytic:5", "--out", out, "--n", "4"]);
    for words in [
        "analytic:5: 50000 rays to train on",
        "views: 5 pictures of 100 x 100, all of them transparent somewhere",
        "focal length 138.889 pixels, field of view 39.60 x 39.60 degrees",
        "cameras are 4.000 to 4.000 from the origin",
        "4 views over white",
    ] {
        assert!(said.contains(words), "'{words}' is not in {said}");
    }
    let drawn = image::open(out).unwrap().to_rgb8();
    assert!(drawn.width() >= 200 && drawn.height() >= 200);
    let colours: BTreeMap<[u8; 3], usize> = drawn.pixels().fold(BTreeMap::new(), |mut all, p| {
        *all.entry(p.0).or_default() += 1;
        all
    });
    assert!(colours[&[255; 3]] > 10_000 && colours.len() > 100);

    let run = dir.path().join("run");
    let run = run.to_str().unwrap();
    for model in ["vae", "ae", "gan", "diffusion"] {
        refused(
            &[
                "train",
                model,
                "--data",
                "analytic:2",
                "--steps",
                "1",
                "--out",
                run,
            ],
            &[model, "rays"],
        );
        assert!(!dir.path().join("run").exists(), "{model}");
    }
    refused(
        &["data", "analytic:2", "--size", "8"],
        &["--size", "drawn by the program"],
    );
    refused(
        &["data", &format!("scene:{}", dir.path().display())],
        &["no transforms_train.json"],
    );
    refused(
        &["data", "scene:x", "--skip-broken", "--held-out", "3"],
        &["--held-out", "of a scene"],
    );
}
