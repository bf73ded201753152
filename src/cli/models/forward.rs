//! The forward process that a model is trained along.

use clap::Args;

use crate::models::diffusion::process::{BetaSchedule, Config, Rounding};

/// What takes examples to noise.
#[derive(Debug, Args)]
pub(super) struct ForwardArguments {
    /// T, the steps of the forward process
    #[arg(long, default_value_t = 1000)]
    pub(super) timesteps: usize,
    /// How the variances of its steps grow; cosine is diffusers' squaredcos_cap_v2
    #[arg(long, visible_alias = "beta-schedule", value_enum, default_value_t = BetaSchedule::Linear)]
    schedule: BetaSchedule,
    /// The first of them
    #[arg(long, default_value_t = 1e-4)]
    beta_start: f64,
    /// The last
    #[arg(long, default_value_t = 0.02)]
    beta_end: f64,
    /// Rescale them so that the last step leaves nothing of the image (Lin et al. 2024); a diffusion model then needs another prediction than
    /// epsilon
    #[arg(long)]
    pub(super) zero_terminal_snr: bool,
    /// Keep the process's tables in f32, as diffusers does
    #[arg(long)]
    f32_tables: bool,
}

impl ForwardArguments {
    pub(super) fn config(&self) -> Config {
        Config {
            timesteps: self.timesteps,
            beta_schedule: self.schedule,
            beta_start: self.beta_start,
            beta_end: self.beta_end,
            zero_terminal_snr: self.zero_terminal_snr,
            rounding: if self.f32_tables {
                Rounding::F32
            } else {
                Rounding::F64
            },
            ..Config::default()
        }
    }
}
