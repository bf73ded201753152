//! Samplers of diffusion models, a file each: how x at one level of noise becomes x at the next, as rows of coefficients for the same two
//! kernels.
//!
//! [`ALL`] is the only list of them: configurations, the command line and the folders of diffusers read it.
//!
//! ```
//! use wgen::models::diffusion::process::{Config, Prediction, Process, Variance};
//! use wgen::models::diffusion::samplers::{Reverse, SamplerSettings, find};
//!
//! let config = Config::default();
//! let process = Process::new(&config)?;
//! let (prediction, variance) = (Prediction::Epsilon, Variance::FixedSmall);
//! let reverse = Reverse { process: &process, prediction, clip: Some(1.0), clip_guided: false, variance };
//!
//! let settings = SamplerSettings { sampler: "heun".to_owned(), steps: 4, ..SamplerSettings::default() };
//! let levels = settings.levels(&process, &config)?;
//! let rows = (find("heun")?.build)(&settings).steps(&reverse, &levels);
//! // Two calls of the network a step, but for the last, which gives the predicted x_0 itself.
//! assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3]);
//! assert_eq!((rows[6].mean.x0, rows[6].mean.x, rows[6].noise), (1.0, 0.0, false));
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::error::{Error, Result};

mod checks;
mod ddim;
mod ddpm;
mod dpmpp_2m;
mod dpmpp_2m_sde;
mod entry;
mod euler;
mod euler_a;
mod heun;
mod lcm;
mod settings;
mod step;
mod threshold;
mod unipc;

pub use ddim::Ddim;
pub(super) use ddim::strided;
pub use ddpm::Ddpm;
pub use dpmpp_2m::Dpmpp2M;
pub use dpmpp_2m_sde::Dpmpp2MSde;
pub use entry::Entry;
pub use euler::Euler;
pub use euler_a::EulerAncestral;
pub use heun::Heun;
pub use lcm::{Lcm, TIMESTEP_SCALING};
pub use settings::{SamplerSettings, SolverType};
pub use step::{Combination, Needs, Reverse, ReverseStep, Sampler, epsilon_of, x0_of};
pub use threshold::thresholded;
pub use unipc::UniPc;

/// All samplers.
pub const ALL: &[Entry] = &[
    ddpm::ENTRY,
    ddim::ENTRY,
    euler::ENTRY,
    euler_a::ENTRY,
    heun::ENTRY,
    dpmpp_2m::ENTRY,
    dpmpp_2m_sde::ENTRY,
    unipc::ENTRY,
    lcm::ENTRY,
];

/// The sampler called `name`.
///
/// # Errors
/// When there is none, saying which there are.
pub fn find(name: &str) -> Result<&'static Entry> {
    let called = |e: &&Entry| e.name == name || e.aliases.contains(&name);
    ALL.iter().find(called).ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|e| e.name).collect();
        Error::Usage(format!(
            "diffusion: there is no sampler '{name}'; there is {}",
            known.join(", ")
        ))
    })
}
