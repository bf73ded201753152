//! A reverse step as a row of coefficients, which one kernel runs for all samplers, and what makes such rows.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::kernels::reverse_step::{COLUMNS, NO_NOISE, column};
use crate::models::diffusion::process::{Prediction, Process, Variance};
use crate::models::diffusion::spacing::Spacing;

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
    /// Added to leading timesteps.
    pub steps_offset: usize,
    /// Scale of classifier-free guidance; 1 for none.
    pub guidance: f64,
    /// DDIM: whether the step before the first has abar 1, else abar of t = 0.
    pub set_alpha_to_one: bool,
    /// DDIM: whether the noise is the one that takes the clipped x_0 to x, and not the prediction's, which belongs to x_0 before it was
    /// clipped. `None`: where there is guidance. Guided predictions leave the range of images everywhere; what clipping took from x_0 would
    /// stay in the noise, step after step.
    #[serde(default)]
    pub use_clipped_model_output: Option<bool>,
}

impl SamplerSettings {
    /// [`Self::use_clipped_model_output`], decided.
    pub(crate) fn clipped_model_output(&self) -> bool {
        self.use_clipped_model_output
            .unwrap_or(self.guidance != 1.0)
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
            steps_offset: 0,
            guidance: 1.0,
            set_alpha_to_one: true,
            use_clipped_model_output: None,
        }
    }
}

/// A sampler: rows of coefficients for a process.
pub trait Sampler: Debug + Send + Sync {
    /// The steps at `timesteps`, falling: x of the first is noise, x' of the last an image.
    fn steps(&self, reverse: &Reverse<'_>, timesteps: &[usize]) -> Vec<ReverseStep>;
}

/// What every sampler of a model has in common: the process, and what its network says of it.
#[derive(Clone, Copy, Debug)]
pub struct Reverse<'a> {
    /// The forward process.
    pub process: &'a Process,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Predicted x_0 is clipped to [-clip, clip].
    pub clip: Option<f64>,
    /// The variance of ancestral steps.
    pub variance: Variance,
}

/// A reverse step from x to x', p the network's prediction, z normal noise:
///
///   x_0 = clip(`x0_x` x + `x0_p` p),  x' = `mean_x0` x_0 + `mean_x` x + `mean_p` p + sigma z
///
/// ln sigma^2 goes from `min_log_variance` (the network's variance output at -1) to `max_log_variance` (at 1); both are the same where
/// the variance is not learned. Minus infinity: no noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReverseStep {
    /// What the network is told.
    pub timestep: usize,
    /// See above.
    pub x0_x: f64,
    /// See above.
    pub x0_p: f64,
    /// Infinite: not clipped.
    pub clip: f64,
    /// See above.
    pub mean_x0: f64,
    /// See above.
    pub mean_x: f64,
    /// See above.
    pub mean_p: f64,
    /// See above.
    pub min_log_variance: f64,
    /// See above.
    pub max_log_variance: f64,
}

impl Reverse<'_> {
    /// The step at t that predicts x_0 and is not yet told what to make of it.
    pub fn step(&self, t: usize) -> ReverseStep {
        let [x0_x, x0_p] = x0_of(self.prediction, self.process.alphas_cumprod[t]);
        ReverseStep {
            timestep: self.process.timesteps[t],
            x0_x,
            x0_p,
            clip: self.clip.unwrap_or(f64::INFINITY),
            mean_x0: 0.0,
            mean_x: 0.0,
            mean_p: 0.0,
            min_log_variance: f64::NEG_INFINITY,
            max_log_variance: f64::NEG_INFINITY,
        }
    }
}

impl ReverseStep {
    /// The step as the kernel reads it: guided by `guidance`, its noise that of draw number `draw`.
    pub fn coefficients(&self, guidance: f64, draw: usize) -> [f32; COLUMNS] {
        let mut row = [0.0; COLUMNS];
        row[column::X0_X] = self.x0_x as f32;
        row[column::X0_P] = self.x0_p as f32;
        row[column::CLIP] = self.clip.min(f64::from(f32::MAX)) as f32;
        row[column::MEAN_X0] = self.mean_x0 as f32;
        row[column::MEAN_X] = self.mean_x as f32;
        row[column::MEAN_P] = self.mean_p as f32;
        row[column::MIN_LOG_VARIANCE] = self.min_log_variance.max(NO_NOISE) as f32;
        row[column::MAX_LOG_VARIANCE] = self.max_log_variance.max(NO_NOISE) as f32;
        row[column::GUIDANCE] = guidance as f32;
        row[column::DRAW] = draw as f32;
        row
    }
}

/// x_0 as `[x, p]`: coefficients of x_t and of the prediction.
pub fn x0_of(prediction: Prediction, abar: f64) -> [f64; 2] {
    match prediction {
        Prediction::Epsilon => [1.0 / abar.sqrt(), -((1.0 - abar) / abar).sqrt()],
        Prediction::Sample => [0.0, 1.0],
        Prediction::Velocity => [abar.sqrt(), -(1.0 - abar).sqrt()],
    }
}

/// The noise as `[x, p]`.
pub fn epsilon_of(prediction: Prediction, abar: f64) -> [f64; 2] {
    match prediction {
        Prediction::Epsilon => [0.0, 1.0],
        Prediction::Sample => [1.0 / (1.0 - abar).sqrt(), -(abar / (1.0 - abar)).sqrt()],
        Prediction::Velocity => [(1.0 - abar).sqrt(), abar.sqrt()],
    }
}
