//! Arguments of `wgen train ae`.

use std::sync::Arc;

use clap::Args;

use super::corruption::CorruptionArguments;
use super::usual;
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
    /// Sizes of the encoder's hidden layers; the decoder has them in reverse [default: 1000,500,250; of pictures in colour or above 32x32
    /// none]
    #[arg(long, value_delimiter = ',', conflicts_with = "channels")]
    hidden: Option<Vec<usize>>,
    /// Channels of the encoder's convolutions, each of which halves the image, instead of hidden layers [default: of pictures in colour or
    /// above 32x32 as many of 32,64,128,256 as they can be halved]
    #[arg(long, value_delimiter = ',')]
    channels: Vec<usize>,
    /// Size of the code [default: 30; of pictures in colour or above 32x32 64]
    #[arg(long)]
    latent: Option<usize>,
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
        let (channels, chosen) =
            usual::convolutions(dataset, self.hidden.is_some(), &self.channels);
        let latent = self
            .latent
            .unwrap_or(if chosen { usual::LATENT } else { 30 });
        if chosen {
            log::info!(
                "for these pictures: --channels {} --latent {latent}; for digits it would be --hidden 1000,500,250 --latent 30",
                usual::list(&channels)
            );
        }
        let config = autoencoder::Config {
            image: dataset.shape,
            hidden: match &self.hidden {
                Some(hidden) => hidden.clone(),
                None if channels.is_empty() => vec![1000, 500, 250],
                None => Vec::new(),
            },
            channels,
            latent,
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
