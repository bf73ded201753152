//! What x is made of on the way to noise: kinds of process beside the variance-preserving ones, continuous in their noise S.

use serde::{Deserialize, Serialize};

use super::Level;
use crate::error::{Error, Result};
use crate::kernels::functions::Distribution;

/// Which kind a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// x = sqrt(abar) x_0 + sqrt(1 - abar) epsilon at T timesteps (Ho et al. 2020).
    #[default]
    VariancePreserving,
    /// x = (1 - S) x_0 + S epsilon, S from 0 to 1.
    Flow(Flow),
    /// x = (x_0 + S epsilon) / sqrt(S^2 + sigma_data^2), the deviation S from 0 up.
    Edm(Edm),
}

/// How training draws S of a flow, before it is shifted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Density {
    /// Evenly on [0, 1) (Liu et al. 2023, "Flow straight and fast", eq. 1).
    #[default]
    Uniform,
    /// sigmoid(z), z ~ N(0, 1): more often in the middle (Esser et al. 2024, "Scaling rectified flow transformers", eq. 19).
    LogitNormal,
}

/// Flow matching (Lipman et al. 2023; Liu et al. 2023): a straight way from the image to noise. The network is told t = T S.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// k: S becomes k S / (1 + (k - 1) S), in training and in sampling; above 1 more of it is noise (Esser et al. 2024, eq. 23).
    pub shift: f64,
    /// How training draws S.
    pub density: Density,
}

impl Default for Flow {
    /// Evenly, not shifted.
    fn default() -> Self {
        Self {
            shift: 1.0,
            density: Density::Uniform,
        }
    }
}

impl Flow {
    /// k S / (1 + (k - 1) S).
    pub fn shifted(shift: f64, noise: f64) -> f64 {
        shift * noise / (1.0 + (shift - 1.0) * noise)
    }

    /// The point where S is `noise`, of a process of `timesteps`.
    pub fn level(timesteps: usize, noise: f64) -> Level {
        Level {
            a: 1.0 - noise,
            s: noise,
            timestep: timesteps as f64 * noise,
        }
    }
}

/// The preconditioning of Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1: x is what the network
/// sees, c_in times their x; it is told c_noise = ln(S) / 4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edm {
    /// The deviation of the data.
    pub sigma_data: f64,
    /// The least S that a sampler visits.
    pub sigma_min: f64,
    /// The most.
    pub sigma_max: f64,
    /// The mean of ln S in training: P_mean.
    pub log_mean: f64,
    /// Its deviation: P_std.
    pub log_deviation: f64,
}

impl Default for Edm {
    /// Their table 1.
    fn default() -> Self {
        Self {
            sigma_data: 0.5,
            sigma_min: 0.002,
            sigma_max: 80.0,
            log_mean: -1.2,
            log_deviation: 1.2,
        }
    }
}

/// Karras' root: rho.
pub const RHO: f64 = 7.0;

impl Edm {
    /// The point where S is `sigma`.
    pub fn level(&self, sigma: f64) -> Level {
        let a = 1.0 / sigma.hypot(self.sigma_data);
        Level {
            a,
            s: sigma * a,
            timestep: 0.25 * sigma.ln(),
        }
    }

    /// The S at `share` of the way from the most to the least, whose roots are evenly apart (their eq. 5).
    pub fn spaced(&self, share: f64) -> f64 {
        let (most, least) = (
            self.sigma_max.powf(1.0 / RHO),
            self.sigma_min.powf(1.0 / RHO),
        );
        (most + share * (least - most)).powf(RHO)
    }
}

impl Kind {
    /// Whether a^2 + s^2 = 1, with timesteps and betas.
    pub fn preserves_variance(&self) -> bool {
        *self == Self::VariancePreserving
    }

    /// Its name in configurations.
    pub fn name(&self) -> &'static str {
        match self {
            Self::VariancePreserving => "variance_preserving",
            Self::Flow(_) => "flow",
            Self::Edm(_) => "edm",
        }
    }

    /// What training draws S from.
    pub(in crate::models::diffusion) fn distribution(&self) -> Distribution {
        match self {
            Self::VariancePreserving => Distribution::Uniform,
            Self::Flow(flow) if flow.density == Density::Uniform => Distribution::Uniform,
            Self::Flow(_) | Self::Edm(_) => Distribution::Normal,
        }
    }

    /// Refuses numbers that make no process.
    ///
    /// # Errors
    /// Naming the field.
    pub(super) fn check(&self) -> Result<()> {
        let positive = |name: &str, value: f64| {
            if value > 0.0 && value.is_finite() {
                return Ok(());
            }
            Err(Error::Usage(format!(
                "diffusion: `{name}` {value} must be above 0"
            )))
        };
        match self {
            Self::VariancePreserving => Ok(()),
            Self::Flow(flow) => positive("shift", flow.shift),
            Self::Edm(edm) => {
                positive("sigma_data", edm.sigma_data)?;
                positive("sigma_min", edm.sigma_min)?;
                positive("sigma_max", edm.sigma_max)?;
                positive("log_deviation", edm.log_deviation)?;
                if edm.sigma_max <= edm.sigma_min {
                    return Err(Error::Usage(format!(
                        "diffusion: `sigma_min` {} must be below `sigma_max` {}",
                        edm.sigma_min, edm.sigma_max
                    )));
                }
                if !edm.log_mean.is_finite() {
                    return Err(Error::Usage(format!(
                        "diffusion: `log_mean` {} must be a finite number",
                        edm.log_mean
                    )));
                }
                Ok(())
            }
        }
    }
}
