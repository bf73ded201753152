//! Which timesteps a sampler visits.
//!
//! ```
//! use wgen::models::diffusion::spacing::Spacing;
//!
//! assert_eq!(Spacing::Leading.timesteps(1000, 4, 0)?, [750, 500, 250, 0]);
//! assert_eq!(Spacing::Linspace.timesteps(1000, 4, 0)?, [999, 666, 333, 0]);
//! assert_eq!(Spacing::Trailing.timesteps(1000, 4, 0)?, [999, 749, 499, 249]);
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which timesteps a sampler visits. The names are diffusers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Spacing {
    /// Every (T / steps)-th from 0 on, plus an offset: diffusers' default. Never reaches T - 1.
    #[default]
    Leading,
    /// Evenly from 0 to T - 1, rounded.
    Linspace,
    /// Every (T / steps)-th from T - 1 down: needed where the terminal SNR is zero.
    Trailing,
}

impl Spacing {
    /// The timesteps, falling, as diffusers' `set_timesteps` gives them.
    ///
    /// # Errors
    /// When there are more steps than T, or none.
    pub fn timesteps(self, total: usize, steps: usize, offset: usize) -> Result<Vec<usize>> {
        if steps == 0 || steps > total {
            return Err(Error::Usage(format!(
                "diffusion: {steps} sampling steps, the process has {total}; from 1 to {total} are possible"
            )));
        }
        // As numpy's round: halves to the even neighbour.
        let mut rising: Vec<usize> = match self {
            Self::Leading => (0..steps).map(|i| i * (total / steps) + offset).collect(),
            Self::Linspace => {
                let step = (total - 1) as f64 / (steps.max(2) - 1) as f64;
                (0..steps)
                    .map(|i| (i as f64 * step).round_ties_even() as usize)
                    .collect()
            }
            Self::Trailing => {
                let ratio = total as f64 / steps as f64;
                (0..steps)
                    .map(|i| (total as f64 - i as f64 * ratio).round_ties_even() as usize - 1)
                    .rev()
                    .collect()
            }
        };
        if let Some(&last) = rising.last()
            && last >= total
        {
            return Err(Error::Usage(format!(
                "diffusion: the offset {offset} moves the last of {steps} timesteps to {last}, the process ends at {}",
                total - 1
            )));
        }
        rising.reverse();
        Ok(rising)
    }
}
