//! A run led by another on the command line: what is refused, what is said, all samplers beside each other.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::calls::{done, refused};
use tempfile::{TempDir, tempdir};
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

/// Runs in a folder: a model without classes, a classifier of its process, and one of another.
struct Runs(TempDir);

impl Runs {
    fn new() -> Self {
        let runs = Self(tempdir().unwrap());
        let image = digits(1, 1).shape;
        let network = unet::Config {
            norm_num_groups: 2,
            attention_head_dim: Some(4),
            ..unet::Config::of(image, &[4, 8], 1, &[])
        };
        let model = Config::of(image, true, Network::Unet(Box::new(network)));
        let save = |model: Arc<dyn Model>, name: &str| trained(model, &runs.0.path().join(name));
        save(Arc::new(Diffusion::new(model).unwrap()), "model");
        let mut config = noised_classifier::Config::of(image, 10);
        config.network.channel_mult = vec![1.0, 1.0];
        let classifier = |config| Arc::new(NoisedClassifier::new(config).unwrap());
        save(classifier(config.clone()), "classifier");
        config.process.beta_schedule = BetaSchedule::Cosine;
        save(classifier(config), "cosine");
        runs
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }
}

#[test]
fn a_run_is_guided_by_another() {
    let runs = Runs::new();
    let path = |name: &str| runs.path(name);
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

    let (model, classifier, cosine, out) = (
        path("model"),
        path("classifier"),
        path("cosine"),
        path("out.png"),
    );
    let sample = ["sample", &model, "--n", "2", "--out", &out];
    let two = ["--steps", "2", "--classifier", &classifier];
    let scaled = ["--classifier-scale", "3", "--class", "7"];
    let said = done(&[&sample[..], &two, &scaled].concat());
    assert!(said.contains("2 steps, 2 calls of the network"), "{said}");
    let said = done(&[&sample[..], &two, &["--sampler", "heun"]].concat());
    assert!(said.contains("2 steps, 3 calls of the network"), "{said}");
    fs::remove_file(&out).unwrap();
    for (more, words) in [
        (vec!["--classifier", &cosine], "another process"),
        (vec!["--classifier", &model], "train classifier --noised"),
        (
            vec!["--classifier", &classifier, "--classifier-scale", "nan"],
            "--classifier-scale",
        ),
        (
            vec!["--classifier", &classifier, "--class", "10"],
            "10 classes",
        ),
        (vec!["--classifier-scale", "2"], "--classifier"),
    ] {
        refused(&[&sample[..], &["--steps", "2"], &more].concat(), &[words]);
        assert!(!Path::new(&out).exists());
    }
    let karras = ["--spacing", "karras", "--steps", "1"];
    refused(
        &[&sample[..], &karras].concat(),
        &["1 step spaced by noise"],
    );
    assert!(!Path::new(&out).exists());
}

#[test]
fn samplers_are_listed() {
    let said = done(&["sample", "--list-samplers"]);
    for entry in samplers::ALL {
        assert!(
            said.contains(entry.name) && said.contains(entry.scheduler),
            "{said}"
        );
    }
}

#[test]
fn all_samplers_begin_with_one_noise() {
    let runs = Runs::new();
    let picture = runs.path("all.png");
    // A row for each.
    let every = ["--n", "1", "--every-sampler", "2,3"];
    let to = ["--spacing", "karras", "--out", &picture, "--json"];
    let said = done(&[&["sample", &runs.path("model")], &every[..], &to].concat());
    assert!(said.contains("heun, 3 steps: 5 calls"), "{said}");
    let picture = image::open(picture).unwrap();
    assert!(
        picture.height() > 3 * picture.width(),
        "{} x {}",
        picture.width(),
        picture.height()
    );
    let (classifier, no) = (runs.path("classifier"), runs.path("no.png"));
    refused(
        &[&["sample", &classifier], &every[..], &["--out", &no]].concat(),
        &["--every-sampler"],
    );
}
