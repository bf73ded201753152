//! The process of diffusion against itself and against Bayes: one jump and single steps, the posterior, steps at some timesteps.

mod common;

use common::gpu;
use common::process::{SCHEDULES, of_noise, variance};
use wgen::graph::Graph;
use wgen::graph::layout::Layout;
use wgen::kernels::philox::Domain;
use wgen::models::diffusion::process::{Config, Level, Process, Variance};
use wgen::models::diffusion::samplers::{Ddpm, Sampler};
use wgen::models::diffusion::spacing::Spacing;
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::tensor::{Data, TensorType, Value};

/// Processes of every schedule, short and long.
fn processes() -> Vec<(String, Process)> {
    let mut all = Vec::new();
    for (name, beta_schedule) in SCHEDULES {
        for (timesteps, zero_terminal_snr) in [(10, false), (200, false), (30, true)] {
            let config = Config {
                timesteps,
                beta_schedule,
                zero_terminal_snr,
                ..Config::default()
            };
            let name = format!("{name}, T = {timesteps}, zero SNR: {zero_terminal_snr}");
            all.push((name, Process::new(&config).unwrap()));
        }
    }
    all
}

/// The mean and variance of a million samples of x_t from x_0 = 0.7, in one jump or in single steps, on the GPU.
fn moments(process: &Process, t: usize, single: bool) -> [f64; 2] {
    const COUNT: usize = 1_000_000;
    let gpu = gpu();
    let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    let graph = Graph::new(Domain::Training);
    let rows: Vec<f32> = (0..process.len())
        .flat_map(|t| {
            let (signal, noise) = if single {
                (1.0 - process.betas[t], process.betas[t])
            } else {
                let abar = process.alphas_cumprod[t];
                (abar, 1.0 - abar)
            };
            [signal.sqrt() as f32, noise.sqrt() as f32]
        })
        .collect();
    let table = graph.table("table", Value::f32([process.len(), 2], rows).unwrap());
    let x = graph.input("x", TensorType::f32([8, COUNT / 8]));
    let at = graph.input("t", TensorType::u32([8]));
    let (next, _) = x.q_sample("q", at, table);
    graph.output("next", next);
    graph.feed_back("x", next);
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    plan.write("x", &Data::F32(vec![0.7; COUNT])).unwrap();
    let steps = if single { 0..=t } else { t..=t };
    for step in steps {
        // Each step has noise of its own.
        store.set_state(step as u64, 5, 0).unwrap();
        plan.write("t", &Data::U32(vec![step as u32; 8])).unwrap();
        plan.run(1).unwrap();
    }
    let x = plan.read("next").unwrap().data.to_f64();
    let mean = x.iter().sum::<f64>() / COUNT as f64;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / COUNT as f64;
    [mean, variance]
}

#[test]
fn one_jump_and_single_steps_have_the_same_moments() {
    // Standard errors of the mean and of the variance of n normal samples: sqrt(v / n), v sqrt(2 / n).
    let n = 1e6_f64;
    for (name, process) in processes() {
        let last = process.len() - 1;
        for t in [0, last / 2, last] {
            let abar = process.alphas_cumprod[t];
            let (mean, variance) = (0.7 * abar.sqrt(), 1.0 - abar);
            for single in [false, true] {
                if single && t > 40 {
                    continue;
                }
                let [m, v] = moments(&process, t, single);
                let (mean_error, variance_error) =
                    ((variance / n).sqrt(), variance * (2.0 / n).sqrt());
                // Five standard errors: there are many t and schedules. f32 adds its own.
                assert!(
                    (m - mean).abs() < 5.0 * mean_error + 1e-6,
                    "{name}, t {t}, single: {single}: mean {m}, not {mean}"
                );
                assert!(
                    (v - variance).abs() < 5.0 * variance_error + 1e-6,
                    "{name}, t {t}, single: {single}: variance {v}, not {variance}"
                );
            }
        }
    }
}

#[test]
fn the_posterior_is_what_bayes_says() {
    // q(x_{t-1} | x_t, x_0) is q(x_t | x_{t-1}) q(x_{t-1} | x_0), normalised: by quadrature in one dimension.
    let (x0, xt) = (0.7, -0.4);
    for (name, process) in processes() {
        for t in [1, process.len() / 2, process.len() - 1] {
            let beta = process.betas[t];
            let before = process.previous(t);
            // In logarithms: far from the mode both factors are below the smallest number.
            let log_normal =
                |x: f64, mean: f64, variance: f64| -(x - mean).powi(2) / (2.0 * variance);
            let log_density = |x: f64| {
                log_normal(xt, (1.0 - beta).sqrt() * x, beta)
                    + log_normal(x, before.sqrt() * x0, 1.0 - before)
            };
            let posterior = process.posterior(t);
            let expected = posterior.x0 * x0 + posterior.xt * xt;
            let width = 12.0 * posterior.variance.sqrt();
            let points = 20_001;
            let at = |i: usize| expected - width + 2.0 * width * i as f64 / (points - 1) as f64;
            let highest = (0..points)
                .map(|i| log_density(at(i)))
                .fold(f64::MIN, f64::max);
            let density = |x: f64| (log_density(x) - highest).exp();
            let sums = (0..points).map(at).fold([0.0; 3], |s, x| {
                let d = density(x);
                [s[0] + d, s[1] + d * x, s[2] + d * x * x]
            });
            let mean = sums[1] / sums[0];
            let variance = sums[2] / sums[0] - mean * mean;
            assert!(
                (mean - expected).abs() < 1e-9 + 1e-6 * width,
                "{name}, t {t}: mean {mean}, not {expected}"
            );
            assert!(
                (variance / posterior.variance - 1.0).abs() < 1e-6,
                "{name}, t {t}: variance {variance}, not {}",
                posterior.variance
            );
        }
    }
}

#[test]
fn ancestral_steps_at_some_timesteps_are_those_of_the_respaced_process() {
    let process = Process::new(&Config::default()).unwrap();
    let falling = Spacing::Trailing.timesteps(1000, 30, 0).unwrap();
    let rising: Vec<usize> = falling.iter().rev().copied().collect();
    let respaced = process.respaced(&rising).unwrap();
    let levels = |process: &Process, timesteps: &[usize]| -> Vec<Level> {
        let visited = timesteps.iter().map(|&t| process.level(t));
        visited.chain([Level::IMAGE]).collect()
    };
    let all: Vec<usize> = (0..30).rev().collect();
    let of = |process: &Process, timesteps: &[usize]| {
        let reverse = of_noise(process, Variance::FixedLarge);
        Ddpm.steps(&reverse, &levels(process, timesteps))
    };
    let steps = of(&process, &falling);
    let visited = of(&respaced, &all);
    for (a, b) in steps.iter().zip(visited) {
        assert_eq!(
            a.level.timestep, b.level.timestep,
            "the network is told the t of its training"
        );
        for (a, b) in [
            (a.mean.x0, b.mean.x0),
            (a.mean.x, b.mean.x),
            (a.x0_p, b.x0_p),
            (variance(a), variance(&b)),
        ] {
            assert!((a - b).abs() <= 1e-12 * b.abs().max(1e-9), "{a} {b}");
        }
    }
    // And beta is not that of the timestep alone.
    assert!((respaced.betas[29] - process.betas[999]).abs() > 0.1);
    assert!(process.respaced(&[3, 3]).is_err());
    assert!(process.respaced(&[5, 1000]).is_err());
}
