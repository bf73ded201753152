//! Arguments of `wgen train vae`.

use std::sync::Arc;

use clap::Args;

use super::{classes_of, usual};
use crate::cli::training::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::vae::{self, Decoder};

#[derive(Debug, Args)]
pub(in crate::cli) struct Vae {
    #[command(flatten)]
    training: TrainingArguments,
    /// Sizes of the encoder's hidden layers; the decoder has them in reverse [default: 400; of pictures in colour or above 32x32 none]
    #[arg(long, value_delimiter = ',', conflicts_with = "channels")]
    hidden: Option<Vec<usize>>,
    /// Channels of the encoder's convolutions, each of which halves the image, instead of hidden layers [default: of pictures in colour or
    /// above 32x32 as many of 32,64,128,256 as they can be halved]
    #[arg(long, value_delimiter = ',')]
    channels: Vec<usize>,
    /// Condition encoder and decoder on the data's labels
    #[arg(long)]
    conditional: bool,
    /// Latent size [default: 20; of pictures in colour or above 32x32 64]
    #[arg(long)]
    latent: Option<usize>,
    /// p(x | z) [default: bernoulli for pixels in grey, gaussian for coordinates and colour]
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
        // Coordinates and colours are no probabilities: they have a Gaussian decoder unless told otherwise.
        let decoder = self.decoder.unwrap_or(if usual::gaussian(dataset) {
            Decoder::Gaussian
        } else {
            Decoder::Bernoulli
        });
        let (channels, chosen) =
            usual::convolutions(dataset, self.hidden.is_some(), &self.channels);
        let latent = self
            .latent
            .unwrap_or(if chosen { usual::LATENT } else { 20 });
        if chosen {
            log::info!(
                "for these pictures: --channels {} --latent {latent} --decoder {}; for digits it would be --hidden 400 --latent 20 --decoder bernoulli",
                usual::list(&channels),
                if decoder == Decoder::Gaussian {
                    "gaussian"
                } else {
                    "bernoulli"
                }
            );
        }
        Ok(Arc::new(vae::Vae::new(vae::Config {
            width: dataset.shape.count(),
            hidden: match &self.hidden {
                Some(hidden) => hidden.clone(),
                None if channels.is_empty() => vec![400],
                None => Vec::new(),
            },
            latent,
            decoder,
            image: (!channels.is_empty()).then_some(dataset.shape),
            channels,
            classes: if self.conditional {
                classes_of(dataset)?
            } else {
                0
            },
            decoder_log_variance: if decoder == Decoder::Gaussian {
                usual::log_variance(dataset)
            } else {
                0.0
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
