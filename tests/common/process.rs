//! The process of diffusion as tests take it: its schedules, a network that predicts noise, a step's variance.

use wgen::models::diffusion::process::{BetaSchedule, Prediction, Process, Variance};
use wgen::models::diffusion::samplers::{Reverse, ReverseStep};

/// Every schedule by diffusers' name.
pub(crate) const SCHEDULES: [(&str, BetaSchedule); 4] = [
    ("linear", BetaSchedule::Linear),
    ("scaled_linear", BetaSchedule::ScaledLinear),
    ("squaredcos_cap_v2", BetaSchedule::Cosine),
    ("sigmoid", BetaSchedule::Sigmoid),
];

/// The variance of a step, from its row.
pub(crate) fn variance(step: &ReverseStep) -> f64 {
    step.min_log_variance.exp()
}

/// A network that predicts noise, x_0 clipped to [-1, 1].
pub(crate) fn of_noise(process: &Process, variance: Variance) -> Reverse<'_> {
    Reverse {
        process,
        prediction: Prediction::Epsilon,
        clip: Some(1.0),
        clip_guided: true,
        variance,
    }
}
