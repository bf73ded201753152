//! Samplers against the schedules and figures of diffusers 0.42.1 and against guided-diffusion's loops, in f64.

mod common;

use common::golden;
use common::sampled::{State, apply, by_sigma, combined, named, of_x0, rows_of, trailing};
use wgen::models::diffusion::process::{
    BetaSchedule, Config, Level, Prediction, Process, Rounding, Variance,
};
use wgen::models::diffusion::samplers::{Reverse, SamplerSettings};
use wgen::models::diffusion::spacing::{LastSigma, SigmaSpacing, Spacing};

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
