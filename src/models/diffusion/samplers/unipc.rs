//! UniPC of order 2 with B(h) = e^h - 1 (Zhao et al. 2023, "UniPC: A unified predictor-corrector framework for fast sampling of diffusion
//! models", algorithms 5 and 6): each prediction also corrects the x that the step before came to, without a call more.

use super::entry::Entry;
use super::step::{Combination, Reverse, ReverseStep, Sampler, first_order};
use crate::models::diffusion::process::Level;
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "unipc",
    aliases: &["uni-pc", "uni-pc-bh2"],
    what: "second order, corrected to the third, one call a step (Zhao et al. 2023)",
    scheduler: "UniPCMultistepScheduler",
    own: &["lower_order_final", "last_sigma"],
    only_variance_preserving: false,
    every_timestep: false,
    grid: Grid::UniPc,
    spacing: Spacing::Linspace,
    order: 3,
    build: |settings| {
        Box::new(UniPc {
            lower_order_final: settings.lower_order_final,
        })
    },
};

/// The step of 2M from a corrected x. The network sees the x that is not.
#[derive(Clone, Copy, Debug)]
pub struct UniPc {
    /// Whether the last step is of first order.
    pub lower_order_final: bool,
}

/// The corrected x at a level as a combination of the one at the level before and of predictions.
struct Correction {
    /// Of the corrected x before.
    corrected: f64,
    /// Of x_0 predicted at this level, at the one before, and at the one before that.
    predictions: [f64; 3],
}

impl UniPc {
    /// The order of step i.
    fn order(&self, i: usize, count: usize) -> usize {
        let left = if self.lower_order_final { count - i } else { 2 };
        left.min(2).min(i + 1)
    }

    /// UniC at level i, from 1 on, of the order that the step there had.
    fn correction(&self, i: usize, levels: &[Level]) -> Correction {
        let (now, before) = (levels[i], levels[i - 1]);
        let h = now.lambda() - before.lambda();
        let p = (-h).exp_m1();
        // x_0's weights in the line (order 1) or parabola (order 2) through the predictions.
        let (of_now, of_older) = if self.order(i - 1, levels.len() - 1) == 1 {
            (0.5, 0.0)
        } else {
            let k = (levels[i - 2].lambda() - before.lambda()) / h;
            // [[1, 1], [k, 1]] r = b.
            let phi = p / -h - 1.0;
            let b = [phi / p, 2.0 * (phi / -h - 0.5) / p];
            let older = (b[0] - b[1]) / (1.0 - k);
            (b[0] - older, older / k)
        };
        let weight = -now.a * p;
        Correction {
            corrected: now.s / before.s,
            predictions: [
                weight * of_now,
                weight * (1.0 - of_now - of_older),
                weight * of_older,
            ],
        }
    }
}

impl Sampler for UniPc {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        let count = levels.len() - 1;
        let row = |i: usize| {
            // The corrected x here: what was kept and this level's prediction.
            let corrected = if i == 0 {
                Combination {
                    x: 1.0,
                    ..Combination::default()
                }
            } else {
                Combination {
                    kept: 1.0,
                    x0: self.correction(i, levels).predictions[0],
                    ..Combination::default()
                }
            };
            // UniP of order 2 is the step of 2M.
            let first = first_order(levels[i], levels[i + 1]);
            let second = if self.order(i, count) == 2 && levels[i + 1].s > 0.0 {
                let h = levels[i + 1].lambda() - levels[i].lambda();
                let h0 = levels[i].lambda() - levels[i - 1].lambda();
                0.5 * first.x0 * h / h0
            } else {
                0.0
            };
            let mean = Combination {
                x: first.x * corrected.x,
                kept: first.x * corrected.kept,
                x0: first.x * corrected.x0 + first.x0 + second,
                previous: -second,
                p: 0.0,
            };
            // The next level's correction, but for that level's prediction.
            let keep = if i + 1 < count {
                let next = self.correction(i + 1, levels);
                let [_, now, before] = next.predictions;
                Combination {
                    x: next.corrected * corrected.x,
                    kept: next.corrected * corrected.kept,
                    x0: next.corrected * corrected.x0 + now,
                    previous: before,
                    p: 0.0,
                }
            } else {
                Combination::default()
            };
            ReverseStep {
                mean,
                keep,
                ..reverse.step(i, levels[i])
            }
        };
        (0..count).map(row).collect()
    }
}
