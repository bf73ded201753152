//! What a sampler's file gives to the list of them.

use super::settings::SamplerSettings;
use super::step::Sampler;
use crate::models::diffusion::spacing::{Grid, Spacing};

/// A sampler's entry in [`ALL`](super::ALL).
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in configurations and on the command line.
    pub name: &'static str,
    /// Other names that it is known by.
    pub aliases: &'static [&'static str],
    /// What it is, in a few words.
    pub what: &'static str,
    /// The scheduler of diffusers that it is.
    pub scheduler: &'static str,
    /// Fields of [`SamplerSettings`] that only it, or it and some others, take.
    pub own: &'static [&'static str],
    /// Whether its rows are of variance-preserving processes alone.
    pub only_variance_preserving: bool,
    /// Whether it visits every timestep where no number of steps is asked for.
    pub every_timestep: bool,
    /// How it reads a spacing.
    pub grid: Grid,
    /// Where nothing else is asked for: that of its scheduler in diffusers.
    pub spacing: Spacing,
    /// The order of its error in the size of a step.
    pub order: usize,
    /// The sampler of some settings.
    pub build: fn(&SamplerSettings) -> Box<dyn Sampler>,
}

impl Entry {
    /// Steps where none are asked for, of a process of so many timesteps.
    pub(crate) fn usual_steps(&self, timesteps: usize) -> usize {
        match self.order {
            _ if self.every_timestep => timesteps,
            _ if self.grid == Grid::Consistency => timesteps.min(4),
            1 => timesteps.min(50),
            _ => timesteps.saturating_sub(1).clamp(1, 20),
        }
    }
}
