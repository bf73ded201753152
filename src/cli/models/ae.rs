//! Arguments of `wgen train ae`.

use std::sync::Arc;

use clap::Args;

use super::corruption::CorruptionArguments;
use crate::cli::training::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::{Model, autoencoder};
use crate::nn::Activation;
use crate::tensor::DType;

#[derive(Debug, Args)]
pub(in crate::cli) struct Ae {
    #[command(flatten)]
    training: TrainingArguments,
    /// Sizes of the encoder's hidden layers; the decoder has them in reverse [default: 1000,500,250]
    #[arg(long, value_delimiter = ',', conflicts_with = "channels")]
    hidden: Option<Vec<usize>>,
    /// Channels of the encoder's convolutions, each of which halves the image, instead of hidden layers
    #[arg(long, value_delimiter = ',')]
    channels: Vec<usize>,
    /// Size of the code
    #[arg(long, default_value_t = 30)]
    latent: usize,
    /// Between layers
    #[arg(long, value_enum, default_value_t = Activation::Relu)]
    activation: Activation,
    /// After the last layer [default: sigmoid for pixels, identity for coordinates]
    #[arg(long, value_enum)]
    output: Option<Activation>,
    #[command(flatten)]
    corruption: CorruptionArguments,
}

impl ModelArguments for Ae {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let output = match self.output {
            Some(name) => name,
            None if dataset.dtype() == DType::F32 => Activation::Identity,
            None => Activation::Sigmoid,
        };
        let config = autoencoder::Config {
            image: dataset.shape,
            hidden: match &self.hidden {
                Some(hidden) => hidden.clone(),
                None if self.channels.is_empty() => vec![1000, 500, 250],
                None => Vec::new(),
            },
            channels: self.channels.clone(),
            latent: self.latent,
            activation: self.activation,
            output,
            corruption: self.corruption.corruption(),
        };
        Ok(Arc::new(autoencoder::Autoencoder::new(config)?))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }
}
