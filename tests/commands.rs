//! The commands end to end on a small model: files, JSON on stdout, words on stderr.

mod common;

use std::path::Path;
use std::process::{Command, Output};

fn wgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let out = wgen(&[arguments, &["--json"]].concat());
    assert!(
        out.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
}

#[test]
fn a_model_is_trained_sampled_evaluated_and_encoded() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let run = path("run");
    let summary = json(&[
        "train",
        "vae",
        "--data",
        "digits:600",
        "--epochs",
        "3",
        "--batch",
        "64",
        "--hidden",
        "64",
        "--latent",
        "2",
        "--validation",
        "50",
        "--preview-steps",
        "8",
        "--out",
        &run,
    ]);
    assert_eq!(summary["ended"], "done");
    for name in [
        "config.json",
        "model.safetensors",
        "metrics.jsonl",
        "curves.svg",
        "samples/training.gif",
        "checkpoints/latest",
    ] {
        assert!(Path::new(&run).join(name).is_file(), "{name}");
    }
    let figures = json(&[
        "eval",
        &run,
        "--data",
        "digits:300",
        "--importance-samples",
        "20",
    ]);
    assert_eq!(figures["images"], 30);
    let fewer = ["eval", &run, "--data", "digits:300", "--examples"];
    assert_eq!(json(&[&fewer[..], &["7"]].concat())["images"], 7);
    for none in ["0", "31"] {
        let out = wgen(&[&fewer[..], &[none]].concat());
        assert_eq!(out.status.code(), Some(2));
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(message.contains("the data has 30"), "{message}");
    }
    let value = |name: &str| figures[name].as_f64().unwrap();
    assert!((value("reconstruction") + value("kl") + value("elbo")).abs() < 1e-9);
    assert!(value("log_likelihood") > value("elbo"));

    for (arguments, size) in [
        (
            vec!["sample", &run, "--n", "9", "--out"],
            (3 * 58 + 2, 3 * 58 + 2),
        ),
        (
            vec!["sample", &run, "--n", "16", "--manifold", "--out"],
            (4 * 58 + 2, 4 * 58 + 2),
        ),
        (
            vec![
                "reconstruct",
                &run,
                "--data",
                "digits:100",
                "--n",
                "5",
                "--out",
            ],
            (5 * 58 + 2, 2 * 58 + 2),
        ),
        (
            vec![
                "interpolate",
                &run,
                "--data",
                "digits:100",
                "--n",
                "7",
                "--out",
            ],
            (7 * 58 + 2, 58 + 2),
        ),
    ] {
        let picture = path("picture.png");
        json(&[&arguments[..], &[&picture]].concat());
        let picture = image::open(&picture).unwrap();
        assert_eq!((picture.width(), picture.height()), size, "{arguments:?}");
        // Not one colour: something was drawn.
        let bytes = picture.into_rgb8().into_raw();
        assert!(bytes.iter().any(|b| *b != bytes[0]));
    }
    let codes = path("codes.safetensors");
    json(&["encode", &run, "--data", "digits:300", "--out", &codes]);
    let tensors = wgen::files::weights::read_tensors(Path::new(&codes)).unwrap();
    assert_eq!(tensors["mu"].0, [30, 2]);
    assert_eq!(tensors["labels"].0, [30]);
    // The same seed gives the same samples, another one others.
    let draw = |seed: &str| {
        let picture = path("seeded.png");
        json(&[
            "sample", &run, "--n", "4", "--seed", seed, "--out", &picture,
        ]);
        std::fs::read(picture).unwrap()
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn info_names_the_adapter_and_shaders_are_written() {
    common::gpu();
    let info = json(&["info"]);
    assert!(!info["adapters"].as_array().unwrap().is_empty());
    assert!(info["used"]["name"].is_string());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("shaders");
    let list = json(&[
        "shaders",
        "--out",
        &out.to_string_lossy(),
        "--target",
        "msl",
    ]);
    let files = list["files"].as_array().unwrap();
    assert!(files.len() >= 60, "{} files", files.len());
    assert!(out.join("reparameterize-000.metal").is_file());
    let text = std::fs::read_to_string(out.join("reparameterize-000.wgsl")).unwrap();
    assert!(
        text.contains("// binding 0: mu") && !text.contains("//#") && !text.contains("${"),
        "{text}"
    );
}

#[test]
fn toys_have_a_gaussian_decoder_and_train() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run").to_string_lossy().into_owned();
    json(&[
        "train",
        "vae",
        "--data",
        "toy:ring8:2000",
        "--steps",
        "60",
        "--batch",
        "100",
        "--hidden",
        "32,32",
        "--latent",
        "2",
        "--lr",
        "3e-3",
        "--out",
        &run,
    ]);
    let records = wgen::files::metrics::read(&Path::new(&run).join("metrics.jsonl")).unwrap();
    let loss = |i: usize| records[i].values["loss"].as_f64().unwrap();
    assert!(
        loss(records.len() - 1) < loss(0),
        "{} {}",
        loss(0),
        loss(records.len() - 1)
    );
    let tensors =
        wgen::files::weights::read_tensors(&Path::new(&run).join("model.safetensors")).unwrap();
    assert!(
        tensors.contains_key("decoder_log_variance") && tensors.contains_key("encoder.1.weight")
    );
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_says_so_by_its_status() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run").to_string_lossy().into_owned();
    let arguments = [
        "train",
        "vae",
        "--data",
        "digits:500",
        "--steps",
        "1000000",
        "--batch",
        "50",
        "--hidden",
        "16",
        "--out",
        &run,
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(arguments)
        .args(["--device", "cpu", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Its first checkpoint shows that it trains.
    let latest = Path::new(&run).join("checkpoints/latest");
    for _ in 0..600 {
        if latest.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["ended"], "interrupted");
    let latest = std::fs::read_to_string(Path::new(&run).join("checkpoints/latest")).unwrap();
    assert_eq!(summary["steps"].to_string(), latest);
}

#[test]
fn bench_measures_writes_compares_and_takes_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (report, page) = (path("bench.json"), path("bench.html"));
    let out = wgen(&[
        "bench",
        "--filter",
        "matmul nt 512",
        "--rounds",
        "2",
        "--html",
        &page,
        "--json",
        &report,
    ]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        text.contains("ceilings:") && text.contains("matmul nt 512x512x512"),
        "{text}"
    );

    let read: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let line = &read["lines"][0];
    assert!(
        line["right"] == true && line["best"].as_f64().unwrap() <= line["median"].as_f64().unwrap()
    );
    let share = line["share"].as_f64().unwrap();
    assert!(share > 0.0 && share <= 1.05, "{share}");
    assert!(
        read["adapter"]["driver"].is_string()
            && read["ceilings"]["candidates"].as_array().unwrap().len() > 6
    );
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(
        html.contains("<svg") && html.contains("matmul nt 512x512x512"),
        "a plot and a table"
    );
    assert!(
        !html.contains("http-equiv") && !html.contains("src=\"http"),
        "nothing from elsewhere"
    );

    let same = json(&["bench", "--compare", &report, &report]);
    assert_eq!(same[0]["ratio"], 1.0);
    let profile = json(&[
        "bench",
        "--profile",
        "vae",
        "--rounds",
        "1",
        "--replay",
        "3",
    ]);
    assert_eq!(profile["rows"].as_array().unwrap().len(), 25);
    assert_eq!(profile["replayed"], 3);

    for (arguments, word) in [
        (vec!["bench", "--filter", "no such line"], "matches no line"),
        (vec!["bench", "--profile", "no such model"], "there is vae"),
        (vec!["bench", "--rounds", "0"], "at least 1"),
        (vec!["bench", "--compare", &page, &report], "no report"),
        (vec!["bench", "--device", "cpu"], "has none"),
        (vec!["bench", &report], "--json"),
    ] {
        let out = wgen(&arguments);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    assert!(wgen(&["info", "--tuning"]).status.success());
}

#[test]
fn what_a_model_makes_is_judged_beside_anchors() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let judge = path("judge");
    let train = |model: &str, out: &str, more: &[&str]| {
        let arguments = ["train", model, "--data", "digits:2000", "--out", out];
        json(&[&arguments, more].concat())
    };
    train("classifier", &judge, &["--epochs", "2", "--batch", "64"]);
    let judged = |run: &str| {
        let arguments = ["eval", run, "--data", "digits:2000", "--judge", &judge];
        json(&[&arguments[..], &["--samples", "200"]].concat())["judgement"].clone()
    };
    // Reconstructions of an autoencoder that hardly learned are worse than real images, and seldom of their class.
    let hardly = path("ae");
    train(
        "ae",
        &hardly,
        &["--hidden", "32", "--latent", "4", "--steps", "2"],
    );
    let worse = judged(&hardly);
    assert_eq!(worse["what"], "reconstructions");
    let distance = |j: &serde_json::Value| j["frechet_distance"].as_f64().unwrap();
    let anchors = &worse["anchors"];
    assert!(distance(&worse["comparison"]) > distance(&anchors["real"]));
    assert!(distance(&anchors["noise 0.2"]) > distance(&anchors["noise 0.1"]));
    let accuracy = worse["judge_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.8, "the judge is right on {accuracy}");
    let agreement = |j: &serde_json::Value| j["class_agreement"].as_f64();
    assert!(agreement(&worse).unwrap() < 0.6);
    // Of one that learned they are of their class.
    let learned = path("learned");
    let more = ["--hidden", "128", "--latent", "32", "--lr", "3e-3"];
    train("ae", &learned, &[&more[..], &["--steps", "400"]].concat());
    let better = judged(&learned);
    assert!(agreement(&better).unwrap() > 0.8, "{better}");
    // Samples have a class that they were made for where the model is conditional, and only there.
    for (name, conditional) in [("conditional", true), ("plain", false)] {
        let run = path(name);
        let more = ["--channels", "4", "--steps", "2", "--conditional"];
        train("gan", &run, &more[..if conditional { 5 } else { 4 }]);
        let samples = judged(&run);
        assert_eq!(samples["what"], "samples");
        let agreement = agreement(&samples);
        assert_eq!(agreement.is_some(), conditional);
        // Noise is of any class: no better than chance.
        assert!(agreement.is_none_or(|a| a < 0.4), "{agreement:?}");
        let shares = samples["class_shares"].as_array().unwrap();
        let sum: f64 = shares.iter().map(|s| s.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }
}
