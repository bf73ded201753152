//! What several autoencoders do to their inputs in training.

use clap::Args;

use crate::models::autoencoder::Corruption;

/// What is done to inputs in training.
#[derive(Debug, Args)]
pub(super) struct CorruptionArguments {
    /// Add normal noise of this standard deviation to inputs, and restore them
    #[arg(long, conflicts_with_all = ["masking", "salt_and_pepper"])]
    gaussian: Option<f32>,
    /// Set this share of each input to 0, and restore it
    #[arg(long, conflicts_with = "salt_and_pepper")]
    masking: Option<f32>,
    /// Set this share of each input to 0 or 1, and restore it
    #[arg(long)]
    salt_and_pepper: Option<f32>,
}

impl CorruptionArguments {
    pub(super) fn corruption(&self) -> Corruption {
        let kinds = [
            self.gaussian.map(Corruption::Gaussian),
            self.masking.map(Corruption::Masking),
            self.salt_and_pepper.map(Corruption::SaltAndPepper),
        ];
        kinds.into_iter().flatten().next().unwrap_or_default()
    }
}
