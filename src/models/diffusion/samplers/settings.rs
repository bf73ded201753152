//! How samples are drawn, as configurations and the command line have it.

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Result;
use crate::models::diffusion::process::{self, Level, Process};
use crate::models::diffusion::spacing::{LastSigma, SigmaSpacing, Spacing, Visits};

/// How samples are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerSettings {
    /// The sampler's name: one of [`ALL`](super::ALL).
    pub sampler: String,
    /// DDIM: 0 is no noise, 1 as much as the ancestral step has.
    pub eta: f64,
    /// Steps.
    pub steps: usize,
    /// Which timesteps they are.
    pub spacing: Spacing,
    /// Or which levels of noise.
    #[serde(default)]
    pub sigmas: Option<SigmaSpacing>,
    /// The least of those, in place of the process's.
    #[serde(default)]
    pub sigma_min: Option<f64>,
    /// The most.
    #[serde(default)]
    pub sigma_max: Option<f64>,
    /// Added to leading timesteps.
    pub steps_offset: usize,
    /// Scale of classifier-free guidance; 1 for none.
    pub guidance: f64,
    /// What the last step goes to.
    #[serde(alias = "set_alpha_to_one", deserialize_with = "last_sigma")]
    pub last_sigma: LastSigma,
    /// DDIM: whether the noise is the one that takes the clipped x_0 to x, and not the prediction's, which belongs to x_0 before it was
    /// clipped. `None`: where there is guidance. Guided predictions leave the range of images everywhere; what clipping took from x_0 would
    /// stay in the noise, step after step.
    #[serde(default)]
    pub use_clipped_model_output: Option<bool>,
    /// DDIM: each step goes T / steps timesteps down, wherever the next one visited is: as diffusers, whose steps so miss the timesteps of
    /// other spacings than leading.
    #[serde(default)]
    pub stride: bool,
    /// 2M: how the second order comes in.
    #[serde(default)]
    pub solver_type: SolverType,
    /// 2M, UniPC: whether the last step is of first order; of 2M only below 15 steps.
    #[serde(default = "yes")]
    pub lower_order_final: bool,
    /// 2M: 1 or 2; 1 is the step of first order on its own timesteps.
    #[serde(default = "two")]
    pub solver_order: usize,
    /// 2M: whether the last step always is.
    #[serde(default)]
    pub euler_at_final: bool,
    /// 2M: levels whose lambda is smaller are not visited.
    #[serde(default)]
    pub lambda_min_clipped: Option<f64>,
    /// Scale of a classifier's guidance; 0 for none.
    #[serde(default)]
    pub classifier_scale: f64,
    /// Whether x_0 is clipped again after a classifier has moved it. `None`: where x_0 is clipped at all.
    #[serde(default)]
    pub clip_guided: Option<bool>,
    /// LCM: the timesteps that the model was distilled at, of which its own are some; `None`: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_steps: Option<usize>,
    /// Dynamic thresholding (Saharia et al. 2022, "Photorealistic text-to-image diffusion models", section 2.3): instead of being clipped, x_0 of
    /// each sample is clipped to the quantile of this ratio of its magnitudes, where that is above 1, and divided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The most that x_0 is so divided by; `None`: no bound. With 1 it is clipped to 1, as diffusers does where nothing else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_max: Option<f64>,
    /// Of a flow: the shift of the levels, in place of the process's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<f64>,
    /// Of a flow: whether the ends of the levels, 1 and 1 / T, are shifted before all levels are: what diffusers 0.42.1 makes of its own folders.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shift_twice: bool,
}

/// How a solver of second order uses the prediction before (Lu et al. 2022, "DPM-Solver++", appendix B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum SolverType {
    /// At the middle of the step.
    #[default]
    Midpoint,
    /// At its end.
    Heun,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn two() -> usize {
    2
}

fn yes() -> bool {
    true
}

/// Also the true and false of DDIM's `set_alpha_to_one`, which it was once called here.
fn last_sigma<'de, D: Deserializer<'de>>(from: D) -> Result<LastSigma, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Old(bool),
        New(LastSigma),
    }
    Ok(match Either::deserialize(from)? {
        Either::Old(true) => LastSigma::Zero,
        Either::Old(false) => LastSigma::SigmaMin,
        Either::New(last) => last,
    })
}

impl SamplerSettings {
    /// [`Self::use_clipped_model_output`], decided.
    pub(crate) fn clipped_model_output(&self) -> bool {
        self.use_clipped_model_output
            .unwrap_or(self.guidance != 1.0 || self.classifier_scale != 0.0)
    }

    /// The levels that it visits, and at the end what the last step goes to.
    ///
    /// # Errors
    /// When the process has no such levels.
    pub fn levels(&self, process: &Process, config: &process::Config) -> Result<Vec<Level>> {
        let visits = Visits {
            steps: self.steps,
            spacing: self.spacing,
            sigmas: self.sigmas,
            offset: self.steps_offset,
            sigma_min: self.sigma_min,
            sigma_max: self.sigma_max,
            last: self.last_sigma,
            lambda_min: self.lambda_min_clipped,
            original: self.original_steps,
            shift: self.shift,
            shift_twice: self.shift_twice,
        };
        let grid = super::find(&self.sampler)?.grid;
        visits.levels(process, config.beta_schedule, grid)
    }
}

impl Default for SamplerSettings {
    /// 50 steps of DDIM without noise.
    fn default() -> Self {
        Self {
            sampler: "ddim".to_owned(),
            eta: 0.0,
            steps: 50,
            spacing: Spacing::Leading,
            sigmas: None,
            sigma_min: None,
            sigma_max: None,
            steps_offset: 0,
            guidance: 1.0,
            last_sigma: LastSigma::Zero,
            use_clipped_model_output: None,
            stride: false,
            solver_type: SolverType::Midpoint,
            solver_order: 2,
            lower_order_final: true,
            euler_at_final: false,
            lambda_min_clipped: None,
            classifier_scale: 0.0,
            clip_guided: None,
            original_steps: None,
            threshold: None,
            threshold_max: None,
            shift: None,
            shift_twice: false,
        }
    }
}
