//! What is said of data, devices and trainings that do not fit a radiance field.

#![cfg(unix)]

mod common;

use std::sync::Arc;

use common::fields::{NERF, NGP, config, models, without};
use common::gpu;
use common::place::Place;
use wgen::data::scene::{Pose, analytic};
use wgen::models::nerf::ngp::{self, Ngp};
use wgen::models::{Figures, Model};
use wgen::session::Device;
use wgen::train::Trainer;

fn refused(arguments: &[&str], more: &[&str], words: &[&str]) {
    let place = Place::empty();
    let all = [arguments, &["run", "--steps", "1"], more].concat();
    let out = place.run(&all);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{more:?}: {message}");
    for word in words {
        assert!(
            message.contains(word),
            "{more:?}: no '{word}' in: {message}"
        );
    }
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(
        place.names(),
        Vec::<String>::new(),
        "{more:?} wrote something"
    );
}

#[test]
fn depths_and_sizes_that_cannot_be_are_refused() {
    refused(
        NERF,
        &["--near", "6", "--far", "2"],
        &["near 6", "far 2", "near before far"],
    );
    refused(NERF, &["--near", "2", "--far", "2"], &["near before far"]);
    refused(NERF, &["--near", "0", "--lindisp"], &["near 0", "above 0"]);
    refused(NERF, &["--skips", "7"], &["skips has 7", "depth 2"]);
    refused(
        &without(NERF, "--coarse"),
        &["--coarse", "2"],
        &["coarse is 2"],
    );
    refused(NGP, &["--half-side", "0"], &["half_side 0"]);
    refused(
        &without(NGP, "--occupancy"),
        &["--occupancy", "20"],
        &["power of two", "20"],
    );
    refused(
        &without(NGP, "--features"),
        &["--features", "3"],
        &["features", "1, 2, 4 or 8"],
    );
    refused(
        &without(NGP, "--samples"),
        &["--samples", "10"],
        &["capacity is 10"],
    );
    refused(
        &without(NGP, "--data"),
        &["--data", "digits:40"],
        &["ngp", "no cameras"],
    );
}

/// Two views of one grey, from `distance` along x and y, looking at the origin or away from it.
fn scene(place: &Place, distance: f64, away: bool, alpha: u8) {
    let up = [0.0, 0.0, 1.0];
    let mut frames = Vec::new();
    for (name, position) in [("a", [distance, 0.0, 0.0]), ("b", [0.0, distance, 0.0])] {
        let target = if away {
            position.map(|x| 2.0 * x)
        } else {
            [0.0; 3]
        };
        let p = Pose::looking(position, target, up).0;
        let picture = image::RgbaImage::from_pixel(8, 8, image::Rgba([90, 90, 90, alpha]));
        picture
            .save(place.path(&format!("scene/{name}.png")))
            .unwrap();
        let rows: Vec<&[f64]> = p.chunks(4).collect();
        frames.push(serde_json::json!({"file_path": format!("./{name}"), "transform_matrix": [rows[0], rows[1], rows[2], [0.0, 0.0, 0.0, 1.0]]}));
    }
    let list = serde_json::json!({"camera_angle_x": 0.7, "frames": frames});
    std::fs::write(place.path("scene/transforms_train.json"), list.to_string()).unwrap();
}

#[test]
fn scenes_that_do_not_fit_are_refused_with_the_numbers() {
    let train = |place: &Place, model: &[&str], more: &[&str]| {
        let base = without(model, "--data");
        let out = place.run(
            &[
                &base[..],
                &["run", "--data", "scene:scene", "--steps", "1"],
                more,
            ]
            .concat(),
        );
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let refused = |place: &Place, model: &[&str], more: &[&str], words: &[&str]| {
        let (status, message) = train(place, model, more);
        assert_eq!(status, Some(2), "{message}");
        for word in words {
            assert!(message.contains(word), "no '{word}' in: {message}");
        }
        assert_eq!(place.names(), ["scene"], "{more:?} wrote something");
    };
    let place = Place::empty();
    std::fs::create_dir(place.path("scene")).unwrap();
    // Nothing is transparent: there is nothing that a random colour would be behind.
    scene(&place, 4.0, false, 255);
    let words = [
        "--scene-background random",
        "pictures that are transparent",
        "white or black",
    ];
    refused(&place, NGP, &[], &words);
    refused(&place, NERF, &["--scene-background", "random"], &words);
    // Cameras that look away: what they look at begins where they are.
    scene(&place, 4.0, true, 128);
    let words = [
        "--half-side 1.5",
        "0 of 162 rays",
        "4.000 to 4.000 away",
        "4.000 would hold",
    ];
    refused(&place, NGP, &[], &words);
    // Farther than the box has room: with the number that is asked for it begins.
    let (status, message) = train(
        &place,
        &without(NGP, "--batch"),
        &["--half-side", "4.1", "--batch", "64"],
    );
    assert_eq!(status, Some(0), "{message}");
    assert!(!message.contains("would hold"), "{message}");
    std::fs::remove_dir_all(place.path("run")).unwrap();
    // Few rays: only a warning.
    scene(&place, 4.0, false, 128);
    let (status, message) = train(&place, NGP, &["--half-side", "0.01"]);
    assert_eq!(status, Some(0), "{message}");
    let line = message
        .lines()
        .find(|l| l.starts_with("warning") || l.starts_with("warn"))
        .unwrap_or_default();
    assert!(
        line.contains("2 of 162 rays") && line.contains("--half-side"),
        "{message}"
    );
}

#[test]
fn a_table_beyond_a_binding_names_what_to_lower() {
    let caps = wgen::kernels::Caps::portable();
    assert_eq!(caps.binding_bytes, 128 << 20);
    let model = |log2_entries| {
        let config = ngp::Config {
            log2_entries,
            ..ngp::Config::blender(analytic::camera())
        };
        Ngp::new(config).unwrap()
    };
    assert!(model(17).check_device(&caps).is_ok());
    let message = model(24).check_device(&caps).unwrap_err().to_string();
    for word in [
        "log2_entries is 24",
        "8 levels of 4 features",
        "binds 128 MiB",
        "21 fits",
    ] {
        assert!(message.contains(word), "no '{word}' in: {message}");
    }
    // What is said to fit does, and one more does not.
    assert!(model(21).check_device(&caps).is_ok() && model(22).check_device(&caps).is_err());
    // By the trainer, before anything is written.
    let device = Device::Gpu(gpu());
    let limit = device.caps().binding_bytes;
    let log2 = (17..=24).find(|&l| model(l).check_device(&device.caps()).is_err());
    let Some(log2) = log2 else {
        assert!(limit > 1 << 30, "2^24 entries fit into {limit} bytes");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let data = analytic::dataset(1, 0);
    let out = dir.path().join("run");
    let error = Trainer::new(
        &device,
        config(Arc::new(model(log2)), &data, 1),
        data,
        &out,
        false,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("log2_entries is {log2}")),
        "{error}"
    );
    assert!(!out.exists());
}

#[test]
fn a_field_that_stays_empty_is_said_once() {
    let figures = |psnr: f64| {
        Figures::from([
            ("psnr".to_owned(), psnr),
            ("background_psnr".to_owned(), 12.0),
        ])
    };
    for model in models() {
        assert_eq!(model.warning(499, &figures(12.0)), None);
        assert_eq!(model.warning(500, &figures(12.6)), None);
        assert_eq!(model.warning(500, &Figures::new()), None);
        let said = model.warning(500, &figures(12.4)).unwrap();
        for word in ["after 500 steps", "12.40 dB", "12.00 dB", "`learning_rate`"] {
            assert!(said.contains(word), "no '{word}' in: {said}");
        }
    }
    // A rate of 0 learns nothing: said once, with the flags, and the training goes on.
    let place = Place::empty();
    let base = without(&without(&without(NERF, "--coarse"), "--fine"), "--batch");
    let size = [
        "--coarse", "3", "--fine", "0", "--batch", "4", "--steps", "620", "--lr", "1e-12",
    ];
    let out = place.done(&[&base, &["run"][..], &size].concat());
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    let lines: Vec<&str> = message
        .lines()
        .filter(|l| l.contains("hardly more than background"))
        .collect();
    assert_eq!(lines.len(), 1, "{message}");
    for word in ["--lr", "--precrop", "--raw-noise"] {
        assert!(lines[0].contains(word), "{message}");
    }
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &message;
    assert!(said.contains("620 of 620 steps"), "{said}");
}
