//! Latent consistency models (Luo et al. 2023, "Latent consistency models: Synthesizing high-resolution images with few-step inference",
//! algorithm 3; the boundary condition of Song et al. 2023, "Consistency models", eq. 5): each step guesses the image and noises it anew.

use super::entry::Entry;
use super::step::{Combination, Reverse, ReverseStep, Sampler};
use crate::models::diffusion::process::Level;
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "lcm",
    aliases: &[],
    what: "a few steps, of models that were distilled for it (Luo et al. 2023)",
    scheduler: "LCMScheduler",
    own: &["original_steps"],
    only_variance_preserving: true,
    every_timestep: false,
    grid: Grid::Consistency,
    spacing: Spacing::Leading,
    order: 1,
    build: |_| Box::new(Lcm),
};

/// What timesteps are multiplied by in the boundary condition: `timestep_scaling` of diffusers.
pub const TIMESTEP_SCALING: f64 = 10.0;

/// The deviation of the data there.
const SIGMA_DATA: f64 = 0.5;

/// A guess of the image, d = c_skip x + c_out x_0, and the noise of the next level.
#[derive(Clone, Copy, Debug)]
pub struct Lcm;

impl Sampler for Lcm {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        let row = |(i, pair): (usize, &[Level])| {
            let (now, next) = (pair[0], pair[1]);
            let u = TIMESTEP_SCALING * now.timestep;
            let c_skip = SIGMA_DATA * SIGMA_DATA / (u * u + SIGMA_DATA * SIGMA_DATA);
            let c_out = u / u.hypot(SIGMA_DATA);
            let variance = next.s * next.s;
            ReverseStep {
                mean: Combination {
                    x: next.a * c_skip,
                    x0: next.a * c_out,
                    ..Combination::default()
                },
                noise: variance > 0.0,
                min_log_variance: variance.ln(),
                max_log_variance: variance.ln(),
                ..reverse.step(i, now)
            }
        };
        levels.windows(2).enumerate().map(row).collect()
    }
}
