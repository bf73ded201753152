//! What a sampler's file gives to the list of them.

use super::step::{Sampler, SamplerSettings};

/// A sampler's entry in [`ALL`](super::ALL).
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in configurations and on the command line.
    pub name: &'static str,
    /// The scheduler of diffusers that it is.
    pub scheduler: &'static str,
    /// Fields of [`SamplerSettings`] that only it, or it and some others, take.
    pub own: &'static [&'static str],
    /// Whether it visits every timestep where no number of steps is asked for.
    pub every_timestep: bool,
    /// The sampler of some settings.
    pub build: fn(&SamplerSettings) -> Box<dyn Sampler>,
}

impl Entry {
    /// Steps where none are asked for, of a process of so many timesteps.
    pub(crate) fn usual_steps(&self, timesteps: usize) -> usize {
        if self.every_timestep {
            timesteps
        } else {
            timesteps.min(50)
        }
    }
}
