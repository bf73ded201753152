//! Training where numbers leave their range: a loss that explodes, a value that overflows, f16 and its loss scale.

mod common;

use std::sync::Arc;

use common::{config, gpu, train};
use wgen::Error;
use wgen::data::Dataset;
use wgen::data::digits::digits;
use wgen::files::{Storage, Training};
use wgen::graph::update::Rule;
use wgen::models::vae::{Config as VaeConfig, Decoder, Vae};
use wgen::nn::schedule::{LearningRate, Shape};
use wgen::session::Device;
use wgen::tensor::Data;
use wgen::tensor::ImageShape;

#[test]
fn a_loss_that_explodes_names_a_tensor_and_keeps_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    for (device, name) in [(Device::Gpu(gpu()), "gpu"), (Device::Cpu, "cpu")] {
        let data = digits(300, 1);
        let training = Training {
            steps: Some(400),
            epochs: None,
            batch: 64,
            optimizer: Rule::Sgd {
                momentum: 0.0,
                decay: 0.0,
                nesterov: false,
            },
            learning_rate: LearningRate {
                peak: 1e6,
                shape: Shape::Constant,
                warmup: 0,
            },
            checkpoint_steps: 1,
            log_steps: 1,
            ..Training::default()
        };
        let out = dir.path().join(name);
        let error = train(&device, config(&data, 32, 3, training), data, &out, false).unwrap_err();
        let Error::NotFinite { step, tensor, .. } = &error else {
            panic!("{error}")
        };
        println!("{error}");
        assert!(
            tensor.contains("node")
                || tensor.contains("dispatch")
                || tensor.contains("gradient of"),
            "{error}"
        );
        // The last checkpoint is of the step before and holds no NaN.
        let weights = wgen::files::weights::read_tensors(
            &out.join(format!("checkpoints/{step}/model.safetensors")),
        );
        assert!(
            weights
                .unwrap()
                .values()
                .all(|(_, v)| v.iter().all(|x| x.is_finite()))
        );
    }
}

#[test]
fn a_value_that_overflows_on_the_device_is_named_by_its_dispatch() {
    let device = Device::Gpu(gpu());
    let dir = tempfile::tempdir().unwrap();
    // Finite inputs whose square is not: the first loss overflows.
    let data = Dataset {
        name: "large".to_owned(),
        shape: ImageShape {
            height: 1,
            width: 8,
            channels: 1,
        },
        values: Data::F32(vec![3e25; 8 * 64]),
        labels: None,
        classes: Vec::new(),
        views: None,
    };
    let training = Training {
        steps: Some(3),
        epochs: None,
        batch: 32,
        log_steps: 1,
        ..Training::default()
    };
    let mut config = config(&data, 8, 2, training);
    let vae = config.model.as_any().downcast_ref::<Vae>().unwrap();
    let gaussian = VaeConfig {
        decoder: Decoder::Gaussian,
        ..vae.config().clone()
    };
    config.model = Arc::new(Vae::new(gaussian).unwrap());
    let error = train(&device, config, data, &dir.path().join("run"), false).unwrap_err();
    let Error::NotFinite {
        step: 0, tensor, ..
    } = &error
    else {
        panic!("{error}");
    };
    println!("{error}");
    assert!(tensor.contains("dispatch"), "{error}");
}

#[test]
fn training_in_f16_learns_and_lowers_its_loss_scale_where_gradients_overflow() {
    if !gpu().caps().f16 {
        eprintln!("NOT CHECKED: this adapter has no f16");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = digits(1200, 5);
    let run = |precision: Storage, name: &str| {
        let training = Training {
            steps: Some(160),
            epochs: None,
            batch: 64,
            checkpoint_steps: 40,
            precision,
            ..Training::default()
        };
        let config = config(&data, 64, 8, training);
        let out = dir.path().join(name);
        let summary = train(&Device::Gpu(gpu()), config, data.clone(), &out, false).unwrap();
        let progress = std::fs::read_to_string(out.join("checkpoints/160/progress.json")).unwrap();
        let progress: serde_json::Value = serde_json::from_str(&progress).unwrap();
        (summary.metrics["loss"].as_f64().unwrap(), progress)
    };
    let (whole, _) = run(Storage::F32, "f32");
    let (half, progress) = run(Storage::F16, "f16");
    assert!((half / whole - 1.0).abs() < 0.02, "{half} against {whole}");
    // A sum over 64 images times 1024 is too much for some gradient of f16 at the beginning, or not: the scale is a power of two.
    let scale = progress["loss_scale"].as_f64().unwrap();
    assert!(
        (1.0..=2048.0).contains(&scale) && scale.log2().fract() == 0.0,
        "{scale}"
    );
    let kept = progress["variants"].to_string();
    assert!(kept.contains("+f16"), "{kept}");
    println!("loss {half:.3} in f16, {whole:.3} in f32; loss scale {scale} at the end");

    // A rate that makes weights explode overflows whatever the scale: at scale 1 it is an error that says where.
    let wild = Training {
        steps: Some(200),
        epochs: None,
        batch: 64,
        learning_rate: LearningRate {
            peak: 1e4,
            shape: Shape::Constant,
            warmup: 0,
        },
        precision: Storage::F16,
        ..Training::default()
    };
    let config = config(&data, 64, 8, wild);
    let exploded = train(
        &Device::Gpu(gpu()),
        config,
        data,
        &dir.path().join("wild"),
        false,
    );
    assert!(
        matches!(exploded, Err(Error::NotFinite { .. })),
        "{exploded:?}"
    );
}

#[test]
fn f16_on_the_cpu_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let data = digits(64, 5);
    let training = Training {
        steps: Some(2),
        epochs: None,
        batch: 8,
        precision: Storage::F16,
        ..Training::default()
    };
    let error = train(
        &Device::Cpu,
        config(&data, 8, 2, training),
        data,
        &dir.path().join("run"),
        false,
    )
    .unwrap_err();
    assert!(error.to_string().contains("f16"), "{error}");
}
