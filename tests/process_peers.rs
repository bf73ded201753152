//! Flows, EDM, LCM and dynamic thresholding against loops of diffusers 0.42.1 with the same starts, noises and network. `tests/golden/diffusion_processes.py`
//! writes the tensors.

mod common;

use common::sampled::{named, rows_of, trailing};
use common::{golden, gpu, relative_difference};
use wgen::evaluate::Evaluator;
use wgen::graph::layout::{Init, Layout};
use wgen::graph::op::EvalContext;
use wgen::graph::{Graph, StepInputs, Var};
use wgen::kernels::philox::{Domain, RandomState};
use wgen::kernels::reverse_step::{COLUMNS, column};
use wgen::kernels::timestep_embedding::Convention;
use wgen::models::Model;
use wgen::models::diffusion::process::{
    Config, Edm, Flow, Kind, Prediction, Process, Rounding, Variance,
};
use wgen::models::diffusion::samplers::{self, Reverse, ReverseStep, SamplerSettings, thresholded};
use wgen::models::diffusion::spacing::{SigmaSpacing, Spacing};
use wgen::models::diffusion::{self, Diffusion, Network, mlp};
use wgen::nn::init;
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::real::Precision;
use wgen::session::Device;
use wgen::tensor::{Data, ImageShape, TensorType, Value};

/// Samples, elements of one.
const SIZES: [usize; 2] = [3, 20];
const COUNT: usize = SIZES[0] * SIZES[1];

/// What the script's network says.
fn network(x: f64, t: f64) -> f64 {
    0.8 * (3.0 * x).sin() + 0.4 * (t / 100.0).cos()
}

/// Of variance-preserving processes here, as diffusers keeps them.
fn betas() -> Config {
    Config {
        rounding: Rounding::F32,
        ..Config::default()
    }
}

fn own_levels(kind: Kind) -> Config {
    Config {
        kind,
        ..Config::default()
    }
}

struct Case {
    name: &'static str,
    config: Config,
    prediction: Prediction,
    settings: SamplerSettings,
    gain: f64,
}

fn cases() -> Vec<Case> {
    let of = |name, config, prediction, settings| Case {
        name,
        config,
        prediction,
        settings,
        gain: 1.0,
    };
    let linspace = |settings: SamplerSettings| SamplerSettings {
        spacing: Spacing::Linspace,
        ..settings
    };
    let distilled = SamplerSettings {
        original_steps: Some(25),
        ..named("lcm", 3)
    };
    let twice = SamplerSettings {
        shift_twice: true,
        ..linspace(named("euler", 6))
    };
    let shifted = Flow {
        shift: 3.0,
        ..Flow::default()
    };
    let by = |sigmas, settings| SamplerSettings {
        sigmas: Some(sigmas),
        ..linspace(settings)
    };
    let other = Edm {
        sigma_data: 0.7,
        sigma_min: 0.01,
        sigma_max: 40.0,
        ..Edm::default()
    };
    use Prediction::{Epsilon, Velocity};
    let mut all = vec![
        of("lcm", betas(), Epsilon, named("lcm", 4)),
        of("lcm_v", betas(), Velocity, distilled),
        of(
            "flow",
            own_levels(Kind::Flow(Flow::default())),
            Prediction::Flow,
            linspace(named("euler", 6)),
        ),
        of(
            "flow_shifted",
            own_levels(Kind::Flow(shifted)),
            Prediction::Flow,
            twice,
        ),
        of(
            "edm",
            own_levels(Kind::Edm(Edm::default())),
            Prediction::Edm,
            by(SigmaSpacing::Karras, named("euler", 6)),
        ),
        of(
            "edm_exponential",
            own_levels(Kind::Edm(other)),
            Prediction::Edm,
            by(SigmaSpacing::Exponential, named("euler", 5)),
        ),
    ];
    for (name, settings) in [
        ("threshold_ddim", trailing(named("ddim", 5))),
        ("threshold_ddpm", trailing(named("ddpm", 5))),
        ("threshold_dpmpp-2m", trailing(named("dpmpp-2m", 6))),
        ("threshold_unipc", trailing(named("unipc", 6))),
        ("threshold_lcm", named("lcm", 4)),
    ] {
        let settings = SamplerSettings {
            threshold: Some(0.9),
            threshold_max: Some(2.5),
            ..settings
        };
        all.push(Case {
            gain: 1.5,
            ..of(name, betas(), Epsilon, settings)
        });
    }
    all
}

fn rows(case: &Case) -> Vec<ReverseStep> {
    let process = Process::new(&case.config).unwrap();
    let levels = case.settings.levels(&process, &case.config).unwrap();
    let reverse = Reverse {
        process: &process,
        prediction: case.prediction,
        clip: None,
        clip_guided: false,
        variance: Variance::FixedSmall,
    };
    rows_of(&case.settings, &reverse, &levels)
}

/// One row: outputs `next`, `x0` and `keep`.
fn step(graph: &Graph, settings: &SamplerSettings) {
    let shape = [SIZES[0], SIZES[1], 1];
    let input = |name: &str| graph.input(name, TensorType::f32(shape));
    let (x, p, noise) = (input("x"), input("p"), input("noise"));
    let row = graph.input("row", TensorType::f32([COLUMNS]));
    let of = |column: usize| row.slice(0, column, column + 1);
    let x0 = x.predict_x0(p, row, None);
    let x0 = match settings.threshold {
        Some(ratio) => thresholded(x0.reshape(SIZES), ratio, settings.threshold_max).reshape(shape),
        None => x0,
    };
    let inputs = StepInputs {
        prediction: Some(p),
        previous: Some(input("previous")),
        kept: Some(input("kept")),
        ..StepInputs::default()
    };
    graph.output("next", x.reverse_step_with(x0, row, noise, &inputs));
    graph.output("x0", x0);
    let kept: Var<'_> = of(column::KEEP_X) * x
        + of(column::KEEP_X0) * x0
        + of(column::KEEP_PREVIOUS) * inputs.previous.unwrap()
        + of(column::KEEP_KEPT) * inputs.kept.unwrap();
    graph.output("keep", kept);
}

type Run<'a> = dyn FnMut(&[(&str, Value)]) -> [Vec<f64>; 3] + 'a;

/// The largest difference of any step's sample from diffusers', relative to their range.
fn difference(case: &Case, run: &mut Run<'_>) -> f64 {
    let tensors = golden("diffusion_processes");
    let tensor = |name: &str| tensors[&format!("{}/{name}", case.name)].data.to_f64();
    let rows = rows(case);
    let (timesteps, expected, noises) = (tensor("timesteps"), tensor("x"), tensor("noise"));
    assert_eq!(rows.len(), timesteps.len(), "{}", case.name);
    let shape = [SIZES[0], SIZES[1], 1];
    // EDM's x is shown to the network times c_in; ours is that.
    let scaled = |level: usize| match (case.config.kind, rows.get(level)) {
        (Kind::Edm(_), Some(row)) => row.level.a,
        _ => 1.0,
    };
    let mut x: Vec<f64> = tensor("start").iter().map(|x| x * scaled(0)).collect();
    let (mut previous, mut kept) = (vec![0.0; COUNT], vec![0.0; COUNT]);
    let mut worst = 0.0_f64;
    for (i, row) in rows.iter().enumerate() {
        let t = row.level.timestep;
        assert!((t - timesteps[i]).abs() < 1e-3, "{}: {t}", case.name);
        let p = x.iter().map(|&x| case.gain * network(x, t)).collect();
        let noise = noises[i * COUNT..(i + 1) * COUNT].to_vec();
        let of = |values: Vec<f64>| Value::new(shape, Data::F64(values)).unwrap();
        let row = Value::f32([COLUMNS], row.coefficients(1.0, 0.0).to_vec()).unwrap();
        let [next, x0, keep] = run(&[
            ("x", of(x)),
            ("p", of(p)),
            ("noise", of(noise)),
            ("row", row),
            ("previous", of(previous)),
            ("kept", of(kept)),
        ]);
        let ours: Vec<f64> = next.iter().map(|x| x / scaled(i + 1)).collect();
        let theirs = &expected[i * COUNT..(i + 1) * COUNT];
        worst = worst.max(relative_difference(&ours, theirs));
        (x, previous, kept) = (next, x0, keep);
    }
    worst
}

#[test]
fn loops_agree_with_diffusers() {
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState::default(),
    };
    for case in cases() {
        let graph = Graph::new(Domain::Sampling);
        step(&graph, &case.settings);
        let wanted = ["next", "x0", "keep"].map(|name| graph.find_output(name).unwrap());
        let worst = difference(&case, &mut |leaves| {
            let values = graph.interpret(&wanted, leaves, &cx).unwrap();
            [0, 1, 2].map(|i| values[i].data.to_f64())
        });
        println!("{}: {worst:e}", case.name);
        assert!(worst < 1e-4, "{}: {worst:e}", case.name);
    }
}

#[test]
fn kernels_run_the_same_loops() {
    let gpu = gpu();
    let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    for case in cases() {
        let graph = Graph::new(Domain::Sampling);
        step(&graph, &case.settings);
        let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
        let worst = difference(&case, &mut |leaves| {
            for (name, value) in leaves {
                let data = Data::F32(value.data.to_f32());
                plan.write(name, &data).unwrap();
            }
            plan.run(1).unwrap();
            ["next", "x0", "keep"].map(|name| plan.read(name).unwrap().data.to_f64())
        });
        assert!(worst < 1e-4, "{}: {worst:e}", case.name);
    }
}

#[test]
fn lcm_visits_what_it_was_distilled_at() {
    let process = Process::new(&betas()).unwrap();
    let timesteps = |steps: usize, original: Option<usize>| -> Vec<f64> {
        let settings = SamplerSettings {
            original_steps: original,
            ..named("lcm", steps)
        };
        let levels = settings.levels(&process, &betas()).unwrap();
        levels[..steps].iter().map(|l| l.timestep).collect()
    };
    assert_eq!(timesteps(4, None), [999.0, 759.0, 499.0, 259.0]);
    assert_eq!(timesteps(1, None), [999.0]);
    assert_eq!(timesteps(2, Some(2)), [999.0, 499.0]);
    // The last step's guess is the sample: no noise comes to it.
    let case = &cases()[0];
    let rows = rows(case);
    assert!(rows[..3].iter().all(|r| r.noise) && !rows[3].noise);
    assert_eq!(rows[3].mean.p, 0.0);
    assert_eq!(samplers::find("lcm").unwrap().scheduler, "LCMScheduler");
}

#[test]
fn timesteps_between_the_integers_and_below_zero_have_their_embedding() {
    let tensors = golden("diffusion_processes");
    let t = tensors["embedding/t"].data.to_f64();
    let count = t.len();
    let cx = EvalContext {
        precision: Precision::F64,
        state: RandomState::default(),
    };
    for (name, convention) in [("ddpm", Convention::DDPM), ("adm", Convention::ADM)] {
        let expected = tensors[&format!("embedding/{name}")].data.to_f64();
        let graph = Graph::new(Domain::Sampling);
        let words = graph.input("words", TensorType::u32([count]));
        let reals = graph.input("reals", TensorType::f32([count]));
        let of = [words, reals].map(|v| v.timestep_embedding(32, convention, 20).id());
        let fixed = t
            .iter()
            .map(|t| (t * f64::from(1 << 20)).round() as i32 as u32);
        let leaves = [
            (
                "words",
                Value::new([count], Data::U32(fixed.collect())).unwrap(),
            ),
            ("reals", Value::new([count], Data::F64(t.clone())).unwrap()),
        ];
        for value in graph.interpret(&of, &leaves, &cx).unwrap() {
            let difference = relative_difference(&value.data.to_f64(), &expected);
            // Half a unit of 2^-20, a turn's rounding to 24 bits, and that of t's product.
            assert!(difference < 1.5e-6, "{name}: {difference:e}");
        }
    }
}

const SHAPE: ImageShape = ImageShape {
    height: 1,
    width: 9,
    channels: 1,
};

fn model(sampling: SamplerSettings) -> Diffusion {
    let network = mlp::Config {
        width: 9,
        hidden: 16,
        blocks: 1,
        outputs: 9,
        classes: 0,
    };
    let config = diffusion::Config {
        sampling,
        clip: Some(1.0),
        ..diffusion::Config::of(SHAPE, false, Network::Mlp(network))
    };
    Diffusion::new(config).unwrap()
}

#[test]
fn thresholded_samples_are_the_same_on_the_gpu_and_the_cpu() {
    let weights = |model: &Diffusion| -> Vec<Vec<f32>> {
        let drawn = model.parameters().into_iter().map(|mut p| {
            p.init = Init::Normal(0.0, if p.shape.rank() > 1 { 0.4 } else { 0.1 });
            init::draw(&p, 3)
        });
        drawn.collect()
    };
    for sampler in ["ddim", "dpmpp-2m", "unipc", "lcm"] {
        let samples = |threshold: Option<f64>, most: Option<f64>, device: &Device| {
            let model = model(SamplerSettings {
                threshold,
                threshold_max: most,
                ..named(sampler, 4)
            });
            let mut evaluator = Evaluator::new(device, &model, &weights(&model), 4, 5).unwrap();
            let samples = evaluator.samples(&model, 6, None).unwrap();
            let x = samples.x.iter().map(|&x| f64::from(x));
            x.collect::<Vec<f64>>()
        };
        let gpu = Device::Gpu(gpu());
        let on_gpu = samples(Some(0.8), None, &gpu);
        let difference = relative_difference(&on_gpu, &samples(Some(0.8), None, &Device::Cpu));
        assert!(difference < 1e-4, "{sampler}: {difference:e}");
        // With no room above 1 it is clipping; with room it is not.
        let clipped = samples(None, None, &Device::Cpu);
        let by_one = samples(Some(0.8), Some(1.0), &Device::Cpu);
        assert!(relative_difference(&by_one, &clipped) < 1e-6, "{sampler}");
        assert!(relative_difference(&on_gpu, &clipped) > 1e-3, "{sampler}");
    }
}

#[test]
fn settings_that_are_none_are_refused() {
    let said = |settings: SamplerSettings| {
        let config = diffusion::Config {
            sampling: settings,
            ..model(SamplerSettings::default()).config().clone()
        };
        Diffusion::new(config).unwrap_err().to_string()
    };
    let usual = SamplerSettings::default;
    for (settings, words) in [
        (
            SamplerSettings {
                threshold: Some(0.0),
                ..usual()
            },
            "`threshold` 0 must be above 0 and at most 1",
        ),
        (
            SamplerSettings {
                threshold: Some(f64::NAN),
                ..usual()
            },
            "`threshold` NaN",
        ),
        (
            SamplerSettings {
                threshold: Some(0.9),
                threshold_max: Some(0.5),
                ..usual()
            },
            "`threshold_max` 0.5 must be at least 1",
        ),
        (
            SamplerSettings {
                threshold_max: Some(2.0),
                ..usual()
            },
            "it goes with that",
        ),
        (
            SamplerSettings {
                original_steps: Some(50),
                ..usual()
            },
            "`original_steps` is of lcm, not of ddim",
        ),
        (
            SamplerSettings {
                original_steps: Some(0),
                ..named("lcm", 4)
            },
            "`original_steps` 0; from 1 to 1000",
        ),
        (named("lcm", 51), "51 sampling steps; from 1 to 50"),
        (
            SamplerSettings {
                sigmas: Some(SigmaSpacing::Karras),
                ..named("lcm", 4)
            },
            "goes with no `spacing` by noise",
        ),
    ] {
        let said = said(settings);
        assert!(said.contains(words), "{said}");
    }
    // A quantile of what has none.
    let graph = Graph::new(Domain::Sampling);
    let x = graph.input("x", TensorType::f32([2, 3]));
    graph.output("y", x.quantile(1.5));
    let said = graph.check().unwrap_err().to_string();
    assert!(said.contains("ratio 1.5; from 0 to 1"), "{said}");
}
