//! Bad input to classifiers of noised examples: an error that names what is wrong, and nothing written or lost.

mod common;

use std::fs;
use std::path::Path;

use common::calls::{refused, wgen, words};
use tempfile::tempdir;
use wgen::files::weights::{Tensors, read_tensors, write_tensors};
use wgen::models::diffusion::{adm, process};
use wgen::models::noised_classifier::{Config, NoisedClassifier, Pool};
use wgen::models::registry::Examples;
use wgen::models::{self, DataType, Model};
use wgen::tensor::ImageShape;

fn message<T>(result: wgen::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

/// What is said of a configuration that was changed.
fn said(change: impl Fn(&mut Config)) -> String {
    let mut config = Config::mnist();
    change(&mut config);
    message(NoisedClassifier::new(config))
}

/// A change of the network, and what is said of it.
type Refused<'a> = (&'a dyn Fn(&mut adm::Config), &'a [&'a str]);

#[test]
fn networks_that_cannot_be_are_refused() {
    let network = |change: &dyn Fn(&mut adm::Config)| said(|c| change(&mut c.network));
    let cases: [Refused<'_>; 18] = [
        (&|n| n.model_channels = 0, &["`model_channels` 0"]),
        (&|n| n.model_channels = 33, &["`model_channels` 33", "even"]),
        (&|n| n.model_channels = usize::MAX, &["`model_channels`"]),
        (&|n| n.num_res_blocks = 0, &["`num_res_blocks` 0"]),
        (
            &|n| n.channel_mult.clear(),
            &["`channel_mult` has 0 levels"],
        ),
        (
            &|n| n.channel_mult = vec![1.0; 9],
            &["`channel_mult` has 9 levels"],
        ),
        (
            &|n| n.channel_mult[1] = 0.3,
            &["`channel_mult` 0.3", "whole number"],
        ),
        (&|n| n.channel_mult[1] = -1.0, &["`channel_mult` -1"]),
        (&|n| n.channel_mult[1] = f64::NAN, &["`channel_mult` NaN"]),
        (
            &|n| n.channel_mult.push(2.0),
            &["28 x 28 grey", "not divided by 8", "`channel_mult`"],
        ),
        (
            &|n| n.groups = 24,
            &["`groups` 24", "32 channels of a level"],
        ),
        (&|n| n.groups = 0, &["`groups` 0"]),
        (&|n| n.dropout = 1.0, &["`dropout` 1"]),
        (
            &|n| n.attention_resolutions = vec![3],
            &["`attention_resolutions` 3"],
        ),
        (
            &|n| n.attention_resolutions = vec![8],
            &["`attention_resolutions` 8", "4 times smaller"],
        ),
        (
            &|n| n.num_head_channels = Some(48),
            &["`num_head_channels` 48", "64 channels"],
        ),
        (
            &|n| n.num_head_channels = Some(0),
            &["`num_head_channels` 0"],
        ),
        (
            &|n| {
                n.model_channels = 1024;
                n.num_head_channels = Some(1024);
            },
            &["`num_head_channels` 1024", "more than the 512"],
        ),
    ];
    for (change, words) in cases {
        let text = network(change);
        for word in words {
            assert!(text.contains(word), "no '{word}' in: {text}");
        }
    }
    // A head counts where there is attention alone: 32 channels are no multiple of 64, and have none.
    let mut config = Config::mnist();
    config.network.num_head_channels = Some(64);
    assert!(NoisedClassifier::new(config.clone()).is_ok());
    config.network.attention_resolutions = vec![1];
    let text = message(NoisedClassifier::new(config));
    assert!(text.contains("32 channels of a level"), "{text}");
}

#[test]
fn what_else_cannot_be_is_refused() {
    let by_number = |heads: usize, pool: Pool| {
        said(move |c| {
            c.network.num_head_channels = None;
            c.network.num_heads = heads;
            c.pool = pool;
        })
    };
    let text = by_number(2, Pool::Attention);
    assert!(
        text.contains("`pool` attention goes by `num_head_channels`"),
        "{text}"
    );
    for (heads, word) in [(3, "`num_heads` 3 does not divide"), (0, "`num_heads` 0")] {
        let text = by_number(heads, Pool::Adaptive);
        assert!(text.contains(word), "{text}");
    }
    let text = said(|c| {
        c.pool = Pool::SpatialV2;
        c.network.model_channels = 30;
        c.network.groups = 3;
        c.network.num_head_channels = Some(20);
    });
    assert!(
        text.contains("`groups` 3") && text.contains("2048"),
        "{text}"
    );
    for classes in [0, 1, usize::MAX] {
        let text = said(|c| c.classes = classes);
        assert!(text.contains(&format!("`classes` {classes}")), "{text}");
    }
    let text = said(|c| c.process.timesteps = 0);
    assert!(text.contains("timesteps 0"), "{text}");
    for (change, word) in [
        (
            ImageShape {
                height: 0,
                width: 28,
                channels: 1,
            },
            "0 x 28",
        ),
        (
            ImageShape {
                height: 28,
                width: 1 << 20,
                channels: 1,
            },
            "too large",
        ),
        (
            ImageShape {
                height: 28,
                width: 28,
                channels: 0,
            },
            "0 channels",
        ),
    ] {
        let text = said(|c| c.image = change);
        assert!(text.contains(word), "{text}");
    }
    // Of a configuration that somebody wrote.
    let json = models::to_json(&NoisedClassifier::new(Config::mnist()).unwrap());
    for (field, value, word) in [
        ("pool", serde_json::json!("max"), "max"),
        ("pools", serde_json::json!(1), "pools"),
        (
            "network",
            serde_json::json!({"model_channels": 4}),
            "channel_mult",
        ),
        ("process", serde_json::json!(null), "process"),
    ] {
        let mut json = json.clone();
        json[field] = value;
        let text = message(models::from_json(&json));
        assert!(text.contains(word) || text.contains("malformed"), "{text}");
    }
    assert!(models::from_json(&json).is_ok());
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let model = NoisedClassifier::new(Config {
        process: process::Config {
            timesteps: 10,
            ..process::Config::default()
        },
        ..Config::mnist()
    })
    .unwrap();
    let usual = Examples::data_type(&model, 20);
    assert!(model.evaluation(&usual, 4).is_ok());
    for (data, words) in [
        (DataType { width: 81, ..usual }, ["784 values", "has 81"]),
        (
            DataType {
                classes: 7,
                ..usual
            },
            ["10 classes", "has 7 classes"],
        ),
        (
            DataType {
                classes: 0,
                ..usual
            },
            ["10 classes", "no labels"],
        ),
    ] {
        for text in [
            message(model.evaluation(&data, 4)),
            message(model.at_timestep(&data, 4)),
        ] {
            for word in words.iter().chain(&["noised-classifier"]) {
                assert!(text.contains(word), "no '{word}' in: {text}");
            }
        }
    }
}

/// What a command says for machines, of one that must succeed.
fn answer(arguments: &[&str]) -> serde_json::Value {
    let out = wgen(&[arguments, &["--json"]].concat());
    assert!(out.status.success(), "{arguments:?}: {}", words(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}

const SMALL: [&str; 12] = [
    "--noised",
    "--model-channels",
    "4",
    "--channel-mult",
    "1,1,2",
    "--groups",
    "2",
    "--num-head-channels",
    "4",
    "--beta-schedule",
    "cosine",
    "--no-previews",
];

/// `wgen train classifier` on drawn digits.
fn training<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let data = ["train", "classifier", "--data", "digits:40", "--batch", "8"];
    [&data, &["--out", out][..], more].concat()
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("run").to_string_lossy().into_owned();
    for (more, words) in [
        (&["--pool", "spatial"][..], "--noised"),
        (&["--timesteps", "10"], "--noised"),
        (&["--beta-schedule", "cosine"], "--noised"),
        (&["--noised", "--features", "4"], "--features"),
        (&["--noised", "--pool", "max"], "spatial_v2"),
        (
            &["--noised", "--num-heads", "2", "--num-head-channels", "4"],
            "--num-heads",
        ),
        (
            &["--noised", "--num-heads", "2"],
            "--pool attention goes by --num-head-channels",
        ),
        (&["--noised", "--no-conv-resample"], "--no-resblock-updown"),
        (
            &["--noised", "--channel-mult", "1,2,2,2"],
            "not divided by 8",
        ),
        (&["--noised", "--groups", "5"], "--groups 5"),
        (&["--noised", "--timesteps", "0"], "timesteps 0"),
    ] {
        refused(
            &training(&out, &[&["--steps", "1"], more].concat()),
            &[words],
        );
    }
    assert!(!Path::new(&out).exists());
    let toys = [
        "train",
        "classifier",
        "--noised",
        "--data",
        "toy:moons",
        "--steps",
        "1",
        "--out",
        &out,
    ];
    refused(&toys, &["1 x 2 grey are not divided by 4"]);
    assert!(!Path::new(&out).exists());
}

/// A run from its beginning to a damaged end: it is evaluated, goes on, and says what is wrong with it.
#[test]
fn a_run_goes_on_is_evaluated_and_is_refused_where_it_is_damaged() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (out, whole) = (path("run"), path("whole"));
    let small = |more: &[&'static str]| [&SMALL[..], more].concat();
    let steps = ["--checkpoint-steps", "2", "--steps"];
    let summary = answer(&training(&out, &small(&[&steps[..], &["2"]].concat())));
    assert_eq!(summary["ended"], "done");

    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(Path::new(&out).join("config.json")).unwrap()).unwrap();
    assert_eq!(config["model"]["name"], "noised-classifier");
    assert_eq!(
        config["model"]["process"]["beta_schedule"],
        "squaredcos_cap_v2"
    );

    // Under another name, or otherwise, it does not go on.
    let resume = |more: &[&'static str]| [more, &["--resume", "--steps", "4"]].concat();
    refused(
        &training(&out, &resume(&[])),
        &[
            "noised-classifier, not classifier",
            "wgen train classifier --noised --resume",
        ],
    );
    refused(
        &training(&out, &resume(&["--noised", "--pool", "adaptive"])),
        &["--pool adaptive (the run has attention)"],
    );
    refused(
        &training(&out, &resume(&["--noised", "--schedule", "linear"])),
        &["--schedule linear (the run has squaredcos_cap_v2)"],
    );
    answer(&training(&out, &resume(&["--noised", "--no-previews"])));
    answer(&training(&whole, &small(&[&steps[..], &["4"]].concat())));
    let weights = |run: &str| Path::new(run).join("model.safetensors");
    let bytes = |run: &str| fs::read(weights(run)).unwrap();
    assert!(
        bytes(&out) == bytes(&whole),
        "it went on as if it had not ended"
    );

    let eval = ["eval", &out, "--data", "digits:40", "--batch", "3"];
    let figures = answer(&eval);
    assert_eq!(figures, answer(&eval));
    let by_timestep = figures["by_timestep"].as_array().unwrap();
    let times: Vec<u64> = by_timestep
        .iter()
        .map(|f| f["timestep"].as_u64().unwrap())
        .collect();
    assert_eq!(times, (0..10).map(|i| 100 * i).collect::<Vec<_>>());
    for f in by_timestep {
        assert!((0.0..=1.0).contains(&f["accuracy"].as_f64().unwrap()));
        assert!(
            (1.0..5.0).contains(&f["cross_entropy"].as_f64().unwrap()),
            "{f}"
        );
    }
    let codes = path("codes.safetensors");
    answer(&["encode", &out, "--data", "digits:40", "--out", &codes]);
    assert_eq!(read_tensors(Path::new(&codes)).unwrap()["logits"].0[1], 10);
    // It is no judge, and draws nothing.
    refused(
        &["sample", &out, "--n", "1", "--out", &path("x.png")],
        &["noised-classifier"],
    );
    refused(&[&eval[..], &["--judge", &out]].concat(), &["classifier"]);
    refused(&["eval", &out, "--data", "toy:moons"], &["28 x 28"]);

    let good = read_tensors(&weights(&out)).unwrap();
    let with = |change: &dyn Fn(&mut Tensors), words: &[&str]| {
        let mut tensors = good.clone();
        change(&mut tensors);
        write_tensors(&weights(&out), &tensors).unwrap();
        refused(&eval, words);
    };
    let qkv = "middle_block.1.qkv.weight";
    with(&|t| drop(t.remove(qkv)), &["lacks tensor", qkv]);
    // Without the axis of one element, as linear layers have it.
    with(
        &|t| {
            let shape = &mut t.get_mut(qkv).unwrap().0;
            assert_eq!(shape.pop(), Some(1));
        },
        &[qkv, "[24, 8]", "[24, 8, 1]"],
    );
    with(
        &|t| {
            if let Some((_, values)) = t.get_mut("out.2.c_proj.bias") {
                values[3] = f32::NAN;
            }
        },
        &["out.2.c_proj.bias", "NaN at 3"],
    );
    let cut = bytes(&whole);
    fs::write(weights(&out), &cut[..cut.len() - 7]).unwrap();
    refused(&eval, &["model.safetensors"]);
    let checkpoint = Path::new(&out).join("checkpoints/4/model.safetensors");
    let checkpoint = if checkpoint.exists() {
        checkpoint
    } else {
        let named = fs::read_to_string(Path::new(&out).join("checkpoints/latest")).unwrap();
        Path::new(&out)
            .join("checkpoints")
            .join(named.trim())
            .join("model.safetensors")
    };
    fs::write(&checkpoint, &cut[..cut.len() / 2]).unwrap();
    refused(
        &training(&out, &["--noised", "--resume", "--steps", "6"]),
        &["model.safetensors"],
    );
}
