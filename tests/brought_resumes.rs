//! Going on with a run: refused where it could not be what the run would have been, with what differs; and at its own speed.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use common::calls::{wgen, words};

/// A run of 6 steps on 60 digits, and how it was asked for.
struct Begun {
    dir: TempDir,
}

const OPTIONS: [&str; 10] = [
    "--hidden", "16", "--latent", "2", "--batch", "20", "--lr", "0.002", "--seed", "5",
];

impl Begun {
    fn new() -> Self {
        let begun = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let out = begun.train(
            "vae",
            "digits:60",
            &[&OPTIONS[..], &["--steps", "6"]].concat(),
        );
        assert!(out.status.success(), "{}", words(&out));
        begun
    }

    fn run(&self) -> String {
        self.dir.path().join("run").to_string_lossy().into_owned()
    }

    fn train(&self, model: &str, data: &str, more: &[&str]) -> Output {
        let run = self.run();
        let base = ["train", model, "--data", data, "--out", &run];
        wgen(&[&base[..], more].concat())
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(Path::new(&self.run()).join(name)).ok()
    }

    /// Refuses to go on, says `named`, and leaves the run as it is.
    fn refused(&self, model: &str, data: &str, more: &[&str], named: &[&str]) {
        let kept = [
            "config.json",
            "model.safetensors",
            "metrics.jsonl",
            "checkpoints/latest",
        ];
        let before = kept.map(|name| self.bytes(name));
        let out = self.train(model, data, &[more, &["--resume"]].concat());
        assert_eq!(out.status.code(), Some(2), "{more:?}: {}", words(&out));
        for name in named {
            assert!(
                words(&out).contains(name),
                "{more:?} without '{name}': {}",
                words(&out)
            );
        }
        assert!(
            before == kept.map(|name| self.bytes(name)),
            "{more:?} changed the run"
        );
    }
}

#[test]
fn a_run_goes_on_only_as_what_it_is() {
    let begun = Begun::new();
    // Another model, of the same kind or another; other data, though of the same sizes.
    begun.refused(
        "gan",
        "digits:60",
        &["--steps", "9"],
        &["trains vae, not gan"],
    );
    begun.refused(
        "ae",
        "digits:60",
        &["--steps", "9"],
        &["trains vae, not ae"],
    );
    begun.refused(
        "vae",
        "digits:61",
        &["--steps", "9"],
        &["--data digits", "other examples"],
    );
    // Options that would make it another run, each by name; also one that is usual, where the run's is not.
    begun.refused(
        "vae",
        "digits:60",
        &["--steps", "9", "--lr", "0.5"],
        &["--lr 0.5 (the run has 0.002)"],
    );
    begun.refused(
        "vae",
        "digits:60",
        &["--lr", "0.001"],
        &["--lr 0.001 (the run has 0.002)"],
    );
    begun.refused(
        "vae",
        "digits:60",
        &["--hidden", "8,8", "--batch", "30", "--optimizer", "sgd"],
        &[
            "--hidden [8,8] (the run has [16])",
            "--batch 30 (the run has 20)",
            "--optimizer",
        ],
    );
    begun.refused(
        "vae",
        "digits:60",
        &["--ema", "0.9"],
        &["--ema 0.9 (the run has none)"],
    );
    // An end that it has passed.
    begun.refused(
        "vae",
        "digits:60",
        &["--steps", "3"],
        &["--steps 3 are fewer than the 6"],
    );
    // With all that it was begun with, and with nothing but its end.
    for (steps, options) in [("9", &OPTIONS[..]), ("12", &[])] {
        let out = begun.train(
            "vae",
            "digits:60",
            &[options, &["--steps", steps, "--resume"]].concat(),
        );
        assert!(out.status.success(), "{}", words(&out));
    }
    // The end that it was given is its own from now on.
    let out = begun.train("vae", "digits:60", &["--resume", "--checkpoint-steps", "2"]);
    assert!(words(&out).contains("12 of 12 steps"), "{}", words(&out));
}

#[test]
fn a_run_whose_checkpoints_are_gone_does_not_begin_at_0() {
    let begun = Begun::new();
    let checkpoints = Path::new(&begun.run()).join("checkpoints");
    // The newest is gone, the pointer not.
    let kept = begun.dir.path().join("kept");
    fs::rename(checkpoints.join("6"), &kept).unwrap();
    begun.refused(
        "vae",
        "digits:60",
        &["--steps", "9"],
        &["names step 6", "no other checkpoint"],
    );
    fs::rename(&kept, checkpoints.join("6")).unwrap();
    fs::remove_dir_all(&checkpoints).unwrap();
    begun.refused(
        "vae",
        "digits:60",
        &["--steps", "9"],
        &["checkpoint of step 6"],
    );
    // Nor where the weights are gone too, or the run is one of before, whose lock says nothing.
    fs::rename(Path::new(&begun.run()).join("model.safetensors"), &kept).unwrap();
    begun.refused(
        "vae",
        "digits:60",
        &["--steps", "9"],
        &["checkpoint of step 6"],
    );
    fs::rename(&kept, Path::new(&begun.run()).join("model.safetensors")).unwrap();
    fs::write(Path::new(&begun.run()).join(".lock"), "").unwrap();
    begun.refused(
        "vae",
        "digits:60",
        &["--steps", "9"],
        &["the run has weights"],
    );
}

#[test]
fn what_is_written_may_change_on_the_way_and_can_be_left_out() {
    let begun = Begun::new();
    let run = begun.run();
    let exists = |name: &str| Path::new(&run).join(name).exists();
    let more = [
        "--resume",
        "--steps",
        "12",
        "--preview-steps",
        "3",
        "--checkpoint-steps",
        "4",
    ];
    let out = begun.train("vae", "digits:60", &more);
    assert!(out.status.success(), "{}", words(&out));
    for name in [
        "samples/00000009.png",
        "samples/00000012.png",
        "checkpoints/8",
        "checkpoints/12",
    ] {
        assert!(exists(name), "{name}");
    }
    let more = [
        "--resume",
        "--steps",
        "15",
        "--no-previews",
        "--write-share",
        "0",
        "--checkpoint-steps",
        "0",
    ];
    let out = begun.train("vae", "digits:60", &more);
    assert!(out.status.success(), "{}", words(&out));
    assert!(!exists("samples/00000015.png") && exists("checkpoints/15"));
    let out = begun.train("vae", "digits:60", &["--resume", "--write-share", "1.5"]);
    assert!(
        words(&out).contains("--write-share 1.5 must be from 0 to 1"),
        "{}",
        words(&out)
    );
}

#[test]
fn few_examples_in_many_epochs_are_trained_and_not_written_about() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run").to_string_lossy().into_owned();
    let base = [
        "train",
        "vae",
        "--data",
        "digits:40",
        "--epochs",
        "60",
        "--batch",
        "20",
        "--hidden",
        "8",
    ];
    let out = wgen(&[&base[..], &["--latent", "2", "--out", &run, "--json"]].concat());
    let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(summary["steps"], 120);
    // Over in a second: the last checkpoint and the last preview are all that is due.
    let count = |folder: &str| {
        let names = fs::read_dir(Path::new(&run).join(folder))
            .unwrap()
            .flatten();
        names.filter(|n| n.file_name() != "latest").count()
    };
    assert_eq!((count("checkpoints"), count("samples")), (1, 1));
    let spent = |name: &str| summary["spent"][name].as_f64().unwrap();
    assert_eq!(spent("checkpoints"), 0.0);
    let all: f64 = [
        "start",
        "steps",
        "checkpoints",
        "evaluation",
        "events",
        "end",
    ]
    .map(spent)
    .iter()
    .sum();
    assert!((all - summary["seconds"].as_f64().unwrap()).abs() < 1e-6);
}

#[test]
fn a_new_run_writes_over_nothing_that_a_training_left_or_others_saved() {
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let train = |out: &str, more: &[&str]| {
        let base = [
            "train",
            "vae",
            "--data",
            "digits:40",
            "--steps",
            "2",
            "--batch",
            "20",
            "--hidden",
            "8",
            "--latent",
            "2",
        ];
        wgen(&[&base[..], &["--out", out], more].concat())
    };
    for (name, file, text, word) in [
        ("weights", "model.safetensors", "mine", "model.safetensors"),
        (
            "variant",
            "model.fp16.safetensors",
            "mine",
            "model.safetensors",
        ),
        ("figures", "metrics.jsonl", "{}", "metrics.jsonl"),
        ("curves", "curves.svg", "<svg/>", "curves.svg"),
        (
            "part",
            "generator.safetensors",
            "mine",
            "generator.safetensors",
        ),
        ("checkpoint", "checkpoints/latest", "5", "checkpoints"),
        ("pipeline", "model_index.json", "{}", "diffusers saved"),
        ("network", "unet/config.json", "{}", "diffusers saved"),
        (
            "alone",
            "config.json",
            r#"{"_class_name": "UNet2DModel"}"#,
            "diffusers saved",
        ),
    ] {
        let out = folder(name);
        let path = Path::new(&out).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let refused = train(&out, &[]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(
            words(&refused).contains(word),
            "{name}: {}",
            words(&refused)
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
        // Nor is it a run to go on with.
        let refused = train(&out, &["--resume"]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
    }
    // What is neither stays beside the run, a folder that looks unfinished in its checkpoints too.
    let out = folder("notes");
    fs::create_dir_all(&out).unwrap();
    fs::write(Path::new(&out).join("notes.txt"), "mine").unwrap();
    assert!(train(&out, &[]).status.success());
    let mine = Path::new(&out).join("checkpoints/mine.tmp");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("a"), "mine").unwrap();
    fs::create_dir(Path::new(&out).join("checkpoints/.3.tmp")).unwrap();
    let base = [
        "train",
        "vae",
        "--data",
        "digits:40",
        "--steps",
        "4",
        "--resume",
        "--out",
        &out,
    ];
    let on = wgen(&base);
    assert!(on.status.success(), "{}", words(&on));
    assert!(mine.join("a").exists() && !Path::new(&out).join("checkpoints/.3.tmp").exists());
    assert_eq!(
        fs::read_to_string(Path::new(&out).join("notes.txt")).unwrap(),
        "mine"
    );
}

#[test]
fn another_optimiser_is_one_difference_and_numbers_are_as_they_were_given() {
    let begun = Begun::new();
    let said =
        |more: &[&str]| words(&begun.train("vae", "digits:60", &[more, &["--resume"]].concat()));
    let message = said(&["--optimizer", "sgd"]);
    assert_eq!(message.matches("the run has").count(), 1, "{message}");
    assert!(
        message.contains("--optimizer sgd (the run has adam)"),
        "{message}"
    );
    assert!(said(&["--weight-decay", "0.1"]).contains("--weight-decay 0.1 (the run has 0"));
    assert!(!said(&["--precision", "f16"]).contains("checkpoint"));
}

#[test]
fn a_damaged_checkpoint_names_the_one_before() {
    let begun = Begun::new();
    let more = ["--steps", "8", "--checkpoint-steps", "1", "--resume"];
    assert!(begun.train("vae", "digits:60", &more).status.success());
    let newest = Path::new(&begun.run()).join("checkpoints/8");
    fs::write(newest.join("model.safetensors"), "short").unwrap();
    begun.refused(
        "vae",
        "digits:60",
        &["--steps", "9"],
        &["checkpoints/8/model.safetensors", "there is 7"],
    );
    fs::remove_file(newest.join("progress.json")).unwrap();
    begun.refused(
        "vae",
        "digits:60",
        &["--steps", "9"],
        &["progress.json", "there is 7"],
    );
    fs::write(Path::new(&begun.run()).join("checkpoints/latest"), "7").unwrap();
    assert!(
        begun
            .train("vae", "digits:60", &["--steps", "9", "--resume"])
            .status
            .success()
    );
}
