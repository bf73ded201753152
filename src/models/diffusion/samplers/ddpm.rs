//! Ancestral sampling (Ho et al. 2020, algorithm 2), at all timesteps or at some.

use super::entry::Entry;
use super::step::{Combination, Reverse, ReverseStep, Sampler};
use crate::models::diffusion::process::{Level, Variance};
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "ddpm",
    aliases: &[],
    what: "ancestral, with the variance that the model was made for (Ho et al. 2020)",
    scheduler: "DDPMScheduler",
    own: &[],
    only_variance_preserving: true,
    every_timestep: true,
    grid: Grid::Integers,
    spacing: Spacing::Leading,
    order: 1,
    build: |_| Box::new(Ddpm),
};

/// A draw from the posterior with the predicted x_0.
#[derive(Clone, Copy, Debug)]
pub struct Ddpm;

impl Sampler for Ddpm {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        (0..levels.len() - 1)
            .map(|i| ancestral(reverse, i, levels, reverse.variance))
            .collect()
    }
}

/// From a level to the next: the posterior of the process that visits both (Nichol & Dhariwal 2021, section 4).
pub(super) fn ancestral(
    reverse: &Reverse<'_>,
    i: usize,
    levels: &[Level],
    variance: Variance,
) -> ReverseStep {
    let (now, next) = (levels[i], levels[i + 1]);
    let small = beta_tilde(now, next);
    let large = beta(now, next);
    // The logarithm of the small one at the end, where it is 0: that of the step before (guided-diffusion).
    let clipped = match i.checked_sub(1) {
        Some(before) if small <= 0.0 => beta_tilde(levels[before], now),
        _ => small,
    };
    let (low, high) = match variance {
        Variance::FixedSmall => (small, small),
        Variance::FixedLarge if small <= 0.0 => (clipped, clipped),
        Variance::FixedLarge => (large, large),
        Variance::LearnedRange => (clipped, large),
    };
    let log = |variance: f64| {
        if variance > 0.0 {
            variance.max(1e-20).ln()
        } else {
            f64::NEG_INFINITY
        }
    };
    ReverseStep {
        mean: Combination {
            x0: next.a * large / (now.s * now.s),
            x: now.a / next.a * (next.s / now.s).powi(2),
            ..Combination::default()
        },
        noise: next.s > 0.0,
        guides_mean: true,
        min_log_variance: log(low),
        max_log_variance: log(high),
        ..reverse.step(i, now)
    }
}

/// 1 - alpha of the step between two levels.
fn beta(now: Level, next: Level) -> f64 {
    1.0 - (now.a / next.a).powi(2)
}

/// The posterior's variance (Ho et al. 2020, eq. 7).
fn beta_tilde(now: Level, next: Level) -> f64 {
    beta(now, next) * (next.s / now.s).powi(2)
}
