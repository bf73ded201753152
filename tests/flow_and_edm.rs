//! Processes that are continuous in their noise, flow matching and EDM's: their samplers against flows that are known, their training against
//! its formulas and finite differences. What is refused of them is in `bad_processes.rs`.

mod common;

use common::continuous::{BATCH, data, edm, flow, kinds, of, points, settings};
use common::laws::{Law, Mixture, Normal, STARTS};
use common::sampled::{rows_of, sampled};
use common::{gpu, relative_difference};
use wgen::evaluate::{Evaluator, Start};
use wgen::graph::layout::Init;
use wgen::graph::op::EvalContext;
use wgen::graph::update::{Rule, Update};
use wgen::graph::{Graph, NodeId, Sink};
use wgen::kernels::functions::Distribution;
use wgen::kernels::philox::{Domain, RandomState};
use wgen::models::Model;
use wgen::models::diffusion::process::{Density, Flow, Kind, Level, Prediction, Process, Variance};
use wgen::models::diffusion::samplers::{Reverse, SamplerSettings, epsilon_of, x0_of};
use wgen::models::diffusion::spacing::SigmaSpacing;
use wgen::models::diffusion::{Config, Diffusion};
use wgen::nn::init;
use wgen::real::Precision;
use wgen::session::Device;
use wgen::tensor::{Data, Value};

/// Where the rows of a process lead a law from `x` of its first level, the network being told the truth in its own terms.
fn ends(kind: Kind, settings: &SamplerSettings, law: &dyn Law, starts: &[f64]) -> Vec<f64> {
    let config = of(kind);
    let process = Process::new(&config).unwrap();
    let levels = settings.levels(&process, &config).unwrap();
    let prediction = match kind {
        Kind::Edm(_) => Prediction::Edm,
        _ => Prediction::Flow,
    };
    let reverse = Reverse {
        process: &process,
        prediction,
        clip: None,
        clip_guided: false,
        variance: Variance::FixedSmall,
    };
    let rows = rows_of(settings, &reverse, &levels);
    struct InTerms<'a>(&'a dyn Law, Prediction);
    impl Law for InTerms<'_> {
        fn denoise(&self, x: f64, level: Level) -> f64 {
            let [of_x, of_p] = x0_of(self.1, level);
            (self.0.denoise(x, level) - of_x * x) / of_p
        }
    }
    let told = InTerms(law, prediction);
    let end = |&x: &f64| sampled(&told, &rows, x);
    starts.iter().map(end).collect()
}

fn close(name: &str, got: &[f64], expected: &[f64]) {
    for (got, expected) in got.iter().zip(expected) {
        // Printed to eight digits.
        assert!(
            (got - expected).abs() < 2e-8,
            "{name}: {got}, not {expected}"
        );
    }
}

#[test]
fn euler_along_a_flow_is_what_the_oracles_say() {
    let euler = settings("euler", 10);
    close(
        "shift 1",
        &ends(flow(1.0), &euler, &Mixture, &STARTS),
        &[-0.98587337, -0.51165363, 0.57710135, 0.90092302],
    );
    let twice = SamplerSettings {
        shift_twice: true,
        ..euler.clone()
    };
    close(
        "shift 3 twice",
        &ends(flow(3.0), &twice, &Mixture, &STARTS),
        &[-0.91191322, -0.33411995, 0.56864419, 0.82067774],
    );
    // The same shift told to the sampler, and other names of the same step.
    let told = SamplerSettings {
        shift: Some(3.0),
        ..twice
    };
    for sampler in ["euler", "ddim"] {
        let settings = SamplerSettings {
            sampler: sampler.to_owned(),
            ..told.clone()
        };
        close(
            sampler,
            &ends(flow(1.0), &settings, &Mixture, &STARTS),
            &[-0.91191322, -0.33411995, 0.56864419, 0.82067774],
        );
    }
    let noise = Level {
        a: 0.0,
        s: 1.0,
        timestep: 1000.0,
    };
    let exact: Vec<f64> = STARTS
        .iter()
        .map(|&x| Mixture.exact(x, noise, Level::IMAGE))
        .collect();
    close(
        "exact",
        &exact,
        &[-1.08673327, -0.62698938, 0.60582478, 0.99239610],
    );
}

#[test]
fn a_flow_is_shifted_once_unless_as_diffusers_has_it() {
    let levels = |shift: f64, shift_twice: bool| {
        let config = of(flow(shift));
        let settings = SamplerSettings {
            shift_twice,
            ..settings("euler", 10)
        };
        settings
            .levels(&Process::new(&config).unwrap(), &config)
            .unwrap()
    };
    for (levels, least) in [
        (levels(1.0, false), 0.001),
        (levels(1.0, true), 0.001),
        (levels(3.0, false), 0.003 / 1.002),
        (levels(3.0, true), 0.00892857142857),
    ] {
        assert_eq!(levels.len(), 11);
        assert_eq!((levels[0].a, levels[0].s), (0.0, 1.0));
        assert_eq!(levels[0].timestep, 1000.0);
        assert!((levels[9].s - least).abs() < 1e-12, "{:?}", levels[9]);
        assert!((levels[9].timestep - 1000.0 * least).abs() < 1e-9);
        assert_eq!(levels[10], Level::IMAGE);
    }
    // SD3's levels by the first formula: S = 0.5 becomes 0.75.
    assert!((Flow::shifted(3.0, 0.5) - 0.75).abs() < 1e-15);
}

#[test]
fn heun_by_edm_is_what_the_oracles_say() {
    let heun = SamplerSettings {
        sigmas: Some(SigmaSpacing::Karras),
        ..settings("heun", 18)
    };
    let config = of(edm());
    let process = Process::new(&config).unwrap();
    let levels = heun.levels(&process, &config).unwrap();
    // c_noise, and ten of Karras' levels.
    assert!((levels[0].timestep - 1.0955).abs() < 1e-4);
    assert!((levels[17].timestep + 1.5537).abs() < 1e-4);
    let ten = SamplerSettings {
        steps: 10,
        ..heun.clone()
    };
    let sigmas = [
        80.0, 42.4152, 21.1087, 9.7232, 4.06612, 1.50174, 0.469979, 0.116639, 0.0204353, 0.002,
    ];
    let of_ten = ten.levels(&process, &config).unwrap();
    for (level, sigma) in of_ten.iter().zip(sigmas) {
        assert!((level.sigma() / sigma - 1.0).abs() < 1e-5, "{level:?}");
    }
    // x-hat = 80 z, of which x is c_in.
    let starts = STARTS.map(|z| levels[0].s * z);
    let mixture = [-1.12655835, -0.65776969, 0.62129887, 1.02527717];
    let normal = [-0.75722787, -0.07131584, 0.50907126, 1.08945836];
    close("mixture", &ends(edm(), &heun, &Mixture, &starts), &mixture);
    close("N", &ends(edm(), &heun, &Normal, &starts), &normal);
    let exact: Vec<f64> = starts
        .iter()
        .map(|&x| Mixture.exact(x, levels[0], Level::IMAGE))
        .collect();
    close(
        "exact",
        &exact,
        &[-1.08728123, -0.62866769, 0.60492808, 0.99164101],
    );
    let exact = starts.map(|x| Normal.exact(x, levels[0]));
    close(
        "exact",
        &exact,
        &[-0.70185543, -0.05186813, 0.49812113, 1.04811039],
    );
}

/// The way back of every sampler that such a process has, with ever more steps, ends where the flow does.
#[test]
fn all_samplers_of_such_a_process_find_the_flow() {
    for (kind, sigmas) in [
        (flow(1.0), None),
        (flow(3.0), None),
        (edm(), Some(SigmaSpacing::Karras)),
        (edm(), Some(SigmaSpacing::Exponential)),
    ] {
        let config = of(kind);
        let process = Process::new(&config).unwrap();
        for (sampler, most) in [
            ("euler", 3e-2),
            ("ddim", 3e-2),
            ("heun", 5e-3),
            ("dpmpp-2m", 1e-2),
            ("unipc", 1e-2),
        ] {
            let settings = SamplerSettings {
                sigmas,
                ..settings(sampler, 200)
            };
            let first = settings.levels(&process, &config).unwrap()[0];
            let starts = STARTS.map(|z| z * first.s);
            let got = ends(kind, &settings, &Mixture, &starts);
            for (x, got) in starts.into_iter().zip(got) {
                let exact = Mixture.exact(x, first, Level::IMAGE);
                assert!(
                    (got - exact).abs() < most,
                    "{} {sampler} from {x}: {got}, not {exact}",
                    kind.name()
                );
            }
        }
    }
}

#[test]
fn predictions_are_one_another_in_other_words() {
    let (y, eps) = (0.7, -1.3);
    for (kind, prediction, noise) in [
        (flow(3.0), Prediction::Flow, 0.3),
        (flow(3.0), Prediction::Flow, 1.0),
        (flow(3.0), Prediction::Sample, 0.6),
        (edm(), Prediction::Edm, 80.0),
        (edm(), Prediction::Edm, 0.4),
        (edm(), Prediction::Edm, 0.002),
    ] {
        let level = match kind {
            Kind::Edm(edm) => edm.level(noise),
            _ => Flow::level(1000, noise),
        };
        let Level { a, s, .. } = level;
        let x = a * y + s * eps;
        let p = match prediction {
            Prediction::Flow => eps - y,
            Prediction::Edm => {
                // Karras et al. 2022, eq. 7 and table 1, by their own names.
                let (sigma, sd): (f64, f64) = (noise, 0.5);
                let total = sigma * sigma + sd * sd;
                let c_skip = sd * sd / total;
                let c_out = sigma * sd / total.sqrt();
                (y - c_skip * (y + sigma * eps)) / c_out
            }
            _ => y,
        };
        let [of_x, of_p] = x0_of(prediction, level);
        assert!((of_x * x + of_p * p - y).abs() < 1e-9, "{kind:?} {noise}");
        let [of_x, of_p] = epsilon_of(prediction, level);
        assert!((of_x * x + of_p * p - eps).abs() < 1e-9, "{kind:?} {noise}");
    }
}

fn examples() -> Vec<f32> {
    (0..2 * BATCH).map(|i| (i as f32 * 0.7).sin()).collect()
}

fn leaves(model: &Diffusion, weights: &[Vec<f64>]) -> Vec<(String, Value)> {
    let mut leaves: Vec<(String, Value)> = model
        .parameters()
        .iter()
        .zip(weights)
        .map(|(p, w)| {
            let value = Value::new(p.shape.clone(), Data::F64(w.clone())).unwrap();
            (p.name.clone(), value)
        })
        .collect();
    let index = Data::U32((0..BATCH as u32).collect());
    leaves.push(("index".to_owned(), Value::new([BATCH], index).unwrap()));
    let data = Value::f32([BATCH, 2], examples()).unwrap();
    leaves.push(("data".to_owned(), data));
    leaves
}

fn values(graph: &Graph, wanted: &[NodeId], leaves: &[(String, Value)]) -> Vec<Vec<f64>> {
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState {
            seed: 3,
            step: 5,
            cursor: 0,
        },
    };
    let leaves: Vec<(&str, Value)> = leaves
        .iter()
        .map(|(n, v)| (n.as_str(), v.clone()))
        .collect();
    let values = graph.interpret(wanted, &leaves, &cx).unwrap();
    values.iter().map(|v| v.data.to_f64()).collect()
}

/// Weights that no layer begins as zero with.
fn weights(model: &Diffusion) -> Vec<Vec<f64>> {
    let drawn = model.parameters().into_iter().map(|mut p| {
        p.init = Init::Normal(0.0, if p.shape.rank() > 1 { 0.3 } else { 0.1 });
        let values = init::draw(&p, 3);
        values.into_iter().map(f64::from).collect()
    });
    drawn.collect()
}

/// What the network says of everything, as weights and biases of nothing but the last.
const SAID: [f64; 2] = [0.3, -0.2];

/// The loss of an evaluation, from the numbers that its graph draws, by the formulas of the papers.
#[test]
fn the_loss_is_that_of_the_papers() {
    for kind in kinds() {
        let model = Diffusion::new(points(kind)).unwrap();
        let graph = model.evaluation(&data(), BATCH).unwrap();
        let constant: Vec<Vec<f64>> = model
            .parameters()
            .iter()
            .map(|p| {
                if p.shape.dims() == [2] {
                    SAID.to_vec()
                } else {
                    vec![0.0; p.shape.count()]
                }
            })
            .collect();
        let leaves = leaves(&model, &constant);
        // The same streams in another graph.
        let other = Graph::new(Domain::Validation);
        let is_even = matches!(kind, Kind::Flow(flow) if flow.density == Density::Uniform);
        let distribution = if is_even {
            Distribution::Uniform
        } else {
            Distribution::Normal
        };
        let z = other.random_by_example("t", distribution, 1, BATCH, 1);
        let eps = other.normal_by_example("q_sample", 1, BATCH, 2);
        let drawn = values(&other, &[z.id(), eps.id()], &[]);
        let (z, eps) = (&drawn[0], &drawn[1]);
        let id = graph.find_output("squared_error").unwrap();
        let got = values(&graph, &[id], &leaves).remove(0);
        let y = examples();
        for i in 0..BATCH {
            let of_element = |j: usize| {
                let (y, eps) = (f64::from(y[2 * i + j]), eps[2 * i + j]);
                match kind {
                    Kind::Edm(edm) => {
                        let (sigma, sd) = ((-1.2 + 1.2 * z[i]).exp(), edm.sigma_data);
                        let total = sigma * sigma + sd * sd;
                        let (c_skip, c_out) = (sd * sd / total, sigma * sd / total.sqrt());
                        let denoised = c_skip * (y + sigma * eps) + c_out * SAID[j];
                        // lambda(sigma)
                        total / (sigma * sd).powi(2) * (denoised - y).powi(2)
                    }
                    _ => (SAID[j] - (eps - y)).powi(2),
                }
            };
            let expected = 0.5 * (of_element(0) + of_element(1));
            assert!(
                (got[i] / expected - 1.0).abs() < 1e-9,
                "{kind:?}: {}, not {expected}",
                got[i]
            );
        }
    }
}

/// A training step's gradients in f64 against central differences of its loss.
#[test]
fn gradients_of_a_step_agree_with_finite_differences() {
    let update = Update {
        rule: Rule::ADAM,
        max_norm: 0.0,
        ema: false,
        metrics: vec!["loss".to_owned()],
        set: 0,
        batch: BATCH,
        takes_data: true,
        loss_scale: false,
    };
    for kind in kinds() {
        for accumulate in [1, 2] {
            let model = Diffusion::new(Config {
                accumulate,
                ..points(kind)
            })
            .unwrap();
            let graph = model.training(0, &data(), &update).unwrap();
            let weights = weights(&model);
            let loss = graph.find_output("loss").unwrap();
            let at = |weights: &[Vec<f64>]| {
                values(&graph, &[loss], &leaves(&model, weights))[0][0] / BATCH as f64
            };
            let gradients: Vec<NodeId> = model
                .parameters()
                .iter()
                .map(|p| {
                    let sinks = graph.sinks();
                    let own = |(sink, _): &&(Sink, NodeId)| {
                        matches!(sink, Sink::Gradient(name) if *name == p.name)
                    };
                    sinks.iter().find(own).unwrap().1
                })
                .collect();
            let gradients = values(&graph, &gradients, &leaves(&model, &weights));
            let direction = |i: usize, j: usize| ((31 * i + 7 * j) as f64).sin();
            let h = 1e-5;
            let moved = |sign: f64| {
                let mut all = weights.clone();
                for (i, w) in all.iter_mut().enumerate() {
                    for (j, w) in w.iter_mut().enumerate() {
                        *w += sign * h * direction(i, j);
                    }
                }
                at(&all)
            };
            let difference = (moved(1.0) - moved(-1.0)) / (2.0 * h);
            let mut along = 0.0;
            for (i, gradient) in gradients.iter().enumerate() {
                along += gradient
                    .iter()
                    .enumerate()
                    .map(|(j, g)| g * direction(i, j))
                    .sum::<f64>();
            }
            assert!(along.abs() > 1e-3, "{kind:?}: {along}");
            assert!(
                (difference / along - 1.0).abs() < 1e-6,
                "{kind:?}, {accumulate}: finite differences {difference}, gradient {along}"
            );
        }
    }
}

#[test]
fn samples_are_the_same_on_the_gpu_and_the_cpu() {
    for kind in kinds() {
        for sampler in ["euler", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc", "ddim"] {
            let base = Diffusion::new(points(kind)).unwrap();
            let sampling = SamplerSettings {
                steps: 6,
                eta: if sampler == "ddim" { 0.5 } else { 0.0 },
                ..base.sampling_by(sampler).unwrap()
            };
            let model = base.with_sampling(&sampling).unwrap();
            let weights: Vec<Vec<f32>> = weights(&model)
                .iter()
                .map(|w| w.iter().map(|&x| x as f32).collect())
                .collect();
            let x = |device: &Device| {
                let mut evaluator = Evaluator::new(device, &model, &weights, 4, 5).unwrap();
                let samples = evaluator.samples(&model, 9, None).unwrap();
                let x = samples.x.iter().map(|&x| f64::from(x));
                x.collect::<Vec<f64>>()
            };
            let (gpu, cpu) = (x(&Device::Gpu(gpu())), x(&Device::Cpu));
            let difference = relative_difference(&gpu, &cpu);
            assert!(
                difference < 1e-4 && gpu.iter().all(|x| x.is_finite()),
                "{kind:?}, {sampler}: {difference:e}"
            );
        }
    }
}

/// Examples that are noised and led back by a network that knows the way come out as they were.
#[test]
fn a_process_begins_where_examples_are() {
    for kind in kinds() {
        let model = Diffusion::new(points(kind)).unwrap();
        let examples = examples();
        let (rest, start) = Start::noised(&model, &examples, 0.5, 7).unwrap();
        assert_eq!(rest.step_count(), 3);
        let level = rest.steps()[0].level;
        let x = start.x.unwrap();
        // x - a y is s times noise, the same for every strength.
        let noise = |x: f32, y: f32| (f64::from(x) - level.a * f64::from(y)) / level.s;
        let first = model.noised(&examples, 0, 7).unwrap().data.to_f64();
        let most = model.steps()[0].level;
        for ((&x, &y), first) in x.iter().zip(&examples).zip(first) {
            let other = (first - most.a * f64::from(y)) / most.s;
            assert!((noise(x, y) - other).abs() < 1e-4, "{kind:?}");
        }
    }
}
