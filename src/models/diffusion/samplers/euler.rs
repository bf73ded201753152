//! Euler's method along the probability flow (Song et al. 2021, eq. 13): the same step as DDIM's without noise, on a grid of its own.

use super::entry::Entry;
use super::step::{Reverse, ReverseStep, Sampler};
use crate::models::diffusion::process::Level;
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "euler",
    aliases: &["k-euler"],
    what: "first order (k-diffusion)",
    scheduler: "EulerDiscreteScheduler",
    own: &["last_sigma"],
    only_variance_preserving: false,
    every_timestep: false,
    grid: Grid::Reals,
    spacing: Spacing::Linspace,
    order: 1,
    build: |_| Box::new(Euler),
};

/// A step along the tangent in x / a over sigma.
#[derive(Clone, Copy, Debug)]
pub struct Euler;

impl Sampler for Euler {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        levels
            .windows(2)
            .enumerate()
            .map(|(i, pair)| reverse.first_order(i, [pair[0], pair[1]]))
            .collect()
    }
}
