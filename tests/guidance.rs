//! Samples led to a class by a classifier of noisy examples: what its gradient does to a step, with every sampler, on both devices; and what is refused.

mod common;

use std::sync::Arc;

use common::{gpu, relative_difference};
use wgen::evaluate::Evaluator;
use wgen::graph::Var;
use wgen::graph::layout::{Init, Parameter};
use wgen::models::Model;
use wgen::models::diffusion::process::{self, BetaSchedule, Prediction, Variance};
use wgen::models::diffusion::samplers::{self, SamplerSettings};
use wgen::models::diffusion::{Config, Diffusion, Guide, Network, Timestep, mlp, unet};
use wgen::models::noised_classifier::{self, NoisedClassifier};
use wgen::nn::{Pass, init};
use wgen::session::Device;
use wgen::tensor::ImageShape;

/// Classes are places in the plane: ln p(y | x) is -|x - place|^2 / 2 and something that does not depend on x, so that its gradient is
/// place - x whatever t is. The places are a parameter, as a network's weights are.
#[derive(Debug)]
struct Places {
    process: process::Config,
    classes: usize,
    image: ImageShape,
}

const PLACES: [[f32; 2]; 3] = [[2.0, 0.0], [-1.0, 1.5], [0.5, -2.0]];

impl Guide for Places {
    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new(
            "classifier.places",
            [3, 2],
            Init::Constant(0.0),
        )]
    }

    fn log_probability<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        _t: Timestep<'g>,
        classes: Var<'g>,
    ) -> Var<'g> {
        let place = classes.matmul(pass.graph().parameter("classifier.places", [3, 2]));
        (x - place).square().sum(&[1]) * -0.5
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn image(&self) -> ImageShape {
        self.image
    }

    fn process(&self) -> &process::Config {
        &self.process
    }
}

fn plane() -> ImageShape {
    ImageShape {
        height: 1,
        width: 2,
        channels: 1,
    }
}

fn places() -> Places {
    Places {
        process: process::Config::default(),
        classes: 3,
        image: plane(),
    }
}

/// A model of points; `classes` it is conditional on, with a null class.
fn points(sampling: SamplerSettings, classes: usize) -> Diffusion {
    let rows = if classes > 0 { classes + 1 } else { 0 };
    let network = mlp::Config {
        width: 2,
        hidden: 16,
        blocks: 1,
        outputs: 2,
        classes: rows,
    };
    Diffusion::new(Config {
        classes,
        null_share: if classes > 0 { 0.1 } else { 0.0 },
        sampling,
        ..Config::of(plane(), false, Network::Mlp(network))
    })
    .unwrap()
}

/// Weights of the network; of the places what they are.
fn weights(model: &Diffusion) -> Vec<Vec<f32>> {
    let drawn = model.parameters().into_iter().map(|mut p| {
        if p.name == "classifier.places" {
            return PLACES.as_flattened().to_vec();
        }
        if p.shape.rank() > 1 {
            p.init = Init::Normal(0.0, 0.1);
        }
        init::draw(&p, 3)
    });
    drawn.collect()
}

fn settings(sampler: &str, steps: usize) -> SamplerSettings {
    SamplerSettings {
        sampler: sampler.to_owned(),
        spacing: samplers::find(sampler).unwrap().spacing,
        steps,
        ..SamplerSettings::default()
    }
}

/// Outputs `x0` and `next` of the first row, and x before it.
fn first_row(model: &Diffusion, device: &Device, class: Option<usize>) -> [Vec<f64>; 3] {
    let mut evaluator = Evaluator::new(device, model, &weights(model), 4, 9).unwrap();
    let sampling = model.sampling(4).unwrap();
    let begin = sampling.begin(9, 0, 0).unwrap();
    let x = begin[0].1.data.to_f64();
    let mut seen = Vec::new();
    evaluator
        .samples_from(model, 4, class, &Default::default(), &mut |_, run| {
            if seen.is_empty() {
                for name in ["x0", "next"] {
                    seen.push(run.read(name)?.data.to_f64());
                }
            }
            Ok(())
        })
        .unwrap();
    let next = seen.pop().unwrap();
    [x, seen.pop().unwrap(), next]
}

#[test]
fn a_step_is_moved_as_the_formula_says() {
    let scale = 0.7;
    for entry in samplers::ALL {
        let plain = points(settings(entry.name, 8), 0);
        let guided = plain.guided_by(Arc::new(places()), scale).unwrap();
        let class = 1;
        let row = guided.steps()[0];
        assert_eq!(row.guides_mean, ["ddpm", "euler-a"].contains(&entry.name));
        for device in [Device::Gpu(gpu()), Device::Cpu] {
            let [x, x0, next] = first_row(&guided, &device, Some(class));
            let [same, plain_x0, plain_next] = first_row(&plain, &device, None);
            assert_eq!(x, same, "one noise");
            for i in 0..x.len() {
                let gradient = f64::from(PLACES[class][i % 2]) - x[i];
                let (of_x0, of_next) = if row.guides_mean {
                    // Dhariwal & Nichol 2021, algorithm 1.
                    (0.0, row.min_log_variance.exp() * scale * gradient)
                } else {
                    // Algorithm 2, as x_0: (1 - abar) / sqrt(abar) times the gradient.
                    let moved = row.level.s * row.level.s / row.level.a * scale * gradient;
                    (moved, row.mean.x0 * moved)
                };
                // Without guidance DDIM keeps the prediction's noise; with it, what leads from x_0 to x: the same where nothing is clipped.
                for (got, before, by) in [
                    (x0[i], plain_x0[i], of_x0),
                    (next[i], plain_next[i], of_next),
                ] {
                    let expected = before + by;
                    let size = by.abs().max(before.abs()).max(1.0);
                    assert!(
                        (got - expected).abs() < 3e-5 * size,
                        "{}: {got}, not {expected} = {before} + {by}",
                        entry.name
                    );
                }
            }
        }
    }
}

#[test]
fn a_scale_of_nothing_changes_no_bit() {
    for name in ["ddim", "ddpm", "unipc"] {
        let clipped = SamplerSettings {
            use_clipped_model_output: (name == "ddim").then_some(true),
            ..settings(name, 6)
        };
        let plain = points(clipped, 0);
        let guided = plain.guided_by(Arc::new(places()), 0.0).unwrap();
        let device = Device::Gpu(gpu());
        let x = |model: &Diffusion, class: Option<usize>| {
            let mut evaluator = Evaluator::new(&device, model, &weights(model), 4, 2).unwrap();
            evaluator.samples(model, 5, class).unwrap()
        };
        let (a, b) = (x(&plain, None), x(&guided, Some(2)));
        assert_eq!(a.x, b.x, "{name}");
        // Still they were asked for.
        assert_eq!(b.labels, [2; 5]);
    }
}

#[test]
fn guidance_leads_to_the_class() {
    let plain = points(settings("dpmpp-2m", 15), 0);
    let device = Device::Gpu(gpu());
    let distance = |scale: f64| {
        let model = plain.guided_by(Arc::new(places()), scale).unwrap();
        let mut evaluator = Evaluator::new(&device, &model, &weights(&model), 4, 2).unwrap();
        let samples = evaluator.samples(&model, 60, None).unwrap();
        // The classes take turns.
        assert_eq!(samples.labels[..4], [0, 1, 2, 0]);
        let squares = samples.x.iter().enumerate().map(|(i, &x)| {
            let place = PLACES[samples.labels[i / 2] as usize][i % 2];
            f64::from(x - place).powi(2)
        });
        squares.sum::<f64>()
    };
    let [none, some, more] = [0.0, 0.3, 1.0].map(distance);
    assert!(some < 0.9 * none && more < some, "{none}, {some}, {more}");
}

/// A U-Net of 8x8 pictures with a learned variance, conditional on 3 classes and a null class, and a classifier of the same process.
fn pictures(sampling: SamplerSettings) -> (Diffusion, NoisedClassifier) {
    let image = ImageShape {
        height: 8,
        width: 8,
        channels: 1,
    };
    let process = process::Config {
        timesteps: 100,
        ..process::Config::default()
    };
    let network = unet::Config {
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        num_class_embeds: Some(4),
        out_channels: 2,
        ..unet::Config::of(image, &[4, 8], 1, &[])
    };
    let model = Diffusion::new(Config {
        process: process.clone(),
        prediction: Prediction::Velocity,
        variance: Variance::LearnedRange,
        loss: wgen::models::diffusion::Loss::Hybrid,
        classes: 3,
        null_share: 0.1,
        sampling,
        ..Config::of(image, true, Network::Unet(Box::new(network)))
    })
    .unwrap();
    let mut config = noised_classifier::Config::of(image, 3);
    config.process = process;
    config.network.model_channels = 32;
    config.network.channel_mult = vec![1.0, 1.0];
    let classifier = NoisedClassifier::with_prefix(config, "classifier.").unwrap();
    (model, classifier)
}

#[test]
fn both_guidances_at_once_are_the_same_on_both_devices() {
    for name in ["ddim", "ddpm", "heun", "unipc"] {
        let sampling = SamplerSettings {
            guidance: 1.5,
            ..settings(name, 3)
        };
        let (model, classifier) = pictures(sampling);
        let model = model.guided_by(Arc::new(classifier), 2.0).unwrap();
        let x = |device: &Device| {
            let mut evaluator = Evaluator::new(device, &model, &weights(&model), 4, 2).unwrap();
            let samples = evaluator.samples(&model, 3, None).unwrap();
            samples
                .x
                .iter()
                .map(|&x| f64::from(x))
                .collect::<Vec<f64>>()
        };
        let (gpu, cpu) = (x(&Device::Gpu(gpu())), x(&Device::Cpu));
        let difference = relative_difference(&gpu, &cpu);
        assert!(difference < 1e-4, "{name}: {difference:e}");
    }
}

#[test]
fn classifiers_of_something_else_are_refused() {
    let model = points(settings("ddim", 8), 0);
    let refused = |guide: Places, scale: f64, words: &str| {
        let said = model
            .guided_by(Arc::new(guide), scale)
            .unwrap_err()
            .to_string();
        assert!(said.contains(words), "{said}");
    };
    let other = process::Config {
        beta_schedule: BetaSchedule::Cosine,
        ..process::Config::default()
    };
    refused(
        Places {
            process: other,
            ..places()
        },
        1.0,
        "trained on another process",
    );
    let wide = ImageShape {
        width: 3,
        ..plane()
    };
    refused(
        Places {
            image: wide,
            ..places()
        },
        1.0,
        "is for images of 1 x 3",
    );
    refused(places(), f64::NAN, "`classifier_scale` NaN");
    refused(places(), f64::INFINITY, "`classifier_scale` inf");
    let conditional = points(settings("ddim", 8), 4);
    let said = conditional
        .guided_by(Arc::new(places()), 1.0)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("tells 3 classes apart, the model has 4"),
        "{said}"
    );
    let lonely = SamplerSettings {
        classifier_scale: 1.0,
        ..settings("ddim", 8)
    };
    let said = model.with_sampling(&lonely).unwrap_err().to_string();
    assert!(said.contains("no classifier to guide by"), "{said}");
    let kept = SamplerSettings {
        use_clipped_model_output: Some(false),
        ..settings("ddim", 8)
    };
    let said = points(kept, 0)
        .guided_by(Arc::new(places()), 1.0)
        .unwrap_err()
        .to_string();
    assert!(said.contains("`use_clipped_model_output` false"), "{said}");
}
