//! The doctor of scenes: what is wrong is named, with the numbers, and a scale that would fit is proposed.

mod common;

use common::calls::{done, refused, wgen};
use common::scenes::{MIDDLE, Scene};
use serde_json::Value;
use wgen::data::images::Options;
use wgen::data::scene::doctor::{Examination, Kind, examine};
use wgen::data::scene::{Camera, Lens, Pose};

fn found(scene: &Scene) -> Examination {
    with(scene, &Options::default())
}

fn with(scene: &Scene, options: &Options) -> Examination {
    examine(scene.dir(), options, 1.5).unwrap().report
}

fn kinds(found: &Examination) -> Vec<Kind> {
    found.warnings.iter().map(|w| w.kind).collect()
}

fn text(found: &Examination, kind: Kind) -> String {
    let warning = found.warnings.iter().find(|w| w.kind == kind);
    warning
        .unwrap_or_else(|| panic!("{:?}", found.warnings))
        .text
        .clone()
}

/// The scene moved to the origin, every length `by` times as long, as transforms.
fn listed(by: f64, change: impl Fn(&Pose) -> Pose) -> Scene {
    let mut scene = Scene::usual(12);
    for pose in &mut scene.poses {
        let place = pose.position();
        let moved = [0, 1, 2].map(|k| by * (place[k] - MIDDLE[k]));
        *pose = change(&Pose::from_axes(
            pose.axis(0),
            pose.axis(1),
            pose.axis(2),
            moved,
        ));
    }
    scene.pictures("images");
    scene.transforms("transforms.json", &scene.intrinsics(), |_| String::new());
    scene
}

#[test]
fn of_a_scene_that_is_right_nothing_is_said_to_be_wrong() {
    let right = found(&listed(1.0, |p| *p));
    assert_eq!(kinds(&right), []);
    let focus = right.focus.unwrap();
    assert!(focus.place.iter().all(|x| x.abs() < 1e-9) && focus.before == 1.0);
    assert!((focus.distance - 5.0).abs() < 1e-9 && focus.passed_by < 1e-9);
    assert!(right.rays_in_box > 0.5 && right.cameras_in_box == 0.0);
    // What cannot be found out is said.
    assert!(
        right
            .notes
            .join(" ")
            .contains("no points lie beside the cameras")
    );
    let model = Scene::usual(12);
    model.pictures("images");
    model.colmap_binary("sparse/0");
    let right = found(&model);
    assert_eq!(kinds(&right), []);
    let (seen, points) = (right.reprojection.unwrap(), right.points.unwrap());
    assert!(seen.median < 0.01 && seen.percentile_95 < 0.01 && seen.seen > 500);
    assert!((seen.focal_ratio - 1.0).abs() < 1e-6 && points.behind == 0.0);
    // Points reach 1 from the middle where cameras are 5 away: 0.8 where they are 4.
    let proposal = right.proposal.unwrap();
    assert_eq!(proposal.by, "points");
    assert!(
        proposal.half_side > 0.6 && proposal.half_side < 1.2,
        "{proposal:?}"
    );
    assert!(points.in_box == 1.0 && points.count == 60);
}

#[test]
fn a_scene_of_another_scale_is_named_and_its_scale_proposed() {
    for (by, kind, words) in [
        (10.0, Kind::BoxTooSmall, "too small"),
        (0.1, Kind::BoxTooLarge, "too large"),
    ] {
        let scene = listed(by, |p| *p);
        let wrong = found(&scene);
        assert_eq!(kinds(&wrong), [kind]);
        let scale = wrong.proposal.unwrap().scale;
        let fitting = 0.8 / by;
        assert!(scale > 0.5 * fitting && scale < 2.0 * fitting, "{scale}");
        let said = text(&wrong, kind);
        for words in [words, "of the rays meet it", "`scene_scale`", "`half_side`"] {
            assert!(said.contains(words), "{said}");
        }
        // By what is proposed it is right.
        let options = Options {
            scene_scale: Some(scale),
            ..Options::default()
        };
        assert_eq!(kinds(&with(&scene, &options)), []);
        let proposed = wrong.proposal.unwrap().half_side;
        let again = examine(scene.dir(), &Options::default(), proposed).unwrap();
        assert_eq!(kinds(&again.report), []);
    }
    // The same of a model, by its points.
    let model = Scene::usual(12);
    model.pictures("images");
    model.colmap_text("sparse");
    let options = Options {
        scene_scale: Some(10.0),
        ..Options::default()
    };
    let wrong = with(&model, &options);
    assert_eq!(kinds(&wrong), [Kind::BoxTooSmall]);
    let scale = wrong.proposal.unwrap().scale;
    assert!(scale > 0.05 && scale < 0.3, "{scale}");
    assert!(text(&wrong, Kind::BoxTooSmall).contains("points"));
}

#[test]
fn axes_of_opencv_are_named() {
    let turned = |p: &Pose| {
        let [right, up, back] = [0, 1, 2].map(|axis| p.axis(axis));
        Pose::from_axes(right, up.map(|x| -x), back.map(|x| -x), p.position())
    };
    let wrong = found(&listed(1.0, turned));
    assert_eq!(kinds(&wrong)[0], Kind::BackToFront);
    let said = text(&wrong, Kind::BackToFront);
    for words in [
        "behind 100 %",
        "OpenCV",
        "second and third column",
        "speaks for it",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(wrong.focus.unwrap().before, 0.0);
    assert!(kinds(&wrong).contains(&Kind::UpsideDown));
}

#[test]
fn half_the_focal_length_is_named_where_there_are_points() {
    let mut scene = Scene::new(12, Camera::centred(64, 48, 64.0));
    scene.pictures("images");
    scene.colmap_text("sparse/0");
    // What was seen stays, by cameras of half the focal length.
    scene.camera = Camera::centred(64, 48, 32.0);
    scene.file(
        "sparse/0/cameras.txt",
        format!("7 {}\n", scene.camera_line()),
    );
    let wrong = found(&scene);
    assert_eq!(kinds(&wrong), [Kind::Reprojection]);
    let seen = wrong.reprojection.unwrap();
    assert!((seen.focal_ratio - 2.0).abs() < 1e-6 && seen.median > 2.0);
    assert!(text(&wrong, Kind::Reprojection).contains("2.00 times as long"));
    // Pictures that were made smaller are none of it: places are scaled with them.
    scene.camera = Camera::centred(64, 48, 64.0);
    scene.file(
        "sparse/0/cameras.txt",
        format!("7 {}\n", scene.camera_line()),
    );
    let options = Options {
        scene_downscale: Some(2),
        ..Options::default()
    };
    let right = with(&scene, &options);
    assert_eq!((kinds(&right), right.posed.width), (vec![], 32));
    assert!(right.reprojection.unwrap().median < 0.01);
}

#[test]
fn what_else_is_odd_is_named() {
    // A camera far from the others, and a picture that is not there.
    let mut scene = Scene::usual(12);
    scene.pictures("images");
    let far = scene.poses[5].position().map(|x| 400.0 * x);
    let [right, up, back] = [0, 1, 2].map(|axis| scene.poses[5].axis(axis));
    scene.poses[5] = Pose::from_axes(right, up, back, far);
    scene.names[7] = "not there.png".to_owned();
    scene.transforms("transforms.json", &scene.intrinsics(), |_| String::new());
    let odd = found(&scene);
    assert!(text(&odd, Kind::Outliers).contains("a view 05.png"));
    assert!(text(&odd, Kind::Missing).contains("1 of 12 listed pictures are not there"));
    // Looked at from elsewhere.
    let moved = |p: &Pose| {
        let [x, y, z] = p.position();
        Pose::from_axes(p.axis(0), p.axis(1), p.axis(2), [x + 20.0, y, z])
    };
    let odd = found(&listed(1.0, moved));
    assert_eq!(kinds(&odd), [Kind::FocusOutside]);
    assert!(text(&odd, Kind::FocusOutside).contains("(20.000, "));
    // Intrinsics of a larger picture whose size is not said.
    let scene = Scene::usual(8);
    scene.pictures("images");
    let head = r#""fl_x": 3200, "cx": 1600, "cy": 1200"#;
    scene.transforms("transforms.json", head, |_| String::new());
    let odd = kinds(&found(&scene));
    assert!(odd.contains(&Kind::FieldOfView) && odd.contains(&Kind::PrincipalPoint));
    // A fisheye may see as much as it likes.
    let lens = Lens::Fisheye {
        k1: 0.0,
        k2: 0.0,
        k3: 0.0,
        k4: 0.0,
    };
    let wide = Camera {
        lens,
        ..Camera::centred(32, 24, 10.0)
    };
    let scene = Scene::new(8, wide);
    scene.pictures("images");
    scene.colmap_binary("sparse");
    assert_eq!(kinds(&found(&scene)), []);
}

#[test]
fn the_command_says_draws_and_counts() {
    let scene = Scene::usual(10);
    scene.pictures("images");
    scene.colmap_binary("sparse/0");
    let dir = scene.dir().to_str().unwrap();
    let svg = scene.path("scene.svg");
    let said = done(&["scene", dir, "--out", svg.to_str().unwrap()]);
    for words in [
        "read as colmap",
        "views: 10 pictures of 32 x 24",
        "their axes meet at",
        "60 points",
        "pixels from where they should be",
        "of the rays meet the box of half side 1.5",
        "--half-side",
        "nothing is found to be wrong",
    ] {
        assert!(said.contains(words), "'{words}' is not in {said}");
    }
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.matches("<circle").count() >= 100);
    let out = wgen(&[
        "--json",
        "scene",
        dir,
        "--scene-scale",
        "20",
        "--half-side",
        "2",
    ]);
    assert!(out.status.success());
    let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
    let examination = &answer["examination"];
    assert_eq!(examination["warnings"][0]["kind"], "box_too_small");
    assert_eq!(
        (&examination["half_side"], &examination["format"]),
        (&2.0.into(), &"colmap".into())
    );
    assert!(examination["reprojection"]["median"].as_f64().unwrap() < 0.01);
    refused(&["scene", dir, "--half-side", "0"], &["--half-side 0"]);
    refused(&["scene", "/nowhere/at all"], &["/nowhere/at all"]);
    let empty = tempfile::tempdir().unwrap();
    refused(
        &["scene", empty.path().to_str().unwrap()],
        &[
            "transforms_train.json",
            "transforms.json",
            "poses_bounds.npy",
            "COLMAP",
        ],
    );
}
