//! Large pictures of small ones: what a model of super-resolution is given, where it comes from, and what is refused. The network itself is in
//! `tests/adm.rs`.

mod common;

use std::fs;
use std::path::Path;

use common::calls::{done, refused};
use tempfile::tempdir;
use wgen::Run;
use wgen::data::digits::digits;
use wgen::evaluate::{Evaluator, Start};
use wgen::files::weights::read_tensors;
use wgen::models::diffusion::{Diffusion, LOW_RES};
use wgen::session::Device;
use wgen::tensor::ImageShape;

/// A run of a few steps: 14 x 14 to 28 x 28.
fn trained(folder: &Path, more: &[&str]) -> String {
    let folder = folder.to_str().unwrap();
    let mut arguments = vec!["train", "adm", "--data", "digits:40", "--low-res", "14"];
    arguments.extend([
        "--channel-mult",
        "1,1",
        "--model-channels",
        "8",
        "--groups",
        "4",
    ]);
    arguments.extend(["--num-head-channels", "4", "--batch", "4", "--no-previews"]);
    arguments.extend(["--steps", "1", "--out", folder]);
    arguments.extend(more);
    done(&arguments)
}

#[test]
fn small_pictures_come_from_files_and_data() {
    let dir = tempdir().unwrap();
    let run = dir.path().join("run");
    trained(&run, &["--conditional"]);
    let (out, tensors) = (dir.path().join("x.png"), dir.path().join("x.safetensors"));
    let drawn = |low_res: &[&str]| {
        let mut arguments = vec![
            "sample",
            run.to_str().unwrap(),
            "--n",
            "3",
            "--steps",
            "3",
            "--class",
            "3",
        ];
        arguments.extend([
            "--out",
            out.to_str().unwrap(),
            "--save-tensor",
            tensors.to_str().unwrap(),
        ]);
        arguments.push("--low-res");
        arguments.extend(low_res);
        done(&arguments);
        read_tensors(&tensors).unwrap()["x"].clone()
    };
    let of_data = drawn(&["digits"]);
    assert_eq!(of_data.0, [3, 1, 28, 28]);
    // Files of the small size, and of the large one, whose means they are.
    let picture = |side: u32, name: &str, value: u8| {
        let path = dir.path().join(name);
        image::GrayImage::from_fn(side, side, |x, y| {
            image::Luma([if (14 * x / side + 14 * y / side).is_multiple_of(3) {
                value
            } else {
                0
            }])
        })
        .save(&path)
        .unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (small, large) = (picture(14, "small.png", 200), picture(28, "large.png", 200));
    let of_small = drawn(&[&small]);
    let of_large = drawn(&[&large]);
    let off = of_small
        .1
        .iter()
        .zip(&of_large.1)
        .map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f32::max);
    // What is given is looked at: another picture makes far more of a difference.
    let other = drawn(&[&picture(14, "other.png", 90)]);
    let differs = of_small.1.iter().zip(&other.1).map(|(a, b)| (a - b).abs());
    let differs = differs.fold(0.0, f32::max);
    assert!(differs > 10.0 * off && differs > 0.0, "{off} {differs}");
    let bad = picture(20, "bad.png", 9);
    let line = |more: &[&str]| {
        let mut arguments = vec![
            "sample",
            run.to_str().unwrap(),
            "--n",
            "2",
            "--out",
            out.to_str().unwrap(),
        ];
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let said = |more: &[&str], words: &[&str]| {
        let line = line(more);
        refused(&line.iter().map(|s| &s[..]).collect::<Vec<_>>(), words);
    };
    said(
        &["--low-res", &bad],
        &["bad.png", "20 x 20", "28 x 28", "14 x 14"],
    );
    said(&[], &["--low-res", "14 x 14", "give it pictures"]);
    said(&["--low-res", "gone.png"], &["gone.png"]);
    said(&["--every-sampler", "3"], &["--low-res"]);
}

#[test]
fn what_is_given_is_checked() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("run");
    trained(&folder, &[]);
    let run = Run::open(&folder).unwrap();
    let model = run.model().as_any().downcast_ref::<Diffusion>().unwrap();
    assert_eq!(
        model.low_res(),
        Some(ImageShape {
            height: 14,
            width: 14,
            channels: 1
        })
    );
    let data = digits(5, 3);
    let means = model.means(&data.scaled()).unwrap();
    assert_eq!(means.len(), 5 * 196);
    let of = |picture: usize, y: usize, x: usize| data.scaled()[picture * 784 + y * 28 + x];
    let four = of(2, 12, 14) + of(2, 12, 15) + of(2, 13, 14) + of(2, 13, 15);
    assert!((means[2 * 196 + 6 * 14 + 7] - four / 4.0).abs() < 1e-6);

    let mut evaluator = Evaluator::of(&Device::Cpu, &run, 4, 0).unwrap();
    let mut draw = |start: &Start| {
        let watch = &mut |_: usize, _: &dyn wgen::session::Executable| Ok(());
        evaluator.samples_from(model, 2, None, start, watch)
    };
    let message = |result: wgen::Result<_>| {
        result
            .map(|_: wgen::evaluate::Samples| ())
            .unwrap_err()
            .to_string()
    };
    let said = message(draw(&Start::default()));
    assert!(
        said.contains("`low_res`") && said.contains("give it some"),
        "{said}"
    );
    let start = Start::default().beside(model, &means[..3 * 196]).unwrap();
    let said = message(draw(&start));
    assert!(
        said.contains(LOW_RES) && said.contains("588") && said.contains("392"),
        "{said}"
    );
    let said = Start::default()
        .beside(model, &means[1..])
        .unwrap_err()
        .to_string();
    assert!(said.contains("14 x 14"), "{said}");
    let said = Start::default()
        .beside(model, &[f32::NAN; 196])
        .unwrap_err()
        .to_string();
    assert!(said.contains("finite"), "{said}");
    // Of the data what a preview and a judgement take.
    let start = Start::of_examples(model, &data, 2).unwrap();
    assert_eq!(start.given, [(LOW_RES, means[..392].to_vec())]);
    assert_eq!(draw(&start).unwrap().images.len(), 2 * 784);
}

#[test]
fn a_training_goes_on_as_what_it_was_begun_as() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("run");
    trained(&folder, &[]);
    let at = folder.to_str().unwrap();
    let mut line = vec![
        "train",
        "diffusion",
        "--data",
        "digits:40",
        "--out",
        at,
        "--resume",
        "--steps",
        "2",
    ];
    refused(
        &line,
        &["trains adm, not diffusion", "wgen train adm --resume"],
    );
    line[1] = "adm";
    line.push("--no-previews");
    done(&line);
    assert!(fs::read_dir(folder.join("checkpoints")).unwrap().count() > 0);
    refused(
        &[&line[..], &["--low-res", "7"]].concat(),
        &["was begun otherwise", "low-res"],
    );
    let other = dir.path().join("other");
    let mut line = vec![
        "train",
        "adm",
        "--data",
        "digits:40",
        "--out",
        other.to_str().unwrap(),
    ];
    line.extend(["--steps", "1", "--low-res", "5"]);
    refused(&line, &["--low-res 5 x 5", "must divide", "28 x 28"]);
    assert!(!other.join("config.json").exists());
}
