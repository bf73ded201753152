//! The forward process, by which examples become noise, and its posterior as tables over t (Ho et al. 2020, "Denoising diffusion
//! probabilistic models"; Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models").
//!
//! t runs from 0 to T - 1, as in the codes of both papers and in diffusers: x at t has passed t + 1 steps of noise.
//!
//! ```
//! use wgen::models::diffusion::process::{Config, Process};
//! use wgen::models::diffusion::spacing::Spacing;
//!
//! let process = Process::new(&Config::default())?;
//! assert_eq!(process.len(), 1000);
//! // The ratio of signal to noise: at first next to no noise, at last next to nothing else.
//! assert!(process.snr(0) > 9998.0 && process.snr(999) < 1e-4);
//!
//! // A sampler visits some of the timesteps, and the process that visits only those is one too.
//! let mut visited = Spacing::Trailing.timesteps(process.len(), 4, 0)?;
//! assert_eq!(visited, [999, 749, 499, 249]);
//! visited.reverse();
//! let short = process.respaced(&visited)?;
//! assert_eq!(short.alphas_cumprod[3], process.alphas_cumprod[999]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

mod kind;
mod level;
mod tables;

pub use kind::{Density, Edm, Flow, Kind, RHO};
pub use level::Level;
pub(super) use tables::table;
pub use tables::{Posterior, Process};

/// How the variances of the forward steps grow with t. The names are diffusers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum BetaSchedule {
    /// Evenly from the first to the last (Ho et al. 2020, section 4).
    #[default]
    #[serde(rename = "linear")]
    Linear,
    /// Their square roots evenly (Rombach et al. 2022).
    #[serde(rename = "scaled_linear")]
    ScaledLinear,
    /// Such that abar is cos^2((u + 0.008) / 1.008 pi / 2), u = t / T; at most 0.999 (Nichol & Dhariwal 2021, eq. 17). Takes no first and last.
    #[serde(rename = "squaredcos_cap_v2")]
    Cosine,
    /// Along a sigmoid from -6 to 6: diffusers' schedule of betas, not denoising-diffusion-pytorch's of abar.
    #[serde(rename = "sigmoid")]
    Sigmoid,
}

/// What the network predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Prediction {
    /// The noise (Ho et al. 2020, section 3.2).
    #[default]
    #[serde(rename = "epsilon")]
    Epsilon,
    /// The image.
    #[serde(rename = "sample")]
    Sample,
    /// v = sqrt(abar) epsilon - sqrt(1 - abar) x_0 (Salimans & Ho 2022).
    #[serde(rename = "v_prediction")]
    #[cfg_attr(feature = "cli", value(name = "v"))]
    Velocity,
    /// epsilon - x_0, along which a straight way from the image to noise leads (Lipman et al. 2023, eq. 23, whose t runs the other way; Liu et
    /// al. 2023, eq. 1): of a [flow](Kind::Flow).
    #[serde(rename = "flow_prediction")]
    #[cfg_attr(feature = "cli", value(name = "flow"))]
    Flow,
    /// What is left of the image when c_skip of x is taken away, in units of c_out (Karras et al. 2022, eq. 7): of [`Kind::Edm`].
    #[serde(rename = "edm")]
    Edm,
}

/// The variance of a reverse step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Variance {
    /// The posterior's, beta~ (Ho et al. 2020, eq. 7).
    #[default]
    FixedSmall,
    /// beta.
    FixedLarge,
    /// Between the two in the logarithm, as the network's further channels say (Nichol & Dhariwal 2021, eq. 15).
    LearnedRange,
}

/// How the tables are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// In f64, as guided-diffusion does.
    #[default]
    F64,
    /// betas and abar rounded to f32, as diffusers keeps them: for agreement with it step by step. 1 - abar loses digits at small t.
    F32,
}

/// What a process is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// T.
    pub timesteps: usize,
    /// How betas grow.
    pub beta_schedule: BetaSchedule,
    /// The first beta.
    pub beta_start: f64,
    /// The last.
    pub beta_end: f64,
    /// Betas changed so that nothing of the image is left at T - 1 (Lin et al. 2024, algorithm 1).
    pub zero_terminal_snr: bool,
    /// How tables are kept.
    pub rounding: Rounding,
    /// What x is made of; betas are of a variance-preserving process.
    #[serde(default, skip_serializing_if = "Kind::preserves_variance")]
    pub kind: Kind,
}

impl Default for Config {
    /// Ho et al. 2020: T = 1000, betas from 1e-4 to 0.02.
    fn default() -> Self {
        Self {
            timesteps: 1000,
            beta_schedule: BetaSchedule::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            zero_terminal_snr: false,
            rounding: Rounding::F64,
            kind: Kind::VariancePreserving,
        }
    }
}

/// The largest T that is taken: a table of it is a few megabytes.
const MAX_TIMESTEPS: usize = 100_000;

impl Config {
    /// Refuses what is no process.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        if self.timesteps == 0 || self.timesteps > MAX_TIMESTEPS {
            return wrong(format!(
                "timesteps {} must be from 1 to {MAX_TIMESTEPS}",
                self.timesteps
            ));
        }
        for (name, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return wrong(format!("{name} {beta} must be between 0 and 1"));
            }
        }
        if self.zero_terminal_snr && self.timesteps < 2 {
            return wrong("zero_terminal_snr needs two timesteps at least".to_owned());
        }
        if self.kind.preserves_variance() {
            return Ok(());
        }
        let usual = Self::default();
        let of_betas = [
            ("beta_schedule", self.beta_schedule != usual.beta_schedule),
            ("beta_start", self.beta_start != usual.beta_start),
            ("beta_end", self.beta_end != usual.beta_end),
            ("zero_terminal_snr", self.zero_terminal_snr),
            ("rounding", self.rounding != usual.rounding),
        ];
        if let Some((name, _)) = of_betas.into_iter().find(|(_, given)| *given) {
            return wrong(format!(
                "`{name}` is of variance-preserving processes; {} has no betas, leave it out",
                self.kind.name()
            ));
        }
        self.kind.check()
    }

    fn betas(&self) -> Vec<f64> {
        let count = self.timesteps;
        // `count` numbers evenly from `first` to `last`; one number is the first.
        let evenly = |first: f64, last: f64| {
            let step = (last - first) / (count.max(2) - 1) as f64;
            (0..count).map(move |i| first + step * i as f64)
        };
        let (first, last) = (self.beta_start, self.beta_end);
        match self.beta_schedule {
            BetaSchedule::Linear => evenly(first, last).collect(),
            BetaSchedule::ScaledLinear => evenly(first.sqrt(), last.sqrt())
                .map(|root| root * root)
                .collect(),
            BetaSchedule::Cosine => {
                let abar = |u: f64| ((u + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
                let at = |i: usize| abar(i as f64 / count as f64);
                (0..count)
                    .map(|i| (1.0 - at(i + 1) / at(i)).min(0.999))
                    .collect()
            }
            BetaSchedule::Sigmoid => evenly(-6.0, 6.0)
                .map(|u| first + (last - first) / (1.0 + (-u).exp()))
                .collect(),
        }
    }
}

/// Betas whose last abar is 0, the first unchanged (Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed").
fn with_zero_terminal_snr(betas: &[f64]) -> Vec<f64> {
    let roots: Vec<f64> = cumulative(betas).iter().map(|a| a.sqrt()).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let moved = |root: f64| (root - last) * first / (first - last);
    let mut before = 1.0;
    roots
        .iter()
        .map(|&root| {
            let abar = moved(root).powi(2);
            let beta = 1.0 - abar / before;
            before = abar;
            beta
        })
        .collect()
}

/// Products of 1 - beta from the first on.
fn cumulative(betas: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    betas
        .iter()
        .map(|beta| {
            product *= 1.0 - beta;
            product
        })
        .collect()
}
