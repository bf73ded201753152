//! Heun's method along the probability flow (Karras et al. 2022, "Elucidating the design space of diffusion-based generative models",
//! algorithm 1): each step is two calls of the network.

use super::entry::Entry;
use super::step::{Combination, Reverse, ReverseStep, Sampler};
use crate::models::diffusion::process::{Kind, Level};
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "heun",
    aliases: &["k-heun"],
    what: "second order, two calls a step (Karras et al. 2022)",
    scheduler: "HeunDiscreteScheduler",
    own: &[],
    only_variance_preserving: false,
    every_timestep: false,
    grid: Grid::Reals,
    spacing: Spacing::Linspace,
    order: 2,
    build: |_| Box::new(Heun),
};

/// The mean of the tangents at both ends of a step, in x / a over sigma; of a flow in x over S, where the way is straight and begins at sigma's
/// infinity.
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
            let straight = matches!(reverse.process.kind, Kind::Flow(_));
            let of = |level: Level| if straight { level.s } else { level.sigma() };
            let (sigma, sigma_next) = (of(now), of(next));
            let half = 0.5 * (sigma_next - sigma);
            // x in the units that the tangents are in.
            let (ratio, scale) = if straight {
                (1.0, 1.0)
            } else {
                (next.a / now.a, next.a)
            };
            // x' less what the second tangent adds, in the units of the next level.
            rows.push(ReverseStep {
                keep: Combination {
                    x: ratio * (1.0 + half / sigma),
                    x0: -scale * half / sigma,
                    ..Combination::default()
                },
                ..predictor
            });
            rows.push(ReverseStep {
                mean: Combination {
                    kept: 1.0,
                    x: half / sigma_next,
                    x0: -scale * half / sigma_next,
                    ..Combination::default()
                },
                ..reverse.step(i, next)
            });
        }
        rows
    }
}
