//! Reverse steps as rows of coefficients: one kernel runs them all.

use serde::{Deserialize, Serialize};

use super::process::{Prediction, Process, Variance};

/// How a reverse step is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A draw from the posterior with the predicted x_0 (Ho et al. 2020, algorithm 2).
    Ancestral {
        /// Its variance.
        variance: Variance,
    },
    /// Song et al. 2021, "Denoising diffusion implicit models", eq. 12.
    Ddim {
        /// 0: no noise at all; 1: as much as the ancestral step with the small variance.
        eta: f64,
        /// Whether the step before the first has abar = 1; otherwise abar of t = 0.
        set_alpha_to_one: bool,
        /// Whether the noise is the one that takes the clipped x_0 to x (diffusers' name); otherwise the prediction's, which belongs to x_0
        /// before it was clipped.
        use_clipped_model_output: bool,
    },
}

/// Everything that decides a reverse step but the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// How a step is made.
    pub method: Method,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Predicted x_0 is clipped to [-clip, clip].
    pub clip: Option<f64>,
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

impl Sampler {
    /// The steps at `timesteps`, falling, of a process: x of the first is noise, x' of the last an image.
    pub fn steps(&self, process: &Process, timesteps: &[usize]) -> Vec<ReverseStep> {
        (0..timesteps.len())
            .map(|i| match self.method {
                Method::Ancestral { variance } => {
                    let next = timesteps.get(i + 1).copied();
                    self.ancestral(process, timesteps[i], next, variance)
                }
                Method::Ddim { .. } => {
                    // As diffusers: the same distance everywhere, even where rounding made the timesteps uneven.
                    let distance = process.len() / timesteps.len();
                    self.ddim(process, timesteps[i], timesteps[i].checked_sub(distance))
                }
            })
            .collect()
    }

    fn step(&self, process: &Process, t: usize) -> ReverseStep {
        let [x0_x, x0_p] = x0_of(self.prediction, process.alphas_cumprod[t]);
        ReverseStep {
            timestep: process.timesteps[t],
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

    /// From t to `next`, or to the image: the posterior of the process that visits both (Nichol & Dhariwal 2021, section 4).
    fn ancestral(
        &self,
        process: &Process,
        t: usize,
        next: Option<usize>,
        variance: Variance,
    ) -> ReverseStep {
        let abar = process.alphas_cumprod[t];
        let before = next.map_or(1.0, |n| process.alphas_cumprod[n]);
        let alpha = abar / before;
        let beta = 1.0 - alpha;
        let step = ReverseStep {
            mean_x0: before.sqrt() * beta / (1.0 - abar),
            mean_x: alpha.sqrt() * (1.0 - before) / (1.0 - abar),
            ..self.step(process, t)
        };
        if next.is_none() {
            return step;
        }
        let small = (beta * (1.0 - before) / (1.0 - abar)).max(1e-20).ln();
        let (min_log_variance, max_log_variance) = match variance {
            Variance::FixedSmall => (small, small),
            Variance::FixedLarge => (beta.ln(), beta.ln()),
            Variance::LearnedRange => (small, beta.ln()),
        };
        ReverseStep {
            min_log_variance,
            max_log_variance,
            ..step
        }
    }

    fn ddim(&self, process: &Process, t: usize, next: Option<usize>) -> ReverseStep {
        let Method::Ddim {
            eta,
            set_alpha_to_one,
            use_clipped_model_output,
        } = self.method
        else {
            return self.step(process, t);
        };
        let abar = process.alphas_cumprod[t];
        let last = if set_alpha_to_one {
            1.0
        } else {
            process.alphas_cumprod[0]
        };
        let before = next.map_or(last, |n| process.alphas_cumprod[n]);
        let variance = eta * eta * (1.0 - before) / (1.0 - abar) * (1.0 - abar / before);
        let direction = (1.0 - before - variance).max(0.0).sqrt();
        let step = self.step(process, t);
        let [of_x0, of_x, of_p] = if use_clipped_model_output {
            let sigma = (1.0 - abar).sqrt();
            [-abar.sqrt() / sigma, 1.0 / sigma, 0.0]
        } else {
            let [of_x, of_p] = epsilon_of(self.prediction, abar);
            [0.0, of_x, of_p]
        };
        let log_variance = variance.ln();
        ReverseStep {
            mean_x0: before.sqrt() + direction * of_x0,
            mean_x: direction * of_x,
            mean_p: direction * of_p,
            min_log_variance: log_variance,
            max_log_variance: log_variance,
            ..step
        }
    }
}
