//! Training as a whole: resume after kill, streaming, early stopping, likelihoods, the CPU as a device.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{config, file, gpu, train};
use wgen::data::Dataset;
use wgen::data::digits::digits;
use wgen::evaluate::Evaluator;
use wgen::files::Training;
use wgen::files::metrics;
use wgen::graph::update::Rule;
use wgen::models::Model as _;
use wgen::models::vae::{Config as VaeConfig, Decoder, Vae};
use wgen::nn::schedule::{LearningRate, Shape};
use wgen::session::Device;
use wgen::tensor::Data;
use wgen::tensor::ImageShape;

const WGEN: &str = env!("CARGO_BIN_EXE_wgen");

fn wgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(WGEN);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn resume_after_kill_continues_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let out = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let whole = out("whole");
    let base = [
        "train",
        "vae",
        "--data",
        "digits:1500",
        "--steps",
        "60",
        "--batch",
        "64",
        "--hidden",
        "64",
        "--latent",
        "4",
        "--ema",
        "0.99",
        "--checkpoint-steps",
        "7",
        "--seed",
        "3",
        "--out",
    ];
    assert!(
        wgen(&[&base[..], &[&whole]].concat())
            .status()
            .unwrap()
            .success()
    );
    // Killed at several moments: early, in the middle of a checkpoint as likely as not, late.
    let killed = out("killed");
    let mut resume = false;
    for milliseconds in [150, 400, 500, 600, 700, 900] {
        let arguments = [
            &base[..],
            &[&killed],
            if resume { &["--resume"][..] } else { &[] },
        ]
        .concat();
        let mut child = wgen(&arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        resume = Path::new(&killed).join("config.json").exists();
    }
    let arguments = [
        &base[..],
        &[&killed],
        if resume { &["--resume"][..] } else { &[] },
    ]
    .concat();
    assert!(wgen(&arguments).status().unwrap().success());
    for name in [
        "model.safetensors",
        "checkpoints/60/model.safetensors",
        "checkpoints/60/optimizer.safetensors",
    ] {
        assert_eq!(
            file(&Path::new(&whole).join(name)),
            file(&Path::new(&killed).join(name)),
            "{name}"
        );
    }
    let records = |folder: &str| metrics::read(&Path::new(folder).join("metrics.jsonl")).unwrap();
    assert_eq!(records(&whole), records(&killed));
}

#[test]
fn the_same_seed_gives_the_same_weights_and_another_does_not() {
    let device = Device::Gpu(gpu());
    let dir = tempfile::tempdir().unwrap();
    let data = digits(500, 1);
    let run = |name: &str, seed: u64| {
        let training = Training {
            steps: Some(20),
            epochs: None,
            batch: 64,
            seed,
            ..Training::default()
        };
        let out = dir.path().join(name);
        train(
            &device,
            config(&data, 48, 6, training),
            data.clone(),
            &out,
            false,
        )
        .unwrap();
        file(&out.join("model.safetensors"))
    };
    let first = run("a", 5);
    assert_eq!(first, run("b", 5));
    assert_ne!(first, run("c", 6));
}

#[test]
fn training_on_the_cpu_follows_the_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let data = digits(300, 1);
    let training = Training {
        steps: Some(30),
        epochs: None,
        batch: 64,
        clip: 200.0,
        ema: Some(0.9),
        learning_rate: LearningRate {
            peak: 1e-3,
            shape: Shape::Cosine,
            warmup: 5,
        },
        beta_warmup: 10,
        log_steps: 10,
        ..Training::default()
    };
    let run = |device: &Device, name: &str| {
        let out = dir.path().join(name);
        train(
            device,
            config(&data, 32, 3, training.clone()),
            data.clone(),
            &out,
            false,
        )
        .unwrap();
        metrics::read(&out.join("metrics.jsonl")).unwrap()
    };
    let (gpu, cpu) = (run(&Device::Gpu(gpu()), "gpu"), run(&Device::Cpu, "cpu"));
    assert!(gpu.len() >= 3 && gpu.len() == cpu.len());
    for (a, b) in gpu.iter().zip(&cpu) {
        for (name, value) in &a.values {
            let (x, y) = (value.as_f64().unwrap(), b.values[name].as_f64().unwrap());
            assert!((x - y).abs() <= 2e-4 * x.abs().max(1e-3), "{name}: {x} {y}");
        }
    }
}

#[test]
fn a_data_set_too_large_for_the_device_streams_and_gives_the_same_bits() {
    use wgen::graph::layout::Layout;
    use wgen::graph::update::Update;
    use wgen::models::Model;
    use wgen::plan::StoreOptions;
    use wgen::program::Flat;
    use wgen::session::feed::{Feed, Wants};

    let device = Device::Gpu(gpu());
    let data = digits(700, 1);
    let model = Vae::new(VaeConfig {
        width: 784,
        hidden: vec![24],
        latent: 3,
        decoder: Decoder::Bernoulli,
        ..VaeConfig::mnist()
    })
    .unwrap();
    let run = |limit: u64| {
        let layout = Layout::new(model.parameters(), 1 << 27).unwrap();
        let weights: Vec<_> = layout
            .parameters
            .iter()
            .map(|p| wgen::nn::init::draw(p, 2))
            .collect();
        let options = StoreOptions {
            training: true,
            ema: false,
        };
        let session = device.session(layout, options).unwrap();
        session.write(Flat::Parameters, &weights).unwrap();
        let mut feed = Feed::new(
            session.as_ref(),
            data.clone(),
            50,
            9,
            limit,
            Wants::default(),
        )
        .unwrap();
        let update = Update {
            rule: Rule::ADAM,
            max_norm: 0.0,
            ema: false,
            metrics: model.metrics(),
            set: 0,
            takes_data: true,
            batch: 50,
            loss_scale: false,
        };
        let graph = model.training(0, &feed.data_type(), &update).unwrap();
        let mut plan = session.compile(&graph, &feed.inputs()).unwrap();
        session.set_state(0, 9, 0).unwrap();
        session
            .write_schedule(0, &[Rule::ADAM.schedule_row(0, 1e-3, 0.0, 1.0); 64], true)
            .unwrap();
        let mut step = 0;
        while step < 28 {
            let ready = feed.prepare(session.as_ref(), step).unwrap();
            let count = ready.min(28 - step as usize);
            plan.run(count).unwrap();
            step += count as u64;
        }
        (
            feed.data_type().rows,
            session.read(Flat::Parameters).unwrap(),
        )
    };
    let (resident_rows, resident) = run(u64::MAX);
    let (window_rows, streamed) = run(300_000);
    assert_eq!(resident_rows, 700);
    assert!(window_rows < 700, "{window_rows}");
    assert_eq!(resident, streamed);
}

#[test]
fn validation_chooses_the_best_weights_and_patience_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let data = digits(200, 1);
    // So few examples and so large a rate that held-out loss soon rises.
    let training = Training {
        epochs: Some(60),
        batch: 50,
        validation: 100,
        patience: 2,
        learning_rate: LearningRate {
            peak: 2e-2,
            shape: Shape::Constant,
            warmup: 0,
        },
        ..Training::default()
    };
    let device = Device::Gpu(gpu());
    let config = config(&data, 64, 8, training);
    let out = dir.path().join("run");
    let summary = train(&device, config.clone(), data.clone(), &out, false).unwrap();
    assert_eq!(summary.ended, "early stop");
    let records = metrics::read(&out.join("metrics.jsonl")).unwrap();
    let losses: Vec<f64> = records
        .iter()
        .filter_map(|r| r.values.get("validation_loss")?.as_f64())
        .collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(Some(best), summary.best_validation);
    assert_eq!(
        losses.len(),
        losses.iter().position(|l| *l == best).unwrap() + 3
    );
    // The weights on disk are the best ones: they give that loss again.
    let model = config.model.clone();
    let layout = wgen::graph::layout::Layout::new(model.parameters(), 1 << 27).unwrap();
    let weights = wgen::files::folder::read_weights(&out, &layout).unwrap();
    let (_, held_out) = data.split(100, 0).unwrap();
    let mut evaluator = Evaluator::new(&device, model.as_ref(), &weights, 50, 0).unwrap();
    let figures = evaluator
        .figures(model.as_ref(), &held_out.unwrap())
        .unwrap();
    assert!((figures.values().sum::<f64>() - best).abs() < 1e-9);
}

#[test]
fn evaluation_does_not_depend_on_the_batch() {
    let device = Device::Gpu(gpu());
    let data = digits(57, 4);
    let model = Vae::new(VaeConfig {
        width: 784,
        hidden: vec![24],
        latent: 5,
        decoder: Decoder::Bernoulli,
        ..VaeConfig::mnist()
    })
    .unwrap();
    let weights: Vec<_> = model
        .parameters()
        .iter()
        .map(|p| wgen::nn::init::draw(p, 2))
        .collect();
    let figures = |batch: usize| {
        let mut evaluator = Evaluator::new(&device, &model, &weights, batch, 11).unwrap();
        let f = evaluator.figures(&model, &data).unwrap();
        (
            f["reconstruction"],
            f["kl"],
            evaluator.log_likelihood(&model, &data, 12).unwrap(),
        )
    };
    let whole = figures(57);
    for batch in [1, 8, 100] {
        let part = figures(batch);
        for (a, b) in [(whole.0, part.0), (whole.1, part.1), (whole.2, part.2)] {
            assert!(
                (a - b).abs() < 1e-4 * a.abs().max(1.0),
                "batch {batch}: {a} {b}"
            );
        }
    }
}

/// A VAE whose likelihood is known: one hidden layer of relus that pass their input through (biased far into the positive), a
/// linear Gaussian decoder x = W z + b + sigma n, and an encoder that is the exact posterior but for its covariance's off-diagonal.
#[test]
fn importance_sampling_finds_the_likelihood_of_a_linear_gaussian_vae() {
    const EXAMPLES: usize = 400;
    let (d, log_sigma2) = (4, -1.0_f64);
    let sigma2 = log_sigma2.exp();
    // Columns of W are orthogonal, so the posterior's covariance is diagonal; the encoder's variance is then set too large.
    let w = [[1.2, 0.0], [0.0, 0.8], [0.6, 0.0], [0.0, -0.9]];
    let b = [0.3, -0.2, 0.1, 0.5];
    let precision = [0, 1].map(|k| 1.0 + w.iter().map(|r| r[k] * r[k]).sum::<f64>() / sigma2);
    let model = Vae::new(VaeConfig {
        width: d,
        hidden: vec![4],
        latent: 2,
        decoder: Decoder::Gaussian,
        ..VaeConfig::mnist()
    })
    .unwrap();
    let mut weights = Vec::new();
    for parameter in model.parameters() {
        let mut v = vec![0.0_f64; parameter.shape.count()];
        match parameter.name.as_str() {
            // h = x + 20 > 0 on the encoder's side, h = (z, 0, 0) + 20 on the decoder's.
            "fc1.weight" => (0..4).for_each(|i| v[5 * i] = 1.0),
            "fc1.bias" | "fc3.bias" => v.fill(20.0),
            "fc21.weight" => (0..2)
                .for_each(|k| (0..4).for_each(|i| v[4 * k + i] = w[i][k] / sigma2 / precision[k])),
            "fc21.bias" => (0..2).for_each(|k| {
                v[k] =
                    -(0..4).map(|i| (20.0 + b[i]) * w[i][k]).sum::<f64>() / sigma2 / precision[k];
            }),
            "fc22.bias" => (0..2).for_each(|k| v[k] = (1.3 / precision[k]).ln()),
            "fc3.weight" => (0..2).for_each(|k| v[2 * k + k] = 1.0),
            "fc4.weight" => (0..4).for_each(|i| (0..2).for_each(|k| v[4 * i + k] = w[i][k])),
            "fc4.bias" => (0..4).for_each(|i| v[i] = b[i] - 20.0 * (w[i][0] + w[i][1])),
            "decoder_log_variance" => v[0] = log_sigma2,
            _ => {}
        }
        weights.push(v.into_iter().map(|x| x as f32).collect::<Vec<f32>>());
    }
    let x =
        wgen::verify::cases::numbers(wgen::verify::cases::Values::Normal, 8, EXAMPLES * d).to_f32();
    // ln N(x; b, W W^T + sigma^2 I): two independent pairs (0, 2) and (1, 3).
    let exact = x
        .chunks(d)
        .map(|x| {
            let pair = |i: usize, j: usize, k: usize| {
                let (u, v) = (w[i][k], w[j][k]);
                let (p, q) = (f64::from(x[i]) - b[i], f64::from(x[j]) - b[j]);
                let (a, c, e) = (u * u + sigma2, v * v + sigma2, u * v);
                let det = a * c - e * e;
                let quadratic = (c * p * p - 2.0 * e * p * q + a * q * q) / det;
                -0.5 * (2.0 * std::f64::consts::TAU.ln() + det.ln() + quadratic)
            };
            pair(0, 2, 0) + pair(1, 3, 1)
        })
        .sum::<f64>()
        / EXAMPLES as f64;
    let data = Dataset {
        name: "linear".to_owned(),
        shape: ImageShape {
            height: 1,
            width: d,
            channels: 1,
        },
        values: Data::F32(x),
        labels: None,
        classes: Vec::new(),
        views: None,
    };
    for device in [Device::Gpu(gpu()), Device::Cpu] {
        // Over several seeds: what is left of the noise of the draws is far below what K changes.
        let estimate = |k: usize| {
            let one = |seed| {
                let mut evaluator = Evaluator::new(&device, &model, &weights, 100, seed).unwrap();
                evaluator.log_likelihood(&model, &data, k).unwrap()
            };
            (0..3).map(one).sum::<f64>() / 3.0
        };
        let estimates: Vec<f64> = [1, 10, 100, 1000].map(estimate).to_vec();
        println!(
            "exact {exact:.4}, estimates {estimates:.4?} on {}",
            device.name()
        );
        assert!((estimates[3] - exact).abs() < 0.05);
        assert!(
            estimates.windows(2).all(|e| e[1] >= e[0] - 1e-3),
            "{estimates:?}"
        );
        // One sample gives the ELBO, which the widened posterior keeps away from the likelihood.
        assert!(exact - estimates[0] > 0.01);
    }
}
