//! Samplers of diffusion models, a file each: rows of coefficients for the one kernel of reverse steps.
//!
//! [`ALL`] is the only list of them: configurations, the command line and the folders of diffusers read it.

use crate::error::{Error, Result};

mod ddim;
mod ddpm;
mod entry;
mod step;

pub use ddim::Ddim;
pub use ddpm::Ddpm;
pub use entry::Entry;
pub use step::{Reverse, ReverseStep, Sampler, SamplerSettings, epsilon_of, x0_of};

/// All samplers.
pub const ALL: &[Entry] = &[ddpm::ENTRY, ddim::ENTRY];

/// The sampler called `name`.
///
/// # Errors
/// When there is none, saying which there are.
pub fn find(name: &str) -> Result<&'static Entry> {
    ALL.iter().find(|e| e.name == name).ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|e| e.name).collect();
        Error::Usage(format!(
            "diffusion: there is no sampler '{name}'; there is {}",
            known.join(", ")
        ))
    })
}
