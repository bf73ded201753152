//! Heun's method along the probability flow (Karras et al. 2022, "Elucidating the design space of diffusion-based generative models",
//! algorithm 1): each step is two calls of the network.

use super::entry::Entry;
use super::step::{Combination, Reverse, ReverseStep, Sampler};
use crate::models::diffusion::process::Level;
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "heun",
    aliases: &["k-heun"],
    what: "second order, two calls a step (Karras et al. 2022)",
    scheduler: "HeunDiscreteScheduler",
    own: &[],
    every_timestep: false,
    grid: Grid::Reals,
    spacing: Spacing::Linspace,
    order: 2,
    build: |_| Box::new(Heun),
};

/// The mean of the tangents at both ends of a step, in x / a over sigma.
#[derive(Clone, Copy, Debug)]
pub struct Heun;

impl Sampler for Heun {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        let mut rows = Vec::with_capacity(2 * levels.len());
        for (i, pair) in levels.windows(2).enumerate() {
            let (now, next) = (pair[0], pair[1]);
            let predictor = reverse.first_order(i, [now, next]);
            if next.s == 0.0 {
                // The tangent at sigma 0 would divide by it.
                rows.push(predictor);
                continue;
            }
            let (sigma, sigma_next) = (now.sigma(), next.sigma());
            let half = 0.5 * (sigma_next - sigma);
            // x' less what the second tangent adds, in the units of the next level.
            rows.push(ReverseStep {
                keep: Combination {
                    x: next.a / now.a * (1.0 + half / sigma),
                    x0: -next.a * half / sigma,
                    ..Combination::default()
                },
                ..predictor
            });
            rows.push(ReverseStep {
                mean: Combination {
                    kept: 1.0,
                    x: half / sigma_next,
                    x0: -next.a * half / sigma_next,
                    ..Combination::default()
                },
                ..reverse.step(i, next)
            });
        }
        rows
    }
}
