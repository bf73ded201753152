//! Arguments of `wgen train` that belong to one model.

use clap::{Args, ValueEnum};

use super::train::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::autoencoder::contractive::{self, Norm};
use crate::models::autoencoder::{self, Corruption};
use crate::models::vae::{self, Decoder};
use crate::nn::Activation;
use crate::tensor::DType;
use crate::train::ModelConfig;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DecoderName {
    Bernoulli,
    Gaussian,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActivationName {
    Identity,
    Relu,
    LeakyRelu,
    Sigmoid,
    Tanh,
    Elu,
    Silu,
    Softplus,
}

impl From<ActivationName> for Activation {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Identity => Self::Identity,
            ActivationName::Relu => Self::Relu,
            ActivationName::LeakyRelu => Self::LeakyRelu,
            ActivationName::Sigmoid => Self::Sigmoid,
            ActivationName::Tanh => Self::Tanh,
            ActivationName::Elu => Self::Elu,
            ActivationName::Silu => Self::Silu,
            ActivationName::Softplus => Self::Softplus,
        }
    }
}

/// What is done to inputs in training.
#[derive(Debug, Args)]
struct CorruptionArguments {
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
    fn corruption(&self) -> Corruption {
        let kinds = [
            self.gaussian.map(Corruption::Gaussian),
            self.masking.map(Corruption::Masking),
            self.salt_and_pepper.map(Corruption::SaltAndPepper),
        ];
        kinds.into_iter().flatten().next().unwrap_or_default()
    }
}

#[derive(Debug, Args)]
pub(super) struct Vae {
    #[command(flatten)]
    training: TrainingArguments,
    /// Sizes of the encoder's hidden layers; the decoder has them in reverse
    #[arg(long, value_delimiter = ',', default_value = "400")]
    hidden: Vec<usize>,
    /// Latent size
    #[arg(long, default_value_t = 20)]
    latent: usize,
    /// p(x | z)
    #[arg(long, value_enum)]
    decoder: Option<DecoderName>,
    /// Weight of the KL term
    #[arg(long, default_value_t = 1.0)]
    beta: f64,
    /// Steps over which that weight rises from 0
    #[arg(long, default_value_t = 0)]
    beta_warmup: u64,
}

impl ModelArguments for Vae {
    fn model(&self, dataset: &Dataset) -> Result<ModelConfig> {
        // Coordinates are no probabilities: they have a Gaussian decoder unless told otherwise.
        let decoder = match self.decoder {
            Some(DecoderName::Bernoulli) => Decoder::Bernoulli,
            Some(DecoderName::Gaussian) => Decoder::Gaussian,
            None if dataset.dtype() == DType::F32 => Decoder::Gaussian,
            None => Decoder::Bernoulli,
        };
        Ok(ModelConfig::Vae(vae::Config {
            width: dataset.shape.count(),
            hidden: self.hidden.clone(),
            latent: self.latent,
            decoder,
        }))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    fn weight(&self) -> (f64, u64) {
        (self.beta, self.beta_warmup)
    }
}

#[derive(Debug, Args)]
pub(super) struct Ae {
    #[command(flatten)]
    training: TrainingArguments,
    /// Sizes of the encoder's hidden layers; the decoder has them in reverse
    #[arg(long, value_delimiter = ',', default_value = "1000,500,250")]
    hidden: Vec<usize>,
    /// Size of the code
    #[arg(long, default_value_t = 30)]
    latent: usize,
    /// Between layers
    #[arg(long, value_enum, default_value_t = ActivationName::Relu)]
    activation: ActivationName,
    /// After the last layer [default: sigmoid for pixels, identity for coordinates]
    #[arg(long, value_enum)]
    output: Option<ActivationName>,
    #[command(flatten)]
    corruption: CorruptionArguments,
}

impl ModelArguments for Ae {
    fn model(&self, dataset: &Dataset) -> Result<ModelConfig> {
        let output = match self.output {
            Some(name) => name.into(),
            None if dataset.dtype() == DType::F32 => Activation::Identity,
            None => Activation::Sigmoid,
        };
        Ok(ModelConfig::Ae(autoencoder::Config {
            image: dataset.shape,
            hidden: self.hidden.clone(),
            latent: self.latent,
            activation: self.activation.into(),
            output,
            corruption: self.corruption.corruption(),
        }))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }
}

#[derive(Debug, Args)]
pub(super) struct ContractiveAe {
    #[command(flatten)]
    training: TrainingArguments,
    /// Sizes of the encoder's layers, the code last; the decoder has their transposes
    #[arg(long, value_delimiter = ',', default_value = "256")]
    layers: Vec<usize>,
    /// After each layer
    #[arg(long, value_enum, default_value_t = ActivationName::Sigmoid)]
    activation: ActivationName,
    /// Lambda: the weight of the Jacobian's squared norm
    #[arg(long, default_value_t = 0.03)]
    penalty: f64,
    /// Steps over which that weight rises from 0
    #[arg(long, default_value_t = 0)]
    penalty_warmup: u64,
    /// Estimate the norm by one random direction an example instead of computing it
    #[arg(long)]
    hutchinson: bool,
    #[command(flatten)]
    corruption: CorruptionArguments,
}

impl ModelArguments for ContractiveAe {
    fn model(&self, dataset: &Dataset) -> Result<ModelConfig> {
        Ok(ModelConfig::ContractiveAe(contractive::Config {
            image: dataset.shape,
            layers: self.layers.clone(),
            activation: self.activation.into(),
            penalty: self.penalty,
            norm: if self.hutchinson {
                Norm::Hutchinson
            } else {
                Norm::Exact
            },
            corruption: self.corruption.corruption(),
        }))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    fn weight(&self) -> (f64, u64) {
        (1.0, self.penalty_warmup)
    }
}
