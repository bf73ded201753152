//! Samplers of diffusion models, a file each: how x at one timestep becomes x at the next, as rows of coefficients for the one kernel of
//! reverse steps.
//!
//! [`ALL`] is the only list of them: configurations, the command line and the folders of diffusers read it.
//!
//! ```
//! use wgen::models::diffusion::process::{Config, Prediction, Process, Variance};
//! use wgen::models::diffusion::samplers::{Reverse, SamplerSettings, find};
//! use wgen::models::diffusion::spacing::Spacing;
//!
//! let process = Process::new(&Config::default())?;
//! let (prediction, variance) = (Prediction::Epsilon, Variance::FixedSmall);
//! let reverse = Reverse { process: &process, prediction, clip: Some(1.0), variance };
//! let timesteps = Spacing::Leading.timesteps(process.len(), 4, 0)?;
//! assert_eq!(timesteps, [750, 500, 250, 0]);
//!
//! let ddim = (find("ddim")?.build)(&SamplerSettings::default());
//! let steps = ddim.steps(&reverse, &timesteps);
//! // Without noise, and the last step gives the predicted x_0 itself.
//! assert!(steps.iter().all(|step| step.max_log_variance == f64::NEG_INFINITY));
//! assert_eq!((steps[3].mean_x0, steps[3].mean_x, steps[3].mean_p), (1.0, 0.0, 0.0));
//! # Ok::<(), wgen::Error>(())
//! ```

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
