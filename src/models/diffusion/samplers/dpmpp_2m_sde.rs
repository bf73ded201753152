//! SDE-DPM-Solver++ (2M) (Lu et al. 2022, "DPM-Solver++", section 5): the same with fresh noise in each step.

use super::dpmpp_2m::{Dpmpp2M, OWN};
use super::entry::Entry;
use super::step::{Combination, Reverse, ReverseStep, Sampler};
use crate::models::diffusion::process::Level;
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "dpmpp-2m-sde",
    aliases: &["dpm++-2m-sde", "dpmpp2msde", "sde-dpmsolver++"],
    what: "second order, with noise (Lu et al. 2022)",
    scheduler: "DPMSolverMultistepScheduler",
    own: OWN,
    only_variance_preserving: false,
    every_timestep: false,
    grid: Grid::DpmSolver,
    spacing: Spacing::Linspace,
    order: 1,
    build: |settings| Box::new(Dpmpp2MSde(Dpmpp2M::of(settings))),
};

/// The ancestral step along a line through two predictions of x_0.
#[derive(Clone, Copy, Debug)]
pub struct Dpmpp2MSde(pub Dpmpp2M);

impl Sampler for Dpmpp2MSde {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        let row = |i: usize| {
            let (now, next) = (levels[i], levels[i + 1]);
            // e^-2h: what of the noise is not fresh.
            let h = next.lambda() - now.lambda();
            let fresh = -(-2.0 * h).exp_m1();
            let x0 = next.a * fresh;
            let second = self.0.second(i, levels, x0, 2.0);
            let variance = next.s * next.s * fresh;
            ReverseStep {
                mean: Combination {
                    x: next.s / now.s * (-h).exp(),
                    x0: x0 + second,
                    previous: -second,
                    ..Combination::default()
                },
                noise: variance > 0.0,
                min_log_variance: variance.ln(),
                max_log_variance: variance.ln(),
                ..reverse.step(i, now)
            }
        };
        (0..levels.len() - 1).map(row).collect()
    }
}
