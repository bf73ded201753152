//! Ancestral sampling (Ho et al. 2020, algorithm 2), at all timesteps or at some.

use super::entry::Entry;
use super::step::{Reverse, ReverseStep, Sampler};
use crate::models::diffusion::process::Variance;

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "ddpm",
    scheduler: "DDPMScheduler",
    own: &[],
    every_timestep: true,
    build: |_| Box::new(Ddpm),
};

/// A draw from the posterior with the predicted x_0.
#[derive(Clone, Copy, Debug)]
pub struct Ddpm;

impl Sampler for Ddpm {
    fn steps(&self, reverse: &Reverse<'_>, timesteps: &[usize]) -> Vec<ReverseStep> {
        (0..timesteps.len())
            .map(|i| ancestral(reverse, timesteps[i], timesteps.get(i + 1).copied()))
            .collect()
    }
}

/// From t to `next`, or to the image: the posterior of the process that visits both (Nichol & Dhariwal 2021, section 4).
fn ancestral(reverse: &Reverse<'_>, t: usize, next: Option<usize>) -> ReverseStep {
    let process = reverse.process;
    let abar = process.alphas_cumprod[t];
    let before = next.map_or(1.0, |n| process.alphas_cumprod[n]);
    let alpha = abar / before;
    let beta = 1.0 - alpha;
    let step = ReverseStep {
        mean_x0: before.sqrt() * beta / (1.0 - abar),
        mean_x: alpha.sqrt() * (1.0 - before) / (1.0 - abar),
        ..reverse.step(t)
    };
    if next.is_none() {
        return step;
    }
    let small = (beta * (1.0 - before) / (1.0 - abar)).max(1e-20).ln();
    let (min_log_variance, max_log_variance) = match reverse.variance {
        Variance::FixedSmall => (small, small),
        Variance::FixedLarge => (beta.ln(), beta.ln()),
        Variance::LearnedRange => (small, beta.ln()),
    };
    ReverseStep {
        min_log_variance,
        max_log_variance,
        ..step
    }
}
