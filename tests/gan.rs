//! The discriminator of a GAN against what theory says it becomes: p_r / (p_r + p_g), and the value of the game.

mod common;

use common::gpu;
use wgen::gpu::Gpu;
use wgen::graph::layout::{Layout, Parameter, Role};
use wgen::graph::update::{Rule, Update};
use wgen::graph::{Graph, Var};
use wgen::kernels::functions::Distribution;
use wgen::kernels::philox::Domain;
use wgen::models::Model;
use wgen::models::gan::{Config, Gan, Loss, Networks};
use wgen::nn::{Pass, init};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::Flat;
use wgen::program::PlanOptions;
use wgen::tensor::Data;
use wgen::tensor::ImageShape;

const BATCH: usize = 512;
const STEPS: u64 = 1000;

/// Normal densities by mean and deviation.
type Pair = [(f64, f64); 2];

fn density((mean, deviation): (f64, f64), x: f64) -> f64 {
    let t = (x - mean) / deviation;
    (-0.5 * t * t).exp() / (deviation * std::f64::consts::TAU.sqrt())
}

/// V(D*, G) by quadrature: the integral of p_r ln D* + p_g ln(1 - D*).
fn value(pair: Pair) -> f64 {
    let n = 200_000;
    let (low, high) = (-20.0, 20.0);
    let step = (high - low) / f64::from(n);
    let at = |i: i32| {
        let x = low + (f64::from(i) + 0.5) * step;
        let (r, g) = (density(pair[0], x), density(pair[1], x));
        let term = |p: f64| if p > 0.0 { p * (p / (r + g)).ln() } else { 0.0 };
        term(r) + term(g)
    };
    (0..n).map(at).sum::<f64>() * step
}

/// `count` points `[count, 1]` of a density, from the step's noise.
fn points<'g>(
    graph: &'g Graph,
    name: &str,
    (mean, deviation): (f64, f64),
    count: usize,
) -> Var<'g> {
    graph.random(name, Distribution::Normal, [count, 1]) * deviation + mean
}

fn logits<'g>(gan: &Gan, graph: &'g Graph, pair: Pair, count: usize) -> [Var<'g>; 2] {
    let pass = Pass::training(graph);
    ["real", "fake"]
        .into_iter()
        .zip(pair)
        .map(|(name, p)| gan.discriminate(&pass, points(graph, name, p, count), None))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

fn train(gpu: &Gpu, gan: &Gan, pair: Pair) -> Store {
    let trained = |p: &Parameter| p.role == Role::Trained(0);
    let parameters: Vec<Parameter> = gan.parameters().into_iter().filter(trained).collect();
    let options = StoreOptions {
        training: true,
        ema: false,
    };
    let layout = Layout::new(parameters.clone(), 1 << 20).unwrap();
    let store = Store::new(gpu, layout, options).unwrap();
    let weights: Vec<_> = parameters.iter().map(|p| init::draw(p, 0)).collect();
    store.write(Flat::Parameters, &weights).unwrap();
    let graph = Graph::new(Domain::Training);
    {
        let [real, fake] = logits(gan, &graph, pair, BATCH);
        let loss = gan.discriminator_loss(real, fake).mean_all();
        let vars: Vec<Var<'_>> = parameters
            .iter()
            .map(|p| graph.parameter(&p.name, p.shape.clone()))
            .collect();
        for (p, gradient) in parameters.iter().zip(graph.gradients(loss, &vars)) {
            graph.output_gradient(&p.name, gradient);
        }
        graph.output("loss", loss);
    }
    graph.set_update(Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: vec!["loss".to_owned()],
        set: 0,
        batch: BATCH,
        takes_data: false,
        loss_scale: false,
    });
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    let rate =
        |step: u64| 3e-3 * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / STEPS as f64).cos());
    store.set_state(0, 5, 0).unwrap();
    for first in (0..STEPS).step_by(500) {
        let rows: Vec<_> = (first..first + 501)
            .map(|s| Rule::ADAM.schedule_row(s, rate(s), 0.0, 1.0))
            .collect();
        store.write_schedule(first, &rows, true).unwrap();
        plan.run(500).unwrap();
        gpu.wait().unwrap();
    }
    store
}

#[test]
fn the_discriminator_becomes_the_ratio_of_densities() {
    let gpu = gpu();
    let line = ImageShape {
        height: 1,
        width: 1,
        channels: 1,
    };
    let gan = Gan::new(Config {
        networks: Networks::Mlp {
            hidden: vec![32, 32],
        },
        latent: 1,
        loss: Loss::Minimax,
        ..Config::for_data(line, false)
    })
    .unwrap();
    for pair in [
        [(0.0, 1.0), (0.0, 1.0)],
        [(0.0, 1.0), (1.0, 1.0)],
        [(0.0, 1.0), (0.0, 2.0)],
    ] {
        let store = train(&gpu, &gan, pair);
        // D over the central 95 % of the mixture, whose quantiles are found by summing its density.
        let grid: Vec<f64> = (0..4000).map(|i| -10.0 + 0.005 * f64::from(i)).collect();
        let mut below = 0.0;
        let mut central = Vec::new();
        for &x in &grid {
            below += 0.005 * 0.5 * (density(pair[0], x) + density(pair[1], x));
            if (0.025..=0.975).contains(&below) {
                central.push(x);
            }
        }
        let graph = gan.judging(central.len());
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        plan.write("x", &Data::F32(central.iter().map(|&x| x as f32).collect()))
            .unwrap();
        plan.run(1).unwrap();
        let found = plan.read("logits").unwrap().data.to_f64();
        let worst = central
            .iter()
            .zip(&found)
            .fold(0.0_f64, |worst, (&x, logit)| {
                let best = density(pair[0], x) / (density(pair[0], x) + density(pair[1], x));
                worst.max((1.0 / (1.0 + (-logit).exp()) - best).abs())
            });
        // The value on 10^6 fresh samples of each.
        let count = 100_000;
        let graph = Graph::new(Domain::Sampling);
        {
            let [real, fake] = logits(&gan, &graph, pair, count);
            graph.output("value", -gan.discriminator_loss(real, fake).mean_all());
        }
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        let mut sum = 0.0;
        for step in 0..10 {
            store.set_state(step, 99, 0).unwrap();
            plan.run(1).unwrap();
            sum += plan.read("value").unwrap().data.to_f64()[0];
        }
        let (found, wanted) = (sum / 10.0, value(pair));
        println!("{pair:?}: D off by {worst:.4} at most; V {found:.4}, quadrature {wanted:.4}");
        assert!(worst < 0.05, "{pair:?}: D is off by {worst}");
        assert!(
            (found - wanted).abs() < 0.02,
            "{pair:?}: V {found}, quadrature {wanted}"
        );
    }
    assert!((value([(0.0, 1.0); 2]) + 2.0 * std::f64::consts::LN_2).abs() < 1e-9);
}
