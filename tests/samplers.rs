//! Samplers against laws whose probability flow is known, against the schedules, rows and figures of diffusers 0.42.1 and against
//! guided-diffusion's loops; rows on the CPU in f64, and the kernels that run them against those.

mod common;

use common::{golden, gpu};
use wgen::graph::layout::Layout;
use wgen::graph::{Graph, StepInputs};
use wgen::kernels::philox::Domain;
use wgen::kernels::reverse_step::{COLUMNS, column};
use wgen::models::diffusion::process::{
    BetaSchedule, Config, Level, Prediction, Process, Rounding, Variance,
};
use wgen::models::diffusion::samplers::{
    Combination, Reverse, ReverseStep, SamplerSettings, SolverType, find,
};
use wgen::models::diffusion::spacing::{LastSigma, SigmaSpacing, Spacing};
use wgen::plan::{Plan, Store, StoreOptions};
use wgen::program::PlanOptions;
use wgen::tensor::{Data, TensorType};

/// Something that knows E[x_0 | x] at a level.
trait Law {
    fn denoise(&self, x: f64, level: Level) -> f64;
}

/// N(0.3, 0.5^2).
struct Normal;

impl Law for Normal {
    fn denoise(&self, x: f64, Level { a, s, .. }: Level) -> f64 {
        let (mean, deviation) = (0.3, 0.5_f64);
        let variance = (a * deviation).powi(2) + s * s;
        mean + a * deviation * deviation * (x - a * mean) / variance
    }
}

impl Normal {
    /// Where the flow goes from x at a level.
    fn exact(&self, x: f64, Level { a, s, .. }: Level) -> f64 {
        0.3 + 0.5 * (x - a * 0.3) / ((a * 0.5).powi(2) + s * s).sqrt()
    }
}

/// 0.3 N(-0.8, 0.2^2) + 0.7 N(0.6, 0.3^2).
struct Mixture;

/// Weight, mean, deviation.
const PARTS: [[f64; 3]; 2] = [[0.3, -0.8, 0.2], [0.7, 0.6, 0.3]];

impl Law for Mixture {
    fn denoise(&self, x: f64, Level { a, s, .. }: Level) -> f64 {
        let parts = PARTS.map(|[weight, mean, deviation]| {
            let variance = (a * deviation).powi(2) + s * s;
            let off = x - a * mean;
            let density = weight * (-0.5 * off * off / variance).exp() / variance.sqrt();
            [density, mean + a * deviation * deviation * off / variance]
        });
        parts.iter().map(|[p, m]| p * m).sum::<f64>() / parts.iter().map(|[p, _]| p).sum::<f64>()
    }
}

/// The error function, to the last digits of f64: its series, and beyond 3 its continued fraction.
fn error_function(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 3.0 {
        let mut term = z;
        let mut sum = z;
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut tail = z;
        for n in (1..100).rev() {
            tail = z + f64::from(n) / 2.0 / tail;
        }
        1.0 - (-z * z).exp() / (tail * std::f64::consts::PI.sqrt())
    };
    value * x.signum()
}

impl Mixture {
    fn distribution(&self, x: f64, Level { a, s, .. }: Level) -> f64 {
        let part = |[weight, mean, deviation]: [f64; 3]| {
            let scale = (2.0 * ((a * deviation).powi(2) + s * s)).sqrt();
            weight * 0.5 * (1.0 + error_function((x - a * mean) / scale))
        };
        PARTS.into_iter().map(part).sum()
    }

    /// Where the flow goes from x at a level to another: it keeps the distribution function.
    fn exact(&self, x: f64, from: Level, to: Level) -> f64 {
        let share = self.distribution(x, from);
        let (mut low, mut high) = (-9.0, 9.0);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if self.distribution(middle, to) < share {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }
}

/// The starts of the oracles.
const STARTS: [f64; 4] = [-2.0, -0.7, 0.4, 1.5];

/// What becomes of one number.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    x: f64,
    previous: f64,
    kept: f64,
}

fn combined(of: &Combination, state: &State, x0: f64, p: f64) -> f64 {
    of.x * state.x + of.x0 * x0 + of.p * p + of.previous * state.previous + of.kept * state.kept
}

/// One row in f64: p the network's prediction, z the noise.
fn apply(row: &ReverseStep, state: &mut State, p: f64, z: f64) {
    let x0 = (row.x0_x * state.x + row.x0_p * p).clamp(-row.clip, row.clip);
    let noise = if row.noise {
        (0.5 * row.min_log_variance).exp() * z
    } else {
        0.0
    };
    *state = State {
        x: combined(&row.mean, state, x0, p) + noise,
        kept: combined(&row.keep, state, x0, 0.0),
        previous: x0,
    };
}

/// A network that predicts x_0 and is not clipped.
fn of_x0(process: &Process) -> Reverse<'_> {
    Reverse {
        process,
        prediction: Prediction::Sample,
        clip: None,
        clip_guided: false,
        variance: Variance::FixedSmall,
    }
}

fn rows_of(
    settings: &SamplerSettings,
    reverse: &Reverse<'_>,
    levels: &[Level],
) -> Vec<ReverseStep> {
    (find(&settings.sampler).unwrap().build)(settings).steps(reverse, levels)
}

/// A law sampled by rows from a start, with z = 1 in every step that draws.
fn sampled(law: &dyn Law, rows: &[ReverseStep], start: f64) -> f64 {
    let mut state = State {
        x: start,
        ..State::default()
    };
    for row in rows {
        let p = law.denoise(state.x, row.level);
        apply(row, &mut state, p, 1.0);
    }
    state.x
}

fn named(sampler: &str, steps: usize) -> SamplerSettings {
    SamplerSettings {
        sampler: sampler.to_owned(),
        steps,
        spacing: find(sampler).unwrap().spacing,
        ..SamplerSettings::default()
    }
}

fn trailing(settings: SamplerSettings) -> SamplerSettings {
    SamplerSettings {
        spacing: Spacing::Trailing,
        ..settings
    }
}

fn by_sigma(settings: SamplerSettings, sigmas: SigmaSpacing) -> SamplerSettings {
    SamplerSettings {
        sigmas: Some(sigmas),
        ..settings
    }
}

fn heun_type(settings: SamplerSettings) -> SamplerSettings {
    SamplerSettings {
        solver_type: SolverType::Heun,
        ..settings
    }
}

/// The levels of settings, of the whole process where they are by noise (Euler's ends are those of its spacing: linspace is the whole).
fn levels_of(settings: &SamplerSettings) -> (Process, Vec<Level>) {
    let config = Config::default();
    let process = Process::new(&config).unwrap();
    let levels = settings.levels(&process, &config).unwrap();
    (process, levels)
}

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

/// Stable Diffusion's betas.
fn scaled_linear() -> Config {
    Config {
        beta_schedule: BetaSchedule::ScaledLinear,
        beta_start: 0.00085,
        beta_end: 0.012,
        ..Config::default()
    }
}

#[test]
fn levels_are_those_of_diffusers_classes() {
    let process = Process::new(&scaled_linear()).unwrap();
    for (t, sigma) in [(0, 0.029167158), (500, 1.618278826), (999, 14.614641229)] {
        assert!((process.level(t).sigma() - sigma).abs() < 1e-8);
    }
    let leading = |name: &str| SamplerSettings {
        spacing: Spacing::Leading,
        steps_offset: 1,
        ..named(name, 10)
    };
    let sigmas = |name: &str, spacing: SigmaSpacing| by_sigma(named(name, 10), spacing);
    use SigmaSpacing::{Exponential, Karras};
    let linspace = [
        999.0, 888.0, 777.0, 666.0, 555.0, 444.0, 333.0, 222.0, 111.0, 0.0,
    ];
    let of_linspace = [
        14.6146, 7.83989, 4.60918, 2.91831, 1.95016, 1.34493, 0.932358, 0.624977, 0.368659,
        0.0291675,
    ];
    let of_trailing = [
        14.6146, 8.30281, 5.08777, 3.32108, 2.27646, 1.61289, 1.16058, 0.82986, 0.569285, 0.341674,
    ];
    let ends = [
        999.0, 899.0, 799.0, 699.0, 599.0, 499.0, 399.0, 299.0, 199.0, 99.0,
    ];
    let solver = [
        999.0, 899.0, 799.0, 699.0, 599.0, 500.0, 400.0, 300.0, 200.0, 100.0,
    ];
    let of_solver = [
        14.6146, 8.30281, 5.08777, 3.32108, 2.27646, 1.61828, 1.16439, 0.832753, 0.571666, 0.343932,
    ];
    let solver_leading = [
        901.0, 811.0, 721.0, 631.0, 541.0, 451.0, 361.0, 271.0, 181.0, 91.0,
    ];
    let of_solver_leading = [
        8.39069, 5.37634, 3.63065, 2.55766, 1.85856, 1.37618, 1.02393, 0.751509, 0.526976, 0.323533,
    ];
    let euler_leading = [
        901.0, 801.0, 701.0, 601.0, 501.0, 401.0, 301.0, 201.0, 101.0, 1.0,
    ];
    let of_euler_leading = [
        8.39069, 5.13443, 3.34776, 2.29285, 1.62369, 1.16822, 0.835653, 0.574051, 0.346187,
        0.0413145,
    ];
    let of_karras = [
        14.6146, 9.10294, 5.4784, 3.16861, 1.74942, 0.914077, 0.446921, 0.2014, 0.081911, 0.0291675,
    ];
    let karras = [
        999.0, 916.284, 815.045, 687.153, 523.199, 327.147, 145.939, 40.857, 6.732, 0.0,
    ];
    let karras_rounded = [
        999.0, 916.0, 815.0, 687.0, 523.0, 327.0, 146.0, 41.0, 7.0, 0.0,
    ];
    let exponential = [
        999.0, 874.742, 723.702, 538.067, 329.768, 152.721, 52.382, 14.152, 2.951, 0.0,
    ];
    let exponential_cut = [
        998.0, 874.0, 723.0, 538.0, 329.0, 152.0, 52.0, 14.0, 2.0, 0.0,
    ];
    let of_exponential = [
        14.6146, 7.32488, 3.67124, 1.84003, 0.922227, 0.462222, 0.231666, 0.116111, 0.0581952,
        0.0291675,
    ];
    for (settings, timesteps, expected) in [
        (named("euler", 10), linspace, of_linspace),
        (named("heun", 10), linspace, of_linspace),
        (named("euler-a", 10), linspace, of_linspace),
        (leading("euler"), euler_leading, of_euler_leading),
        (trailing(named("euler", 10)), ends, of_trailing),
        (trailing(named("dpmpp-2m", 10)), ends, of_trailing),
        (trailing(named("unipc", 10)), ends, of_trailing),
        (trailing(named("ddim", 10)), ends, of_trailing),
        (named("dpmpp-2m", 10), solver, of_solver),
        (named("unipc", 10), solver, of_solver),
        (leading("dpmpp-2m"), solver_leading, of_solver_leading),
        (leading("unipc"), solver_leading, of_solver_leading),
        (sigmas("euler", Karras), karras, of_karras),
        (sigmas("heun", Karras), karras, of_karras),
        (sigmas("dpmpp-2m", Karras), karras_rounded, of_karras),
        (sigmas("unipc", Karras), karras_rounded, of_karras),
        (sigmas("euler", Exponential), exponential, of_exponential),
        (
            sigmas("dpmpp-2m", Exponential),
            exponential_cut,
            of_exponential,
        ),
        (
            sigmas("unipc", Exponential),
            exponential_cut,
            of_exponential,
        ),
    ] {
        let levels = settings.levels(&process, &scaled_linear()).unwrap();
        assert_eq!(levels.len(), 11);
        assert_eq!(levels[10], Level::IMAGE);
        for (level, (t, sigma)) in levels.iter().zip(timesteps.into_iter().zip(expected)) {
            // diffusers cuts 998.9999 to 998 in f32; here it is 999 to the last bit of f64, or a hair below.
            let whole = timesteps[0] == 998.0 && t == 998.0 && level.timestep == 999.0;
            assert!(
                whole || (level.timestep - t).abs() < 2e-3,
                "{settings:?}: t {}, not {t}",
                level.timestep
            );
            assert!(
                (level.sigma() / sigma - 1.0).abs() < 2e-5,
                "{settings:?}: sigma {}, not {sigma}",
                level.sigma()
            );
        }
    }
    // Karras between the ends of leading timesteps.
    let settings = SamplerSettings {
        sigmas: Some(Karras),
        ..leading("euler")
    };
    let levels = settings.levels(&process, &scaled_linear()).unwrap();
    assert!((levels[0].sigma() - 8.39069).abs() < 1e-4);
    assert!((levels[9].sigma() - 0.0413145).abs() < 1e-6);
}

/// diffusers' own loops: its dummy model x t / (t + 1), its dummy sample, ten steps.
#[test]
fn diffusers_own_figures_come_out() {
    let tensors = golden("diffusion");
    let sample = tensors["step/sample"].data.to_f64();
    // k-diffusion's samplers, which scale what the model is shown, are tested there with 1,100 timesteps.
    let sum = |settings: &SamplerSettings, prediction: Prediction, scaled: bool| {
        let config = Config {
            timesteps: if scaled { 1100 } else { 1000 },
            rounding: Rounding::F32,
            ..Config::default()
        };
        let process = Process::new(&config).unwrap();
        let levels = settings.levels(&process, &config).unwrap();
        let reverse = Reverse {
            prediction,
            ..of_x0(&process)
        };
        let rows = rows_of(settings, &reverse, &levels);
        let end = |&x: &f64| {
            let x = if scaled { x * levels[0].s } else { x };
            let mut state = State {
                x,
                ..State::default()
            };
            for row in &rows {
                let t = row.level.timestep;
                let p = state.x * t / (t + 1.0);
                if scaled {
                    // Their loop steps from the sample as the model was shown it.
                    state.x *= row.level.a;
                }
                apply(row, &mut state, p, 0.0);
            }
            state.x.abs()
        };
        sample.iter().map(end).sum::<f64>()
    };
    let count = sample.len() as f64;
    let solver = |sampler: &str| SamplerSettings {
        last_sigma: LastSigma::SigmaMin,
        lower_order_final: sampler == "unipc",
        ..named(sampler, 10)
    };
    let karras = |s: SamplerSettings| by_sigma(s, SigmaSpacing::Karras);
    use Prediction::{Epsilon, Velocity};
    for (settings, prediction, mean) in [
        (solver("dpmpp-2m"), Epsilon, 0.3301),
        (solver("dpmpp-2m"), Velocity, 0.2251),
        (karras(solver("dpmpp-2m")), Velocity, 0.2096),
        (solver("unipc"), Epsilon, 0.2464),
        (karras(solver("unipc")), Epsilon, 0.2925),
        (solver("unipc"), Velocity, 0.1014),
    ] {
        let got = sum(&settings, prediction, false) / count;
        assert!((got - mean).abs() < 1e-3, "{settings:?}: {got}, not {mean}");
    }
    for (settings, expected) in [
        (named("euler", 10), 10.0807),
        (karras(named("euler", 10)), 124.5230),
        (named("heun", 10), 0.1233),
    ] {
        let got = sum(&settings, Epsilon, true);
        assert!(
            (got - expected).abs() < 1e-2,
            "{settings:?}: {got}, not {expected}"
        );
    }
}

/// guided-diffusion's loops: eps = 0.8 x + t / 2000, the classifier's gradient 0.5 - x, no noise.
#[test]
fn guidance_is_that_of_guided_diffusion() {
    use Variance::{FixedLarge, LearnedRange};
    let starts = [-1.3, -0.2, 0.4, 1.7];
    let config = Config::default();
    let process = Process::new(&config).unwrap();
    let end = |sampler: &str, clip: Option<f64>, variance: Variance, scale: f64, x: f64| {
        let settings = SamplerSettings {
            spacing: if sampler == "ddpm" {
                Spacing::Linspace
            } else {
                Spacing::Leading
            },
            classifier_scale: scale,
            // As guided-diffusion's DDIM, which derives the noise anew from the clipped x_0.
            use_clipped_model_output: (sampler == "ddim").then_some(true),
            ..named(sampler, 25)
        };
        let levels = settings.levels(&process, &config).unwrap();
        let reverse = Reverse {
            prediction: Prediction::Epsilon,
            clip,
            variance,
            ..of_x0(&process)
        };
        let mut state = State {
            x,
            ..State::default()
        };
        for row in rows_of(&settings, &reverse, &levels) {
            let x = state.x;
            let (p, g) = (0.8 * x + row.level.timestep / 2000.0, 0.5 - x);
            let clipped = (row.x0_x * x + row.x0_p * p).clamp(-row.clip, row.clip);
            let share = if variance == LearnedRange {
                0.5 * (0.2 * x + 1.0)
            } else {
                0.0
            };
            let log_variance = if row.min_log_variance == f64::NEG_INFINITY {
                f64::NEG_INFINITY
            } else {
                row.min_log_variance + share * (row.max_log_variance - row.min_log_variance)
            };
            let (x0, shift) = if row.guides_mean {
                (clipped, scale * log_variance.exp() * g)
            } else {
                let moved = clipped + row.level.s * row.level.s / row.level.a * scale * g;
                (moved.clamp(-row.clip_again, row.clip_again), 0.0)
            };
            state.x = combined(&row.mean, &state, x0, p) + shift;
        }
        state.x
    };
    let one = Some(1.0);
    for (sampler, clip, variance, scale, expected) in [
        (
            "ddpm",
            one,
            FixedLarge,
            0.0,
            [-0.263444368, -0.259167915, -0.256835304, -0.251781314],
        ),
        ("ddpm", one, FixedLarge, 1.0, [0.134851182; 4]),
        (
            "ddpm",
            one,
            FixedLarge,
            5.0,
            [0.327243303, 0.320791627, 0.319062798, 0.312464538],
        ),
        ("ddpm", one, LearnedRange, 1.0, [0.099603841; 4]),
        (
            "ddpm",
            one,
            LearnedRange,
            5.0,
            [0.274415725, 0.274437560, 0.274562786, 0.274599335],
        ),
        (
            "ddim",
            one,
            FixedLarge,
            0.0,
            [-1.0, -0.546386600, -0.129223605, 0.982815676],
        ),
        (
            "ddim",
            one,
            FixedLarge,
            1.0,
            [0.225859816, 0.227149146, 0.227852417, 0.229376171],
        ),
        ("ddim", one, FixedLarge, 5.0, [0.356282660; 4]),
        (
            "ddim",
            None,
            FixedLarge,
            1.0,
            [0.198934400, 0.202861683, 0.205003838, 0.209645173],
        ),
    ] {
        for (start, expected) in starts.into_iter().zip(expected) {
            let x = end(sampler, clip, variance, scale, start);
            // Its gradient is f32.
            assert!(
                (x - expected).abs() < 1e-7,
                "{sampler}, {clip:?}, {variance:?}, scale {scale}, from {start}: {x}, not {expected}"
            );
        }
    }
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
