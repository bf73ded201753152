//! Samplers against laws whose probability flow is known: what oracles say after ten steps, errors at few, orders of convergence, rows; in f64, and
//! the kernels that run the rows against that.

mod common;

use common::gpu;
use common::laws::{Law, Mixture, Normal, STARTS};
use common::sampled::{
    State, apply, by_sigma, heun_type, levels_of, named, of_x0, rows_of, sampled, trailing,
};
use wgen::graph::layout::Layout;
use wgen::graph::{Graph, StepInputs};
use wgen::kernels::philox::Domain;
use wgen::kernels::reverse_step::{COLUMNS, column};
use wgen::models::diffusion::process::{Config, Level, Process};
use wgen::models::diffusion::samplers::{Combination, ReverseStep, SamplerSettings};
use wgen::models::diffusion::spacing::SigmaSpacing;
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::tensor::{Data, TensorType};

type Oracle = (&'static str, SamplerSettings, [f64; 4]);

/// The mixture after ten steps, from x of the process's first level.
fn oracles() -> Vec<Oracle> {
    let of = |sampler: &str| named(sampler, 10);
    let karras = |s: SamplerSettings| by_sigma(s, SigmaSpacing::Karras);
    let exponential = |s: SamplerSettings| by_sigma(s, SigmaSpacing::Exponential);
    vec![
        (
            "first",
            trailing(of("euler")),
            [-0.91691527, -0.38071501, 0.57314870, 0.82892179],
        ),
        (
            "first, by its first name",
            trailing(of("ddim")),
            [-0.91691527, -0.38071501, 0.57314870, 0.82892179],
        ),
        (
            "first, as a solver of order 1",
            SamplerSettings {
                solver_order: 1,
                ..trailing(of("dpmpp-2m"))
            },
            [-0.91691527, -0.38071501, 0.57314870, 0.82892179],
        ),
        (
            "first, Karras",
            karras(of("euler")),
            [-0.90864346, -0.22502438, 0.52821207, 0.83538951],
        ),
        (
            "ancestral",
            trailing(of("euler-a")),
            [0.93593382, 0.93685873, 0.93763980, 0.93841947],
        ),
        (
            "ancestral, ddpm",
            trailing(of("ddpm")),
            [0.93593382, 0.93685873, 0.93763980, 0.93841947],
        ),
        (
            "ancestral, ddim with eta 1",
            SamplerSettings {
                eta: 1.0,
                ..trailing(of("ddim"))
            },
            [0.93593382, 0.93685873, 0.93763980, 0.93841947],
        ),
        (
            "ancestral, Karras",
            karras(of("euler-a")),
            [0.87493910, 0.87623712, 0.87733039, 0.87841908],
        ),
        (
            "2M",
            trailing(of("dpmpp-2m")),
            [-0.95538529, -0.51798480, 0.60414398, 0.86106992],
        ),
        (
            "2M, Karras",
            karras(of("dpmpp-2m")),
            [-1.26989587, -0.63244193, 0.69889720, 1.09064154],
        ),
        (
            "2M, heun type",
            heun_type(trailing(of("dpmpp-2m"))),
            [-0.95966685, -0.53209715, 0.60779491, 0.86468889],
        ),
        (
            "2M, heun type, Karras",
            heun_type(karras(of("dpmpp-2m"))),
            [-1.40430046, -0.76307537, 0.76514320, 1.18716299],
        ),
        (
            "2M SDE",
            trailing(of("dpmpp-2m-sde")),
            [0.97794138, 0.97867153, 0.97928947, 0.97990751],
        ),
        (
            "2M SDE, Karras",
            karras(of("dpmpp-2m-sde")),
            [1.19977337, 1.19986310, 1.19994105, 1.20002087],
        ),
        (
            "Heun",
            trailing(of("heun")),
            [-0.95925618, -0.65776325, 0.61246718, 0.87791258],
        ),
        (
            "Heun, Karras",
            karras(of("heun")),
            [-1.30010682, -0.72464472, 0.69973466, 1.15464993],
        ),
        (
            "UniPC",
            trailing(of("unipc")),
            [-0.95834724, -0.53880363, 0.60890617, 0.86329104],
        ),
        (
            "UniPC, Karras",
            karras(of("unipc")),
            [-1.27342703, -0.67393760, 0.71105895, 1.10089262],
        ),
        (
            "2M, exponential",
            exponential(of("dpmpp-2m")),
            [-1.16884230, -0.60613963, 0.63750483, 1.03911846],
        ),
        (
            "UniPC, exponential",
            exponential(of("unipc")),
            [-1.15252899, -0.63457517, 0.63670134, 1.03943615],
        ),
    ]
}

#[test]
fn the_mixture_after_ten_steps_is_what_the_oracles_say() {
    for (name, settings, expected) in oracles() {
        let (process, levels) = levels_of(&settings);
        let rows = rows_of(&settings, &of_x0(&process), &levels);
        assert_eq!(rows.len(), if settings.sampler == "heun" { 19 } else { 10 });
        for (start, expected) in STARTS.into_iter().zip(expected) {
            let x = sampled(&Mixture, &rows, start);
            assert!(
                (x - expected).abs() < 2e-8,
                "{name} from {start}: {x}, not {expected}"
            );
        }
    }
    // And the flow itself.
    let (process, levels) = levels_of(&trailing(named("euler", 10)));
    let exact = [-1.08702678, -0.62785989, 0.60537383, 0.99202690];
    for (start, expected) in STARTS.into_iter().zip(exact) {
        let x = Mixture.exact(start, levels[0], Level::IMAGE);
        assert!((x - expected).abs() < 2e-8, "{x}, not {expected}");
    }
    assert!((process.level(0).sigma() - 0.010000500).abs() < 1e-9);
    assert!((process.level(999).sigma() - 157.407280810).abs() < 1e-8);
}

/// The largest error over the starts, from T.
fn largest_error(settings: &SamplerSettings, normal: bool) -> f64 {
    let (process, levels) = levels_of(settings);
    let rows = rows_of(settings, &of_x0(&process), &levels);
    let of = |start: f64| {
        if normal {
            sampled(&Normal, &rows, start) - Normal.exact(start, levels[0])
        } else {
            sampled(&Mixture, &rows, start) - Mixture.exact(start, levels[0], Level::IMAGE)
        }
    };
    STARTS.into_iter().map(|x| of(x).abs()).fold(0.0, f64::max)
}

#[test]
fn errors_at_few_steps_are_those_of_diffusers() {
    let karras = |name: &str, n: usize| by_sigma(named(name, n), SigmaSpacing::Karras);
    let plain = |name: &str, n: usize| named(name, n);
    let ends = |name: &str, n: usize| trailing(named(name, n));
    type Kind<'a> = &'a dyn Fn(&str, usize) -> SamplerSettings;
    let exponential = |name: &str, n: usize| by_sigma(named(name, n), SigmaSpacing::Exponential);
    // N and the mixture at 5, 10 and 20 steps: printed to three digits.
    let table: [(&str, Kind<'_>, [f64; 3], [f64; 3]); 6] = [
        ("ddim", &ends, [0.475, 0.260, 0.137], [0.476, 0.247, 0.100]),
        (
            "dpmpp-2m",
            &plain,
            [0.460, 0.193, 0.046],
            [0.448, 0.133, 0.069],
        ),
        (
            "dpmpp-2m",
            &karras,
            [0.061, 0.105, 0.051],
            [0.335, 0.183, 0.042],
        ),
        (
            "dpmpp-2m",
            &exponential,
            [0.200, 0.033, 0.014],
            [0.422, 0.082, 0.016],
        ),
        (
            "unipc",
            &karras,
            [0.054, 0.139, 0.041],
            [0.345, 0.186, 0.023],
        ),
        ("heun", &plain, [0.510, 0.087, 0.020], [0.756, 0.127, 0.027]),
    ];
    for (name, kind, of_normal, of_mixture) in table {
        for (i, steps) in [5, 10, 20].into_iter().enumerate() {
            let settings = kind(name, steps);
            for (normal, expected) in [(true, of_normal[i]), (false, of_mixture[i])] {
                let error = largest_error(&settings, normal);
                assert!(
                    (error - expected).abs() < 6e-4,
                    "{settings:?}, normal: {normal}: {error}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn solvers_converge_in_their_order() {
    let process = Process::new(&Config::default()).unwrap();
    let reverse = of_x0(&process);
    // Sigma from 20 to 0.05, evenly in lambda.
    let levels = |count: usize| -> Vec<Level> {
        let sigma = |i: usize| 20.0_f64 * (0.05_f64 / 20.0).powf(i as f64 / count as f64);
        (0..=count)
            .map(|i| Level::of_sigma(sigma(i), 0.0))
            .collect()
    };
    let error = |settings: &SamplerSettings, count: usize| {
        let levels = levels(count);
        let settings = SamplerSettings {
            steps: count,
            lower_order_final: !matches!(settings.sampler.as_str(), "dpmpp-2m" | "unipc"),
            ..settings.clone()
        };
        let rows = rows_of(&settings, &reverse, &levels);
        let of = |start: f64| {
            let x = start * levels[0].s;
            sampled(&Mixture, &rows, x) - Mixture.exact(x, levels[0], levels[count])
        };
        STARTS.into_iter().map(|x| of(x).abs()).fold(0.0, f64::max)
    };
    for (settings, least) in [
        (named("euler", 10), 0.9),
        (named("ddim", 10), 0.9),
        (named("dpmpp-2m", 10), 1.9),
        (heun_type(named("dpmpp-2m", 10)), 1.9),
        (named("heun", 10), 1.9),
        (named("unipc", 10), 2.8),
    ] {
        let errors: Vec<f64> = [10, 20, 40, 80, 160].map(|n| error(&settings, n)).to_vec();
        // The slope over all doublings, and of the last.
        let order = (errors[0] / errors[4]).log2() / 4.0;
        let last = (errors[3] / errors[4]).log2();
        assert!(
            order > least && last > least,
            "{}, {:?}: {errors:?}, order {order}, {last} at the end",
            settings.sampler,
            settings.solver_type
        );
    }
}

#[test]
fn rows_of_trailing_steps_are_those_of_the_notes() {
    let at = |settings: &SamplerSettings, i: usize| {
        let (process, levels) = levels_of(settings);
        rows_of(settings, &of_x0(&process), &levels)[i]
    };
    let close = |name: &str, got: f64, expected: f64| {
        assert!(
            (got - expected).abs() < 1e-9,
            "{name}: {got}, not {expected}"
        );
    };
    let row = at(&trailing(named("euler", 10)), 5);
    close("a", row.level.a, 0.280334163);
    close("s", row.level.s, 0.959902473);
    close("first, x", row.mean.x, 0.934611936);
    close("first, m", row.mean.x0, 0.179750174);
    let row = at(&trailing(named("euler-a", 10)), 5);
    close("ancestral, x", row.mean.x, 0.554317194);
    close("ancestral, m", row.mean.x0, 0.286359782);
    close(
        "ancestral, z",
        (0.5 * row.min_log_variance).exp(),
        0.722311092,
    );
    let row = at(&trailing(named("dpmpp-2m", 10)), 5);
    close("2M, m", row.mean.x0, 0.260255415);
    close("2M, h1", row.mean.previous, -0.0805052412);
    let row = at(&trailing(named("dpmpp-2m-sde", 10)), 5);
    close("2M SDE, m", row.mean.x0, 0.414612583);
    close("2M SDE, h1", row.mean.previous, -0.128252801);
    let row = at(&trailing(named("dpmpp-2m", 10)), 8);
    close("2M at 8, x", row.mean.x, 0.54957591);
    close("2M at 8, m", row.mean.x0, 0.850312241);
    close("2M at 8, h1", row.mean.previous, -0.349354067);
    // UniPC's corrected c' of step 5 is what step 4 kept and this step's prediction; c was what step 3 kept and step 4's.
    let unipc = trailing(named("unipc", 10));
    let (before, row) = (at(&unipc, 4), at(&unipc, 5));
    close("UniPC, c", row.mean.kept * before.keep.kept, 0.908975269);
    close("UniPC, m", row.mean.x0, 0.314779335);
    close(
        "UniPC, h2",
        row.mean.kept * before.keep.previous,
        -0.00784751129,
    );
    close("UniPC, c' of h2", before.keep.previous, -0.00839654513);
    close("UniPC, c' of c", before.keep.kept, 0.97256972);
}

/// The kernels on the GPU, one row a run, the network's prediction written by the host: x after each row.
fn on_the_gpu(rows: &[ReverseStep], law: &dyn Law, starts: &[f64]) -> Vec<Vec<f64>> {
    let shape = [starts.len(), 1, 1];
    let gpu = gpu();
    let layout = Layout::new(Vec::new(), 1 << 20).unwrap();
    let store = Store::new(&gpu, layout, StoreOptions::default()).unwrap();
    let graph = Graph::new(Domain::Sampling);
    let input = |name: &str| graph.input(name, TensorType::f32(shape));
    let (x, p, noise) = (input("x"), input("p"), input("noise"));
    let inputs = StepInputs {
        previous: Some(input("previous")),
        kept: Some(input("kept")),
        ..StepInputs::default()
    };
    let row = graph.input("row", TensorType::f32([COLUMNS]));
    let of = |column: usize| row.slice(0, column, column + 1);
    let x0 = x.predict_x0(p, row, None);
    let next = x.reverse_step_with(x0, row, noise, &inputs);
    let kept = of(column::KEEP_X) * x
        + of(column::KEEP_X0) * x0
        + of(column::KEEP_PREVIOUS) * inputs.previous.unwrap()
        + of(column::KEEP_KEPT) * inputs.kept.unwrap();
    graph.output("next", next);
    graph.feed_back("x", next);
    graph.feed_back("previous", x0);
    graph.feed_back("kept", kept);
    let plan = Plan::compile(&graph, &store, &[], PlanOptions::default()).unwrap();
    let write = |name: &str, values: Vec<f32>| plan.write(name, &Data::F32(values)).unwrap();
    let mut xs: Vec<f64> = starts.to_vec();
    write("x", starts.iter().map(|&x| x as f32).collect());
    for name in ["previous", "kept"] {
        write(name, vec![0.0; starts.len()]);
    }
    write("noise", vec![1.0; starts.len()]);
    let mut all = Vec::new();
    for row in rows {
        write("row", row.coefficients(1.0, 0.0).to_vec());
        write(
            "p",
            xs.iter()
                .map(|&x| law.denoise(x, row.level) as f32)
                .collect(),
        );
        plan.run(1).unwrap();
        xs = plan.read("next").unwrap().data.to_f64();
        all.push(xs.clone());
    }
    all
}

/// Each row's x in f64, and how far f32 may take it: every rounding of coefficients, operands and sums, passed on by the rows and the law as they
/// change with what they read. Signs count: of Heun's pair both rows have the same error of x.
fn bounds(rows: &[ReverseStep], law: &dyn Law, start: f64) -> Vec<(f64, f64)> {
    let unit = 2_f64.powi(-24);
    let mut state = State {
        x: start,
        ..State::default()
    };
    // What each rounding has made of x, of the prediction before and of what was kept.
    let mut errors = vec![[unit * start.abs(), 0.0, 0.0]];
    let mut all = Vec::new();
    for row in rows {
        let p = law.denoise(state.x, row.level);
        let near = 1e-4;
        let ahead = law.denoise(state.x + near, row.level);
        let slope = (ahead - law.denoise(state.x - near, row.level)) / (2.0 * near);
        for error in &mut errors {
            let [x, previous, kept] = *error;
            let passed =
                |c: &Combination| (c.x + c.x0 * slope) * x + c.previous * previous + c.kept * kept;
            *error = [passed(&row.mean), slope * x, passed(&row.keep)];
        }
        // x_0 is p: rounded where it is written and as a product. Of a sum each coefficient, product and partial sum; exp is good to 4 units.
        let of_x0 = 3.0 * unit * p.abs();
        let z = if row.noise {
            (0.5 * row.min_log_variance).exp()
        } else {
            0.0
        };
        let rounded = |c: &Combination, z: f64| {
            let terms = [
                c.x * state.x,
                c.x0 * p,
                c.previous * state.previous,
                c.kept * state.kept,
                4.0 * z,
            ];
            8.0 * unit * terms.iter().map(|t| t.abs()).sum::<f64>()
        };
        errors.push([row.mean.x0 * of_x0, of_x0, row.keep.x0 * of_x0]);
        errors.push([rounded(&row.mean, z), 0.0, 0.0]);
        errors.push([0.0, 0.0, rounded(&row.keep, 0.0)]);
        apply(row, &mut state, p, 1.0);
        all.push((state.x, errors.iter().map(|[x, ..]| x.abs()).sum()));
    }
    all
}

#[test]
fn kernels_run_the_rows() {
    for (name, settings, _) in oracles() {
        // The unclipped noise of DDIM is the prediction's: its rows read it, which `tests/diffusion.rs` runs.
        let settings = SamplerSettings {
            use_clipped_model_output: (settings.sampler == "ddim").then_some(true),
            ..settings
        };
        let (process, levels) = levels_of(&settings);
        let rows = rows_of(&settings, &of_x0(&process), &levels);
        let got = on_the_gpu(&rows, &Mixture, &STARTS);
        for (i, &start) in STARTS.iter().enumerate() {
            for (step, &(x, bound)) in bounds(&rows, &Mixture, start).iter().enumerate() {
                let error = (got[step][i] - x).abs();
                assert!(
                    error <= bound,
                    "{name} from {start}, row {step}: {} is {error:e} from {x}, more than {bound:e}",
                    got[step][i]
                );
                assert!(bound < 1e-3, "{name}: a bound of {bound:e} says nothing");
            }
        }
    }
}
