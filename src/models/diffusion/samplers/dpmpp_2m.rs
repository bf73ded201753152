//! DPM-Solver++ (2M) (Lu et al. 2022, "DPM-Solver++: Fast solver for guided sampling of diffusion probabilistic models", algorithm 2): second
//! order with one call a step, by the prediction of the step before.

use super::entry::Entry;
use super::settings::{SamplerSettings, SolverType};
use super::step::{Combination, Reverse, ReverseStep, Sampler, first_order};
use crate::models::diffusion::process::Level;
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "dpmpp-2m",
    aliases: &["dpm++-2m", "dpmpp2m", "dpmsolver++"],
    what: "second order, one call a step (Lu et al. 2022)",
    scheduler: "DPMSolverMultistepScheduler",
    own: OWN,
    only_variance_preserving: false,
    every_timestep: false,
    grid: Grid::DpmSolver,
    spacing: Spacing::Linspace,
    order: 2,
    build: |settings| Box::new(Dpmpp2M::of(settings)),
};

/// What it and its stochastic kin take.
pub(super) const OWN: &[&str] = &[
    "solver_type",
    "solver_order",
    "lower_order_final",
    "euler_at_final",
    "lambda_min_clipped",
    "last_sigma",
];

/// Steps below which a last step of second order does harm (diffusers' number).
const FEW: usize = 15;

/// Two predictions of x_0 make a line over lambda, along which the step integrates.
#[derive(Clone, Copy, Debug)]
pub struct Dpmpp2M {
    /// How the second order comes in.
    pub solver_type: SolverType,
    /// 1 or 2.
    pub order: usize,
    /// Whether the last step is of first order, whatever it goes to.
    pub first_order_last: bool,
}

impl Dpmpp2M {
    pub(super) fn of(settings: &SamplerSettings) -> Self {
        let few = settings.lower_order_final && settings.steps < FEW;
        Self {
            solver_type: settings.solver_type,
            order: settings.solver_order,
            first_order_last: settings.euler_at_final || few,
        }
    }

    /// The weight of (x_0 - the one before), times h0 / h, of step i, whose x_0 weighs `x0`; nothing where the step is of first order.
    /// `decays` is how fast what is integrated does: 1 in the flow, 2 with noise.
    pub(super) fn second(&self, i: usize, levels: &[Level], x0: f64, decays: f64) -> f64 {
        let last = i + 2 == levels.len();
        let (now, next) = (levels[i], levels[i + 1]);
        if self.order < 2 || i == 0 || next.s == 0.0 || (last && self.first_order_last) {
            return 0.0;
        }
        let h = next.lambda() - now.lambda();
        let h0 = now.lambda() - levels[i - 1].lambda();
        let weight = match self.solver_type {
            SolverType::Midpoint => 0.5 * x0,
            SolverType::Heun if h == 0.0 => 0.0,
            SolverType::Heun => next.a * ((-decays * h).exp_m1() / (decays * h) + 1.0),
        };
        weight * h / h0
    }
}

impl Sampler for Dpmpp2M {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        let row = |i: usize| {
            let first = first_order(levels[i], levels[i + 1]);
            let second = self.second(i, levels, first.x0, 1.0);
            ReverseStep {
                mean: Combination {
                    x0: first.x0 + second,
                    previous: -second,
                    ..first
                },
                ..reverse.step(i, levels[i])
            }
        };
        (0..levels.len() - 1).map(row).collect()
    }
}
