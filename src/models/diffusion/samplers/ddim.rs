//! Song et al. 2021, "Denoising diffusion implicit models", eq. 12.

use super::entry::Entry;
use super::step::{Combination, Reverse, ReverseStep, Sampler, epsilon_of};
use crate::models::diffusion::process::{Level, Process};
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "ddim",
    aliases: &[],
    what: "first order, with noise where eta is above 0 (Song et al. 2021)",
    scheduler: "DDIMScheduler",
    own: &["eta", "use_clipped_model_output", "stride", "last_sigma"],
    only_variance_preserving: false,
    every_timestep: false,
    grid: Grid::Integers,
    spacing: Spacing::Leading,
    order: 1,
    build: |settings| {
        Box::new(Ddim {
            eta: settings.eta,
            use_clipped_model_output: settings.clipped_model_output(),
            stride: settings.stride,
            steps: settings.steps,
        })
    },
};

/// The deterministic sampler and those between it and the ancestral one.
#[derive(Clone, Copy, Debug)]
pub struct Ddim {
    /// 0: no noise at all; 1: as much as the ancestral step with the small variance.
    pub eta: f64,
    /// Whether the noise is the one that takes the clipped x_0 to x (diffusers' name); otherwise the prediction's, which belongs to x_0
    /// before it was clipped.
    pub use_clipped_model_output: bool,
    /// Whether steps go T / steps timesteps down, not to the next of the list: as diffusers, and so of a process that is not respaced.
    pub stride: bool,
    /// Steps of the whole process, by which [`Ddim::stride`] goes.
    pub steps: usize,
}

impl Sampler for Ddim {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        let next = |i: usize| {
            if self.stride {
                strided(reverse.process, levels, i, self.steps)
            } else {
                levels[i + 1]
            }
        };
        (0..levels.len() - 1)
            .map(|i| self.step(reverse, i, [levels[i], next(i)]))
            .collect()
    }
}

/// Where step i of [`Ddim::stride`] goes, of a process of `steps` steps, of which `levels` may be the last.
pub(in crate::models::diffusion) fn strided(
    process: &Process,
    levels: &[Level],
    i: usize,
    steps: usize,
) -> Level {
    let count = levels.len() - 1;
    let distance = process.len() / steps.max(1);
    let next = (levels[i].timestep as usize).checked_sub(distance);
    next.map_or(levels[count], |t| process.level(t))
}

impl Ddim {
    fn step(&self, reverse: &Reverse<'_>, i: usize, [now, next]: [Level; 2]) -> ReverseStep {
        // 1 - q of the ancestral step: how much of the next level's noise may be new.
        let fresh = 1.0 - (next.s * now.a / (next.a * now.s)).powi(2);
        let variance = (self.eta * next.s).powi(2) * fresh;
        let direction = (next.s * next.s - variance).max(0.0).sqrt();
        let mean = if self.use_clipped_model_output {
            Combination {
                x0: next.a - direction * now.a / now.s,
                x: direction / now.s,
                ..Combination::default()
            }
        } else {
            let [of_x, of_p] = epsilon_of(reverse.prediction, now);
            Combination {
                x0: next.a,
                x: direction * of_x,
                p: direction * of_p,
                ..Combination::default()
            }
        };
        ReverseStep {
            mean,
            noise: variance > 0.0,
            min_log_variance: variance.ln(),
            max_log_variance: variance.ln(),
            ..reverse.step(i, now)
        }
    }
}
