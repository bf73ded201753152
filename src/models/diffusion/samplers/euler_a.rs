//! Euler's method with fresh noise in each step (k-diffusion's `sample_euler_ancestral`): the ancestral step with the small variance.

use super::ddpm::ancestral;
use super::entry::Entry;
use super::step::{Reverse, ReverseStep, Sampler};
use crate::models::diffusion::process::{Level, Variance};
use crate::models::diffusion::spacing::{Grid, Spacing};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "euler-a",
    aliases: &["euler-ancestral", "k-euler-a"],
    what: "ancestral, with the small variance (k-diffusion)",
    scheduler: "EulerAncestralDiscreteScheduler",
    own: &[],
    only_variance_preserving: true,
    every_timestep: false,
    grid: Grid::Reals,
    spacing: Spacing::Linspace,
    order: 1,
    build: |_| Box::new(EulerAncestral),
};

/// A draw from the posterior, whatever variance the model was made for.
#[derive(Clone, Copy, Debug)]
pub struct EulerAncestral;

impl Sampler for EulerAncestral {
    fn steps(&self, reverse: &Reverse<'_>, levels: &[Level]) -> Vec<ReverseStep> {
        (0..levels.len() - 1)
            .map(|i| ancestral(reverse, i, levels, Variance::FixedSmall))
            .collect()
    }
}
