//! Song et al. 2021, "Denoising diffusion implicit models", eq. 12.

use super::entry::Entry;
use super::step::{Reverse, ReverseStep, Sampler, epsilon_of};

/// Among the samplers.
pub(super) const ENTRY: Entry = Entry {
    name: "ddim",
    scheduler: "DDIMScheduler",
    own: &["eta", "use_clipped_model_output"],
    every_timestep: false,
    build: |settings| {
        Box::new(Ddim {
            eta: settings.eta,
            set_alpha_to_one: settings.set_alpha_to_one,
            use_clipped_model_output: settings.clipped_model_output(),
        })
    },
};

/// The deterministic sampler and those between it and the ancestral one.
#[derive(Clone, Copy, Debug)]
pub struct Ddim {
    /// 0: no noise at all; 1: as much as the ancestral step with the small variance.
    pub eta: f64,
    /// Whether the step before the first has abar = 1; otherwise abar of t = 0.
    pub set_alpha_to_one: bool,
    /// Whether the noise is the one that takes the clipped x_0 to x (diffusers' name); otherwise the prediction's, which belongs to x_0
    /// before it was clipped.
    pub use_clipped_model_output: bool,
}

impl Sampler for Ddim {
    fn steps(&self, reverse: &Reverse<'_>, timesteps: &[usize]) -> Vec<ReverseStep> {
        // As diffusers: the same distance everywhere, even where rounding made the timesteps uneven.
        let distance = reverse.process.len() / timesteps.len();
        timesteps
            .iter()
            .map(|&t| self.step(reverse, t, t.checked_sub(distance)))
            .collect()
    }
}

impl Ddim {
    fn step(&self, reverse: &Reverse<'_>, t: usize, next: Option<usize>) -> ReverseStep {
        let process = reverse.process;
        let abar = process.alphas_cumprod[t];
        let last = if self.set_alpha_to_one {
            1.0
        } else {
            process.alphas_cumprod[0]
        };
        let before = next.map_or(last, |n| process.alphas_cumprod[n]);
        let eta = self.eta;
        let variance = eta * eta * (1.0 - before) / (1.0 - abar) * (1.0 - abar / before);
        let direction = (1.0 - before - variance).max(0.0).sqrt();
        let [of_x0, of_x, of_p] = if self.use_clipped_model_output {
            let sigma = (1.0 - abar).sqrt();
            [-abar.sqrt() / sigma, 1.0 / sigma, 0.0]
        } else {
            let [of_x, of_p] = epsilon_of(reverse.prediction, abar);
            [0.0, of_x, of_p]
        };
        let log_variance = variance.ln();
        ReverseStep {
            mean_x0: before.sqrt() + direction * of_x0,
            mean_x: direction * of_x,
            mean_p: direction * of_p,
            min_log_variance: log_variance,
            max_log_variance: log_variance,
            ..reverse.step(t)
        }
    }
}
