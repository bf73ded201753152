//! A sampler's rows, run in f64 on single numbers.

use wgen::models::diffusion::process::{Config, Level, Prediction, Process, Variance};
use wgen::models::diffusion::samplers::{
    Combination, Reverse, ReverseStep, SamplerSettings, SolverType, find,
};
use wgen::models::diffusion::spacing::{SigmaSpacing, Spacing};

use super::laws::Law;

/// What becomes of one number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    pub(crate) x: f64,
    pub(crate) previous: f64,
    pub(crate) kept: f64,
}

pub(crate) fn combined(of: &Combination, state: &State, x0: f64, p: f64) -> f64 {
    of.x * state.x + of.x0 * x0 + of.p * p + of.previous * state.previous + of.kept * state.kept
}

/// One row in f64: p the network's prediction, z the noise.
pub(crate) fn apply(row: &ReverseStep, state: &mut State, p: f64, z: f64) {
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
pub(crate) fn of_x0(process: &Process) -> Reverse<'_> {
    Reverse {
        process,
        prediction: Prediction::Sample,
        clip: None,
        clip_guided: false,
        variance: Variance::FixedSmall,
    }
}

pub(crate) fn rows_of(
    settings: &SamplerSettings,
    reverse: &Reverse<'_>,
    levels: &[Level],
) -> Vec<ReverseStep> {
    (find(&settings.sampler).unwrap().build)(settings).steps(reverse, levels)
}

/// A law sampled by rows from a start, with z = 1 in every step that draws.
pub(crate) fn sampled(law: &dyn Law, rows: &[ReverseStep], start: f64) -> f64 {
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

pub(crate) fn named(sampler: &str, steps: usize) -> SamplerSettings {
    SamplerSettings {
        sampler: sampler.to_owned(),
        steps,
        spacing: find(sampler).unwrap().spacing,
        ..SamplerSettings::default()
    }
}

pub(crate) fn trailing(settings: SamplerSettings) -> SamplerSettings {
    SamplerSettings {
        spacing: Spacing::Trailing,
        ..settings
    }
}

pub(crate) fn by_sigma(settings: SamplerSettings, sigmas: SigmaSpacing) -> SamplerSettings {
    SamplerSettings {
        sigmas: Some(sigmas),
        ..settings
    }
}

pub(crate) fn heun_type(settings: SamplerSettings) -> SamplerSettings {
    SamplerSettings {
        solver_type: SolverType::Heun,
        ..settings
    }
}

/// The levels of settings, of the whole process where they are by noise (Euler's ends are those of its spacing: linspace is the whole).
pub(crate) fn levels_of(settings: &SamplerSettings) -> (Process, Vec<Level>) {
    let config = Config::default();
    let process = Process::new(&config).unwrap();
    let levels = settings.levels(&process, &config).unwrap();
    (process, levels)
}
