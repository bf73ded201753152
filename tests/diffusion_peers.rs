//! The process of diffusion against diffusers and guided-diffusion: schedules, steps, embeddings. `tests/golden/diffusion.py` writes the tensors.

mod common;

use std::collections::BTreeMap;

use common::process::{SCHEDULES, of_noise, variance};
use common::{golden, gpu, relative_difference};
use wgen::graph::layout::Layout;
use wgen::graph::op::EvalContext;
use wgen::graph::{Graph, StepInputs};
use wgen::kernels::philox::{Domain, RandomState};
use wgen::kernels::reverse_step::COLUMNS;
use wgen::kernels::timestep_embedding::Convention;
use wgen::models::diffusion::process::{
    BetaSchedule, Config, Level, Prediction, Process, Rounding, Variance,
};
use wgen::models::diffusion::samplers::{Ddim, Ddpm, Reverse, ReverseStep, Sampler};
use wgen::models::diffusion::spacing::{Grid, LastSigma, Spacing, Visits};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::real::Precision;
use wgen::tensor::{Data, TensorType, Value};

#[test]
fn schedules_agree_with_diffusers() {
    let tensors = golden("diffusion");
    let agree = |process: &Process, key: &str| {
        let stride = (process.len() / 50).max(1);
        let some = |all: &[f64]| -> Vec<f64> { all.iter().step_by(stride).copied().collect() };
        let expected = |what: &str| tensors[&format!("schedule/{key}/{what}")].data.to_f64();
        let differ = |a: &[f64], b: &[f64]| {
            assert_eq!(a.len(), b.len());
            a.iter()
                .zip(b)
                .fold(0.0_f64, |m, (x, y)| m.max((x - y).abs()))
        };
        // diffusers computes betas in f32.
        let betas = differ(&some(&process.betas), &expected("betas"));
        assert!(betas < 2e-6, "{key}: {betas:e}");
        if tensors.contains_key(&format!("schedule/{key}/alphas_cumprod")) {
            let abar = differ(&some(&process.alphas_cumprod), &expected("alphas_cumprod"));
            assert!(abar < 2e-6, "{key}: {abar:e}");
        }
    };
    for (name, beta_schedule) in SCHEDULES {
        for timesteps in [10, 1000] {
            for rounding in [Rounding::F32, Rounding::F64] {
                let config = Config {
                    timesteps,
                    beta_schedule,
                    rounding,
                    ..Config::default()
                };
                agree(
                    &Process::new(&config).unwrap(),
                    &format!("{name}/{timesteps}"),
                );
            }
        }
    }
    let config = Config {
        zero_terminal_snr: true,
        ..Config::default()
    };
    let process = Process::new(&config).unwrap();
    agree(&process, "zero_snr/1000");
    assert_eq!(process.alphas_cumprod[999], 0.0);
}

#[test]
fn variances_agree_with_diffusers_and_the_posterior_with_guided_diffusion() {
    let tensors = golden("diffusion");
    let process = Process::new(&Config::default()).unwrap();
    let reverse = of_noise(&process, Variance::FixedSmall);
    let of = |t: usize| {
        let levels = [process.level(t), process.level(t - 1), Level::IMAGE];
        variance(&Ddpm.steps(&reverse, &levels)[0])
    };
    let expected = tensors["variance/ddpm"].data.to_f64();
    assert!((of(487) - 0.00979).abs() < 1e-5 && (of(487) - expected[1]).abs() < 1e-7);
    assert!((of(999) - 0.02).abs() < 1e-4 && (of(999) - expected[2]).abs() < 1e-7);
    // DDIM with eta 1: steps 20 apart are fifty of a thousand, steps of 1 all of them.
    let ddim = Ddim {
        eta: 1.0,
        use_clipped_model_output: false,
        stride: false,
        steps: 50,
    };
    let expected = tensors["variance/ddim"].data.to_f64();
    let steps = |count: usize| {
        let levels = Visits::of(count).levels(&process, BetaSchedule::Linear, Grid::Integers);
        ddim.steps(&reverse, &levels.unwrap())
            .into_iter()
            .map(|row| (row.level.timestep as usize, row))
            .collect::<BTreeMap<usize, ReverseStep>>()
    };
    let (fifty, all) = (steps(50), steps(1000));
    for (step, expected, table) in [
        (&fifty[&420], expected[1], 0.14771),
        (&fifty[&980], expected[2], 0.32460),
        (&all[&487], expected[3], 0.00979),
        (&all[&999], expected[4], 0.02),
    ] {
        assert!((variance(step) - expected).abs() < 1e-6);
        assert!((variance(step) - table).abs() < 1e-4);
    }
    let posterior = tensors["guided/posterior"].data.to_f64();
    let range = tensors["guided/learned_range"].data.to_f64();
    for (i, t) in [0, 1, 2, 250, 998, 999].into_iter().enumerate() {
        let p = process.posterior(t);
        let ours = [
            p.x0,
            p.xt,
            p.variance,
            p.log_variance,
            process.betas[t].ln(),
        ];
        for (a, b) in ours.iter().zip(&posterior[5 * i..]) {
            assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-3), "t {t}: {a} {b}");
        }
        for j in 0..5 {
            let share = j as f64 / 4.0;
            let ours = share * process.betas[t].ln() + (1.0 - share) * p.log_variance;
            assert!((ours - range[5 * i + j]).abs() < 1e-11);
        }
    }
}

/// Runs the steps of an oracle on the GPU, one kernel each: the model is x t / (t + 1). x after each step.
fn run_steps(steps: &[ReverseStep], sample: &[f32], noise: Option<&[f64]>) -> Vec<Vec<f64>> {
    const SHAPE: [usize; 3] = [4, 64, 3];
    let gpu = gpu();
    let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    let graph = Graph::new(Domain::Sampling);
    let x = graph.input("x", TensorType::f32(SHAPE));
    let factor = graph.input("factor", TensorType::f32([1]));
    let row = graph.input("row", TensorType::f32([COLUMNS]));
    let given = graph.input("noise", TensorType::f32(SHAPE));
    let prediction = x * factor;
    let inputs = StepInputs {
        prediction: Some(prediction),
        ..StepInputs::default()
    };
    let x0 = x.predict_x0(prediction, row, None);
    let next = x.reverse_step_with(x0, row, given, &inputs);
    graph.output("next", next);
    graph.feed_back("x", next);
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    plan.write("x", &Data::F32(sample.to_vec())).unwrap();
    plan.write("noise", &Data::F32(vec![0.0; sample.len()]))
        .unwrap();
    let mut all = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let t = step.level.timestep as f32;
        plan.write("factor", &Data::F32(vec![t / (t + 1.0)]))
            .unwrap();
        plan.write("row", &Data::F32(step.coefficients(1.0, 0.0).to_vec()))
            .unwrap();
        if let Some(noise) = noise.and_then(|n| n.get(i * 768..(i + 1) * 768)) {
            let noise = noise.iter().map(|&z| z as f32).collect();
            plan.write("noise", &Data::F32(noise)).unwrap();
        }
        plan.run(1).unwrap();
        all.push(plan.read("next").unwrap().data.to_f64());
    }
    all
}

fn sum_of_magnitudes(x: &[f64]) -> f64 {
    x.iter().map(|x| x.abs()).sum()
}

#[test]
fn steps_agree_with_diffusers_schedulers() {
    let tensors = golden("diffusion");
    let sample = tensors["step/sample"].data.to_f32();
    let base = || Config {
        rounding: Rounding::F32,
        ..Config::default()
    };
    let later = || Config {
        beta_start: 0.01,
        ..base()
    };
    let zero = || Config {
        zero_terminal_snr: true,
        ..base()
    };
    use Prediction::{Epsilon, Sample, Velocity};
    use Spacing::{Leading, Linspace, Trailing};
    let one = Some(1.0);
    // The figure of diffusers' own tests where there is one.
    let cases = [
        (
            "ddim",
            base(),
            Epsilon,
            one,
            10,
            Leading,
            0.0,
            true,
            Some(172.0067),
        ),
        (
            "ddim_v",
            base(),
            Velocity,
            one,
            10,
            Leading,
            0.0,
            true,
            Some(52.5302),
        ),
        (
            "ddim_one",
            later(),
            Epsilon,
            one,
            10,
            Leading,
            0.0,
            true,
            Some(149.8295),
        ),
        (
            "ddim_not_one",
            later(),
            Epsilon,
            one,
            10,
            Leading,
            0.0,
            false,
            Some(149.0784),
        ),
        (
            "ddim_trailing",
            base(),
            Epsilon,
            one,
            7,
            Trailing,
            0.0,
            true,
            None,
        ),
        (
            "ddim_linspace",
            base(),
            Sample,
            None,
            9,
            Linspace,
            0.0,
            true,
            None,
        ),
        (
            "ddim_zero_snr",
            zero(),
            Velocity,
            one,
            10,
            Trailing,
            0.0,
            true,
            None,
        ),
        (
            "ddim_eta",
            base(),
            Epsilon,
            one,
            10,
            Leading,
            1.0,
            true,
            None,
        ),
        (
            "ddim_clipped",
            base(),
            Epsilon,
            one,
            10,
            Leading,
            0.0,
            true,
            None,
        ),
        (
            "ddim_clipped_v",
            base(),
            Velocity,
            one,
            6,
            Leading,
            0.5,
            true,
            None,
        ),
    ];
    for (name, config, prediction, clip, count, spacing, eta, set_alpha_to_one, figure) in cases {
        let process = Process::new(&config).unwrap();
        let timesteps = spacing.timesteps(process.len(), count, 0).unwrap();
        let theirs = tensors[&format!("step/{name}/timesteps")]
            .data
            .as_u32()
            .to_vec();
        let ours: Vec<u32> = timesteps.iter().map(|&t| t as u32).collect();
        assert_eq!(ours, theirs, "{name}");
        let sampler = Ddim {
            eta,
            use_clipped_model_output: name.starts_with("ddim_clipped"),
            stride: true,
            steps: count,
        };
        let visits = Visits {
            spacing,
            last: if set_alpha_to_one {
                LastSigma::Zero
            } else {
                LastSigma::SigmaMin
            },
            ..Visits::of(count)
        };
        let levels = visits
            .levels(&process, config.beta_schedule, Grid::Integers)
            .unwrap();
        let reverse = Reverse {
            process: &process,
            prediction,
            clip,
            ..of_noise(&process, Variance::FixedSmall)
        };
        let noise = tensors
            .get(&format!("step/{name}/noise"))
            .map(|n| n.data.to_f64());
        let steps = sampler.steps(&reverse, &levels);
        let xs = run_steps(&steps, &sample, noise.as_deref());
        let expected = tensors[&format!("step/{name}/x")].data.to_f64();
        for (i, x) in xs.iter().enumerate() {
            let difference = relative_difference(x, &expected[i * 768..(i + 1) * 768]);
            assert!(difference < 2e-5, "{name}, step {i}: {difference:e}");
        }
        if let Some(figure) = figure {
            let sum = sum_of_magnitudes(&xs[count - 1]);
            assert!((sum - figure).abs() < 1e-2, "{name}: {sum}, not {figure}");
        }
    }
}

#[test]
fn a_thousand_ancestral_steps_agree_with_diffusers() {
    let tensors = golden("diffusion");
    let sample = tensors["step/sample"].data.to_f32();
    let noise: Vec<f64> = tensors["step/ddpm/noise"]
        .data
        .to_f64()
        .iter()
        .map(|z| z / 4096.0)
        .collect();
    let process = Process::new(&Config {
        rounding: Rounding::F32,
        ..Config::default()
    })
    .unwrap();
    let levels: Vec<Level> = (0..1000)
        .rev()
        .map(|t| process.level(t))
        .chain([Level::IMAGE])
        .collect();
    for (name, prediction, figure) in [
        ("ddpm", Prediction::Epsilon, 258.9606),
        ("ddpm_v", Prediction::Velocity, 202.0296),
    ] {
        let reverse = Reverse {
            prediction,
            ..of_noise(&process, Variance::FixedSmall)
        };
        let steps = Ddpm.steps(&reverse, &levels);
        let xs = run_steps(&steps, &sample, Some(&noise));
        let sum = sum_of_magnitudes(&xs[999]);
        assert!((sum - figure).abs() < 1e-2, "{name}: {sum}, not {figure}");
        let expected = tensors[&format!("step/{name}/x")].data.to_f64();
        let difference = relative_difference(&xs[999], &expected);
        assert!(difference < 1e-3, "{name}: {difference:e}");
    }
}

#[test]
fn timestep_embeddings_agree_in_both_conventions() {
    let tensors = golden("diffusion");
    for (name, convention) in [("ddpm", Convention::DDPM), ("adm", Convention::ADM)] {
        for dim in [8, 33] {
            let graph = Graph::new(Domain::Sampling);
            let t = graph.input("t", TensorType::u32([5]));
            let y = t.timestep_embedding(dim, convention, 0);
            let cx = EvalContext {
                precision: Precision::F64,
                state: RandomState::default(),
            };
            let t = Value::new([5], Data::U32(vec![0, 1, 17, 500, 999])).unwrap();
            let got = graph.interpret(&[y.id()], &[("t", t)], &cx).unwrap();
            let expected = tensors[&format!("embedding/{name}/{dim}")].data.to_f64();
            let difference = relative_difference(&got[0].data.to_f64(), &expected);
            assert!(difference < 2e-6, "{name} {dim}: {difference:e}");
        }
    }
}
