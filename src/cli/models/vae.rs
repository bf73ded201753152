//! Arguments of `wgen train vae`.

use std::sync::Arc;

use clap::Args;

use super::classes_of;
use crate::cli::training::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::vae::{self, Decoder};
use crate::tensor::DType;

#[derive(Debug, Args)]
pub(in crate::cli) struct Vae {
    #[command(flatten)]
    training: TrainingArguments,
    /// Sizes of the encoder's hidden layers; the decoder has them in reverse [default: 400]
    #[arg(long, value_delimiter = ',', conflicts_with = "channels")]
    hidden: Option<Vec<usize>>,
    /// Channels of the encoder's convolutions, each of which halves the image, instead of hidden layers
    #[arg(long, value_delimiter = ',')]
    channels: Vec<usize>,
    /// Condition encoder and decoder on the data's labels
    #[arg(long)]
    conditional: bool,
    /// Latent size
    #[arg(long, default_value_t = 20)]
    latent: usize,
    /// p(x | z)
    #[arg(long, value_enum)]
    decoder: Option<Decoder>,
    /// Weight of the KL term
    #[arg(long, default_value_t = 1.0)]
    beta: f64,
    /// Steps over which that weight rises from 0
    #[arg(long, default_value_t = 0)]
    beta_warmup: u64,
}

impl ModelArguments for Vae {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        // Coordinates are no probabilities: they have a Gaussian decoder unless told otherwise.
        let decoder = self.decoder.unwrap_or(match dataset.dtype() {
            DType::F32 => Decoder::Gaussian,
            _ => Decoder::Bernoulli,
        });
        Ok(Arc::new(vae::Vae::new(vae::Config {
            width: dataset.shape.count(),
            hidden: match &self.hidden {
                Some(hidden) => hidden.clone(),
                None if self.channels.is_empty() => vec![400],
                None => Vec::new(),
            },
            latent: self.latent,
            decoder,
            image: (!self.channels.is_empty()).then_some(dataset.shape),
            channels: self.channels.clone(),
            classes: if self.conditional {
                classes_of(dataset)?
            } else {
                0
            },
        })?))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    fn weight(&self) -> (f64, u64) {
        (self.beta, self.beta_warmup)
    }
}
