//! Arguments of `wgen train gan`.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::classes_of;
use crate::cli::training::{Defaults, ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::gan::{self, Loss, Networks};
use crate::tensor::DType;

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum NormName {
    Batch,
    None,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Gan {
    #[command(flatten)]
    training: TrainingArguments,
    /// Perceptrons with hidden layers of these widths instead of DCGAN
    #[arg(long, value_delimiter = ',')]
    hidden: Option<Vec<usize>>,
    /// DCGAN: channels next to the image, in both networks
    #[arg(long)]
    channels: Option<usize>,
    /// DCGAN: channels next to the image in the discriminator, where they differ
    #[arg(long)]
    discriminator_channels: Option<usize>,
    /// DCGAN: normalisation in the discriminator [default: batch; none with wasserstein]
    #[arg(long, value_enum)]
    discriminator_norm: Option<NormName>,
    /// The size of the noise [default: 100 for images, 8 for points]
    #[arg(long)]
    latent: Option<usize>,
    /// What the networks play for
    #[arg(long, value_enum, default_value_t = Loss::NonSaturating)]
    loss: Loss,
    /// Updates of the discriminator for one of the generator
    #[arg(long, default_value_t = 1)]
    discriminator_steps: usize,
    /// One-sided label smoothing: real examples have target 1 less this
    #[arg(long, default_value_t = 0.0)]
    smoothing: f32,
    /// Weight of the gradient penalty of wasserstein
    #[arg(long, default_value_t = 10.0)]
    gradient_penalty: f64,
    /// Divide the discriminator's weights by their largest singular values
    #[arg(long)]
    spectral_norm: bool,
    /// Condition both networks on the data's labels
    #[arg(long)]
    conditional: bool,
}

impl ModelArguments for Gan {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let pixels = dataset.dtype() == DType::U8;
        let mut config = gan::Config::for_data(dataset.shape, pixels);
        let loss = self.loss;
        config.networks = match (&self.hidden, config.networks) {
            (Some(hidden), _) => Networks::Mlp {
                hidden: hidden.clone(),
            },
            (None, Networks::Dcgan { .. }) => {
                let channels = self.channels.unwrap_or(64);
                let batch = self
                    .discriminator_norm
                    .map_or_else(|| loss != Loss::Wasserstein, |norm| norm == NormName::Batch);
                Networks::Dcgan {
                    generator_channels: channels,
                    discriminator_channels: self.discriminator_channels.unwrap_or(channels),
                    discriminator_norm: batch,
                }
            }
            (None, other) => other,
        };
        config.latent = self.latent.unwrap_or(config.latent);
        config.loss = loss;
        config.discriminator_steps = self.discriminator_steps;
        config.smoothing = self.smoothing;
        config.gradient_penalty = self.gradient_penalty;
        config.spectral_norm = self.spectral_norm;
        if self.conditional {
            config.classes = classes_of(dataset)?;
        }
        Ok(Arc::new(gan::Gan::new(config)?))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    /// DCGAN's rates.
    fn defaults(&self) -> Defaults {
        Defaults {
            learning_rate: 2e-4,
            beta1: 0.5,
            epochs: 10,
            ..Defaults::default()
        }
    }
}
