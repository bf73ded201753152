//! A run led by another on the command line: what is refused, what is said, all samplers beside each other.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::tempdir;
use wgen::Run;
use wgen::data::digits::digits;
use wgen::files::{Config as RunConfig, Training};
use wgen::models::Model;
use wgen::models::diffusion::process::BetaSchedule;
use wgen::models::diffusion::{Config, Diffusion, Network, samplers, unet};
use wgen::models::noised_classifier::{self, NoisedClassifier};
use wgen::session::Device;
use wgen::train::Trainer;

/// Trains for a step into a folder.
fn trained(model: Arc<dyn Model>, folder: &Path) {
    let data = digits(16, 1);
    let training = Training {
        steps: Some(1),
        epochs: None,
        batch: 8,
        ..Training::default()
    };
    let config = RunConfig::new(model, data.shape, "digits", training);
    Trainer::new(&Device::Cpu, config, data, folder, false)
        .unwrap()
        .run(&AtomicBool::new(false), |_, _| Ok(()))
        .unwrap();
}

fn wgen(arguments: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(arguments)
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].concat();
    (
        out.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn the_command_guides_a_run_by_another() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let image = digits(1, 1).shape;
    let network = unet::Config {
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        ..unet::Config::of(image, &[4, 8], 1, &[])
    };
    let model = Config::of(image, true, Network::Unet(Box::new(network)));
    trained(
        Arc::new(Diffusion::new(model).unwrap()),
        Path::new(&path("model")),
    );
    let mut config = noised_classifier::Config::of(image, 10);
    config.network.channel_mult = vec![1.0, 1.0];
    trained(
        Arc::new(NoisedClassifier::new(config.clone()).unwrap()),
        Path::new(&path("classifier")),
    );
    config.process.beta_schedule = BetaSchedule::Cosine;
    trained(
        Arc::new(NoisedClassifier::new(config).unwrap()),
        Path::new(&path("cosine")),
    );

    // Both in one store: the classifier's weights behind the model's.
    let run = Run::open(path("model")).unwrap();
    let classifier = Run::open(path("classifier")).unwrap();
    let guided = run.clone().guided_by(&classifier, 1.0).unwrap();
    assert_eq!(
        guided.weights().len(),
        run.weights().len() + classifier.weights().len()
    );
    assert_eq!((run.classes(), guided.classes()), (0, 10));
    assert!(
        run.clone()
            .guided_by(&run, 1.0)
            .unwrap_err()
            .to_string()
            .contains("train classifier --noised")
    );

    let sample = |more: &[&str]| {
        let mut arguments = vec![
            "sample".to_owned(),
            path("model"),
            "--n".to_owned(),
            "2".to_owned(),
        ];
        arguments.extend(["--out".to_owned(), path("out.png")]);
        if !more.contains(&"--steps") {
            arguments.extend(["--steps".to_owned(), "2".to_owned()]);
        }
        arguments.extend(more.iter().map(|&a| a.to_owned()));
        wgen(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (code, said) = sample(&[
        "--classifier",
        &path("classifier"),
        "--classifier-scale",
        "3",
        "--class",
        "7",
    ]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 steps, 2 calls of the network"), "{said}");
    let calls = sample(&["--sampler", "heun", "--classifier", &path("classifier")]);
    assert!(
        calls.1.contains("2 steps, 3 calls of the network"),
        "{}",
        calls.1
    );
    for (more, words) in [
        (vec!["--classifier", &path("cosine")], "another process"),
        (
            vec!["--classifier", &path("model")],
            "train classifier --noised",
        ),
        (
            vec![
                "--classifier",
                &path("classifier"),
                "--classifier-scale",
                "nan",
            ],
            "--classifier-scale",
        ),
        (
            vec!["--classifier", &path("classifier"), "--class", "10"],
            "10 classes",
        ),
        (vec!["--classifier-scale", "2"], "--classifier"),
        (
            vec!["--spacing", "karras", "--steps", "1"],
            "1 step spaced by noise",
        ),
    ] {
        fs::remove_file(path("out.png")).ok();
        let (code, said) = sample(&more);
        assert_eq!(code, Some(2), "{more:?}: {said}");
        assert!(said.contains(words), "{more:?}: {said}");
        assert!(!Path::new(&path("out.png")).exists());
    }
    let (code, said) = wgen(&["sample", "--list-samplers"]);
    assert_eq!(code, Some(0), "{said}");
    for entry in samplers::ALL {
        assert!(
            said.contains(entry.name) && said.contains(entry.scheduler),
            "{said}"
        );
    }
    // All of them from one noise: a picture of a row for each.
    let every = [
        "sample",
        &path("model"),
        "--n",
        "1",
        "--every-sampler",
        "2,3",
        "--spacing",
        "karras",
        "--out",
        &path("all.png"),
        "--json",
    ];
    let (code, said) = wgen(&every);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("heun, 3 steps: 5 calls"), "{said}");
    let picture = image::open(path("all.png")).unwrap();
    assert!(
        picture.height() > 3 * picture.width(),
        "{} x {}",
        picture.width(),
        picture.height()
    );
    let (code, said) = wgen(&[
        "sample",
        &path("classifier"),
        "--n",
        "1",
        "--every-sampler",
        "2",
        "--out",
        &path("no.png"),
    ]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--every-sampler"), "{said}");
}
