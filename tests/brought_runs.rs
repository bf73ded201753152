//! What a run knows of its data, and what the commands make of it: how pictures are read, what is held out, what classes are called.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::calls::{done, refused, wgen, words};

fn answer(arguments: &[&str]) -> Value {
    let out = wgen(&[arguments, &["--json"]].concat());
    assert!(out.status.success(), "{arguments:?}: {}", words(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn picture(&self, name: &str, picture: &RgbImage) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.save(path).unwrap();
    }

    /// `counts` oblong pictures of each class, each of another colour.
    fn classes(&self, name: &str, counts: &[(&str, u8)]) -> String {
        for (class, count) in counts {
            for i in 0..*count {
                let picture =
                    RgbImage::from_fn(12, 8, |x, y| Rgb([3 * i, (20 * x) as u8, (30 * y) as u8]));
                self.picture(&format!("{name}/{class}/{i}.png"), &picture);
            }
        }
        format!("images:{}", self.text(name))
    }

    /// A small model of `data`; its folder.
    fn trained(&self, name: &str, data: &str, more: &[&str]) -> String {
        let out = self.text(name);
        let base = [
            "train", "vae", "--data", data, "--out", &out, "--hidden", "8", "--latent", "2",
            "--steps", "2", "--batch", "4",
        ];
        done(&[&base[..], more].concat());
        out
    }
}

fn config(run: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(Path::new(run).join("config.json")).unwrap()).unwrap()
}

#[test]
fn a_run_reads_data_as_it_was_trained() {
    let folder = Folder::new();
    let data = folder.classes("data", &[("cat", 6), ("dog", 4)]);
    let reading = ["--size", "4", "--grey", "--crop", "--background", "black"];
    let run = folder.trained("run", &data, &reading);
    let kept = &config(&run)["reading"];
    let images = json!({
        "size": 4, "grey": true, "crop": true, "background": "black", "skip_broken": false,
        "held_out": {"count": 0}, "held_out_seed": 0,
    });
    assert_eq!(kept["images"], images);
    assert_eq!(
        (&kept["classes"], &kept["examples"]),
        (&json!(["cat", "dog"]), &json!([6, 4]))
    );
    // Neither size nor grey is said again.
    for command in ["eval", "encode", "reconstruct", "interpolate"] {
        let file = folder.text(command);
        let out = ["--out", &file];
        let more: &[&str] = if command == "eval" { &[] } else { &out };
        let words = done(&[&[command, &run, "--data", &data], more].concat());
        assert!(
            words.contains("the 10 pictures that the run was trained on"),
            "{command}: {words}"
        );
        assert!(
            words.contains("read as 4 x 4 in grey") && words.contains("in the middle is taken"),
            "{words}"
        );
    }
    // Data that is larger becomes what the run has; flags that contradict it are refused, or said.
    refused(
        &["eval", &run, "--data", &data, "--size", "8"],
        &["--size 8", "4 x 4 in grey"],
    );
    let said = done(&["eval", &run, "--data", &data, "--background", "white"]);
    assert!(
        said.contains("--background: the run was trained over black"),
        "{said}"
    );
    let colour = folder.trained("colour", &data, &["--size", "4"]);
    refused(
        &["eval", &colour, "--data", &data, "--grey"],
        &["--grey", "in colour"],
    );
    refused(
        &["eval", &colour, "--data", "digits:20"],
        &["28 x 28 in grey", "4 x 4 in colour"],
    );
}

#[test]
fn figures_say_whose_pictures_they_are_of() {
    let folder = Folder::new();
    let data = folder.classes("data", &[("cat", 36), ("dog", 24)]);
    let run = folder.trained("run", &data, &["--size", "4"]);
    assert_eq!(
        config(&run)["reading"]["images"]["held_out"],
        json!({"share": 0.1})
    );
    assert_eq!(config(&run)["reading"]["examples"], json!([32, 22]));
    let held_out = answer(&["eval", &run, "--data", &data]);
    assert_eq!(held_out["images"], 6);
    assert_eq!(
        held_out["part"],
        json!({"used": {"held_out": {"seed": 0}}, "examples": 6, "of": 60, "held_out": true})
    );
    // Wherever the folder lies.
    fs::rename(folder.path("data"), folder.path("moved")).unwrap();
    let moved = format!("images:{}", folder.text("moved"));
    assert_eq!(
        answer(&["eval", &run, "--data", &moved])["elbo"],
        held_out["elbo"]
    );
    let codes = folder.text("codes");
    let trained = answer(&[
        "encode",
        &run,
        "--data",
        &moved,
        "--training-part",
        "--out",
        &codes,
    ]);
    assert_eq!(
        (&trained["examples"], &trained["part"]["held_out"]),
        (&json!(54), &json!(false))
    );
    // Another part than the run kept away is none.
    let other = answer(&["eval", &run, "--data", &moved, "--held-out", "0.5"]);
    assert_eq!(
        (&other["images"], &other["part"]["held_out"]),
        (&json!(30), &json!(false))
    );
    // Another folder is all of it, and said to be another.
    let more = folder.classes("more", &[("dog", 5)]);
    let said = done(&["eval", &run, "--data", &more]);
    assert!(
        said.contains("all 5 pictures of a folder that is not the run's"),
        "{said}"
    );
    // A run that held out nothing, and one of before.
    let whole = folder.trained("whole", &moved, &["--size", "4", "--held-out", "0"]);
    let said = done(&["eval", &whole, "--data", &moved]);
    assert!(
        said.contains("the 60 pictures that the run was trained on"),
        "{said}"
    );
    let path = folder.path("whole/config.json");
    let mut old = config(&whole);
    old.as_object_mut().unwrap().remove("reading");
    fs::write(&path, old.to_string()).unwrap();
    let before = answer(&["eval", &whole, "--data", &moved]);
    assert_eq!(
        (&before["images"], &before["part"]["held_out"]),
        (&json!(60), &json!(false))
    );
    // A part of its own.
    let parts = folder.path("parts");
    fs::create_dir(&parts).unwrap();
    fs::rename(folder.path("moved"), parts.join("train")).unwrap();
    fs::rename(folder.path("more"), parts.join("test")).unwrap();
    let parts = format!("images:{}", folder.text("parts"));
    let test = answer(&["eval", &run, "--data", &parts]);
    assert_eq!(
        (&test["images"], &test["part"]["held_out"]),
        (&json!(5), &json!(true))
    );
    // Unless it is the one that was trained on.
    let alone = format!("images:{}", folder.text("parts/test"));
    let run = folder.trained("alone", &alone, &["--size", "4"]);
    let test = answer(&["eval", &run, "--data", &parts]);
    assert_eq!(
        (&test["images"], &test["part"]["held_out"]),
        (&json!(5), &json!(false))
    );
}

#[test]
fn a_resumed_run_keeps_its_held_out_part() {
    let folder = Folder::new();
    let data = folder.classes("data", &[("a", 30), ("b", 30)]);
    let run = folder.trained("run", &data, &["--size", "4"]);
    let again = [
        "train", "vae", "--data", &data, "--out", &run, "--resume", "--steps", "3",
    ];
    let said = done(&again);
    assert!(
        said.contains("54 examples to train on of 60, 6 held out"),
        "{said}"
    );
    refused(
        &[&again[..], &["--held-out", "3"]].concat(),
        &["--resume", "0.1 of them held out"],
    );
    refused(
        &[&again[..], &["--crop"]].concat(),
        &["--resume", "not cropped"],
    );
}

#[test]
fn labels_of_other_data_are_the_runs_by_name() {
    let folder = Folder::new();
    let data = folder.classes("data", &[("cat", 6), ("dog", 6)]);
    let run = folder.trained("run", &data, &["--size", "4", "--conditional"]);
    let dogs = folder.classes("dogs", &[("dog", 3)]);
    let codes = folder.path("codes.safetensors");
    done(&[
        "encode",
        &run,
        "--data",
        &dogs,
        "--out",
        &codes.to_string_lossy(),
    ]);
    let bytes = fs::read(&codes).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let labels: Vec<f32> = bytemuck::pod_collect_to_vec(tensors.tensor("labels").unwrap().data());
    assert_eq!(labels, [1.0; 3]);
    let birds = folder.classes("birds", &[("bird", 3)]);
    refused(
        &["eval", &run, "--data", &birds],
        &["examples of the class bird", "cat, dog"],
    );
}

#[test]
fn classes_are_asked_for_by_name_or_number() {
    let folder = Folder::new();
    let data = folder.classes("data", &[("cat", 6), ("dog", 6)]);
    let run = folder.trained("run", &data, &["--size", "4", "--conditional"]);
    let sample = |class: &str| {
        let file = folder.text("sample.png");
        done(&["sample", &run, "--class", class, "--n", "4", "--out", &file]);
        fs::read(file).unwrap()
    };
    assert!(sample("dog") == sample("1"));
    assert!(sample("dog") != sample("cat"));
    let file = folder.text("x.png");
    refused(
        &["sample", &run, "--class", "bird", "--out", &file],
        &["--class 'bird'", "cat, dog"],
    );
    refused(
        &["sample", &run, "--class", "2", "--out", &file],
        &["--class 2", "2 classes"],
    );
    let plain = folder.trained("plain", &data, &["--size", "4"]);
    refused(
        &["sample", &plain, "--class", "dog", "--out", &file],
        &["not conditional"],
    );
}

/// IDX files with labels from 1 to 3.
fn from_1(folder: &Folder) -> String {
    let dir = folder.path("idx");
    fs::create_dir(&dir).unwrap();
    for (part, rows) in [("train", 12_u8), ("t10k", 6)] {
        let pixels: Vec<u8> = (0..u32::from(rows) * 16)
            .map(|i| (i * 7 % 251) as u8)
            .collect();
        let images = [
            &[0, 0, 8, 3, 0, 0, 0, rows, 0, 0, 0, 4, 0, 0, 0, 4][..],
            &pixels,
        ]
        .concat();
        let labels: Vec<u8> = [0, 0, 8, 1, 0, 0, 0, rows]
            .into_iter()
            .chain((0..rows).map(|i| 1 + i % 3))
            .collect();
        fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    format!("idx:{}", dir.display())
}

#[test]
fn a_class_without_examples_takes_no_turn() {
    let folder = Folder::new();
    let data = from_1(&folder);
    let said = done(&["data", &data]);
    assert!(
        said.contains("classes: 1 4, 2 4, 3 4; without examples: 0"),
        "{said}"
    );
    let run = folder.trained("run", &data, &["--conditional"]);
    let images = |n: &str, class: &[&str]| {
        let file = folder.path("samples.safetensors");
        let (file, picture) = (file.to_string_lossy(), folder.text("samples.png"));
        let base = [
            "sample",
            &run,
            "--n",
            n,
            "--out",
            &picture,
            "--save-tensor",
            &file,
        ];
        done(&[&base[..], class].concat());
        let bytes = fs::read(file.as_ref()).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        bytemuck::pod_collect_to_vec::<u8, f32>(tensors.tensor("images").unwrap().data())
    };
    // Sample i has the same noise whatever its class: the turns are 1, 2, 3, 1, ...
    let turns = images("4", &[]);
    for (i, class) in ["1", "2", "3", "1"].into_iter().enumerate() {
        let all = images("4", &["--class", class]);
        assert_eq!(
            turns[16 * i..16 * (i + 1)],
            all[16 * i..16 * (i + 1)],
            "sample {i}"
        );
    }
    let file = folder.text("x.png");
    refused(
        &["sample", &run, "--class", "0", "--out", &file],
        &["--class '0'", "no examples", "1, 2, 3"],
    );
}

#[test]
fn reconstructions_are_of_every_class() {
    let folder = Folder::new();
    for class in 0..3_u8 {
        for i in 0..20 {
            folder.picture(
                &format!("data/{class}/{i:02}.png"),
                &RgbImage::from_pixel(4, 4, Rgb([40 + 80 * class; 3])),
            );
        }
    }
    let data = format!("images:{}", folder.text("data"));
    let run = folder.trained("run", &data, &["--grey"]);
    let picture = folder.text("pairs.png");
    let said = answer(&[
        "reconstruct",
        &run,
        "--data",
        &data,
        "--n",
        "3",
        "--out",
        &picture,
    ]);
    assert_eq!(
        (&said["images"], &said["part"]["examples"]),
        (&json!(3), &json!(6))
    );
    let picture = image::open(picture).unwrap().into_luma8();
    let step = picture.width() / 3;
    let greys: Vec<u8> = (0..3)
        .map(|i| picture.get_pixel(i * step + step / 2, picture.height() / 4)[0])
        .collect();
    assert_eq!(greys, [40, 120, 200]);
}

#[test]
fn wgen_data_says_what_a_model_would_see() {
    let folder = Folder::new();
    for i in 0..4_u8 {
        folder.picture(
            &format!("data/{i}.png"),
            &RgbImage::from_pixel(8, 8, Rgb([255 * (i % 2), 51, 0])),
        );
    }
    let data = format!("images:{}", folder.text("data"));
    let grid = folder.text("grid.png");
    let said = answer(&["data", &data, "--out", &grid]);
    assert_eq!(
        (&said["report"]["examples"], &said["report"]["used"]),
        (&json!(4), &json!("all"))
    );
    assert_eq!(
        said["shape"],
        json!({"height": 8, "width": 8, "channels": 3})
    );
    let (mean, deviation) = (
        &said["channels"][0]["mean"],
        &said["channels"][1]["deviation"],
    );
    assert!((mean.as_f64().unwrap() - 0.5).abs() < 1e-6 && deviation.as_f64().unwrap() < 1e-3);
    assert!(image::open(grid).unwrap().width() >= 16);
    let parts = answer(&["data", "digits:100", "--part", "held-out"]);
    assert_eq!(parts["report"]["examples"], 10);
    refused(&["data", "images:nowhere"], &["nowhere"]);
    refused(&["data", "digits:9", "--grey"], &["--grey is for folders"]);
    // What cannot be written is said before the data is read, by the name that was given.
    let missing = folder.text("missing/grid.png");
    refused(&["data", "images:nowhere", "--out", &missing], &[&missing]);
    let among = folder.text("data/grid.png");
    refused(
        &["data", &data, "--out", &among],
        &["would be read as one of its"],
    );
    refused(&["data", &data, "--held-out", "1.5"], &["--held-out '1.5'"]);
}

#[test]
fn colour_does_not_get_the_network_of_digits_without_a_word() {
    let folder = Folder::new();
    let run = |name: &str, model: &str, data: &str, more: &[&str]| {
        let out = folder.text(name);
        let base = [
            "train", model, "--data", data, "--out", &out, "--steps", "1", "--batch", "2",
        ];
        let said = done(&[&base[..], more].concat());
        (config(&out)["model"].clone(), said)
    };
    for i in 0..2 {
        folder.picture(
            &format!("data/{i}.png"),
            &RgbImage::from_pixel(16, 16, Rgb([90, 20 * i, 200])),
        );
    }
    let data = format!("images:{}", folder.text("data"));
    let (model, said) = run("vae", "vae", &data, &[]);
    assert_eq!(
        (&model["channels"], &model["decoder"]),
        (&json!([32, 64]), &json!("gaussian"))
    );
    assert!(
        said.contains("--channels 32,64 --latent 64 --decoder gaussian"),
        "{said}"
    );
    // The variance begins at the data's: one channel of three has 10 / 255 to both sides of its mean.
    let variance = ((10.0_f64 / 255.0).powi(2) / 3.0).ln();
    let begins = model["decoder_log_variance"].as_f64().unwrap();
    assert!((begins - variance).abs() < 1e-5, "{begins}, {variance}");
    let (model, said) = run("ae", "ae", &data, &["--latent", "7"]);
    assert_eq!(
        (&model["channels"], &model["latent"]),
        (&json!([32, 64]), &json!(7))
    );
    assert!(said.contains("--channels 32,64"), "{said}");
    // What is asked for is given.
    let (model, _) = run(
        "dense",
        "vae",
        &data,
        &["--hidden", "8", "--decoder", "bernoulli"],
    );
    assert_eq!(
        (&model["hidden"], &model["decoder"], &model["latent"]),
        (&json!([8]), &json!("bernoulli"), &json!(20))
    );
    // What cannot be halved is dense, with a word.
    let (model, said) = run("odd", "vae", &data, &["--size", "9"]);
    assert_eq!(model["hidden"], json!([400]));
    assert!(
        said.contains("dense network, which is made for digits"),
        "{said}"
    );
    let (_, said) = run("sparse", "sparse-ae", &data, &[]);
    assert!(said.contains("dense network over all 768 values"), "{said}");
    // Digits are as before.
    let (model, said) = run("digits", "vae", "digits:10", &[]);
    assert_eq!(
        (&model["hidden"], &model["decoder"], &model["latent"]),
        (&json!([400]), &json!("bernoulli"), &json!(20))
    );
    assert!(!said.contains("for these pictures"), "{said}");
    assert_eq!(model.get("decoder_log_variance"), None);
}
