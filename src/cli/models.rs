//! Arguments of `wgen train` that belong to one model.

use clap::{Args, ValueEnum};

use super::train::{Defaults, ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::ModelConfig;
use crate::models::autoencoder::contractive::{self, Norm};
use crate::models::autoencoder::sparse::{self, Sparsity};
use crate::models::autoencoder::{self, Corruption};
use crate::models::classifier;
use crate::models::gan::{self, Networks};
use crate::models::vae::{self, Decoder};
use crate::nn::Activation;
use crate::tensor::DType;

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
            hidden: match &self.hidden {
                Some(hidden) => hidden.clone(),
                None if self.channels.is_empty() => vec![1000, 500, 250],
                None => Vec::new(),
            },
            channels: self.channels.clone(),
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SparsityName {
    L1,
    Kl,
    TopK,
}

#[derive(Debug, Args)]
pub(super) struct SparseAe {
    #[command(flatten)]
    training: TrainingArguments,
    /// Units of the code
    #[arg(long, default_value_t = 1024)]
    latent: usize,
    /// What keeps the code sparse
    #[arg(long, value_enum, default_value_t = SparsityName::TopK)]
    sparsity: SparsityName,
    /// top-k: units that are kept
    #[arg(long, default_value_t = 32)]
    k: usize,
    /// l1, kl: weight of the penalty [default: 0.05 for l1, 0.1 for kl]
    #[arg(long)]
    penalty: Option<f64>,
    /// Steps over which that weight rises from 0
    #[arg(long, default_value_t = 0)]
    penalty_warmup: u64,
    /// l1, top-k: weight of a second reconstruction by each unit's best examples, which keeps units alive
    #[arg(long, default_value_t = 0.1)]
    revival: f64,
    /// kl: the mean activation that each unit is drawn to
    #[arg(long, default_value_t = 0.05)]
    rho: f64,
    #[command(flatten)]
    corruption: CorruptionArguments,
}

impl ModelArguments for SparseAe {
    fn model(&self, dataset: &Dataset) -> Result<ModelConfig> {
        let sparsity = match self.sparsity {
            SparsityName::L1 => Sparsity::L1 {
                penalty: self.penalty.unwrap_or(0.05),
            },
            SparsityName::Kl => Sparsity::Kl {
                rho: self.rho,
                penalty: self.penalty.unwrap_or(0.1),
            },
            SparsityName::TopK => Sparsity::TopK { k: self.k },
        };
        Ok(ModelConfig::SparseAe(sparse::Config {
            image: dataset.shape,
            latent: self.latent,
            sparsity,
            revival: match sparsity {
                Sparsity::Kl { .. } => 0.0,
                _ => self.revival,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    Minimax,
    NonSaturating,
    LeastSquares,
    Hinge,
    Wasserstein,
}

impl From<LossName> for gan::Loss {
    fn from(name: LossName) -> Self {
        match name {
            LossName::Minimax => Self::Minimax,
            LossName::NonSaturating => Self::NonSaturating,
            LossName::LeastSquares => Self::LeastSquares,
            LossName::Hinge => Self::Hinge,
            LossName::Wasserstein => Self::Wasserstein,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum NormName {
    Batch,
    None,
}

#[derive(Debug, Args)]
pub(super) struct Gan {
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
    #[arg(long, value_enum, default_value_t = LossName::NonSaturating)]
    loss: LossName,
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
    fn model(&self, dataset: &Dataset) -> Result<ModelConfig> {
        let pixels = dataset.dtype() == DType::U8;
        let mut config = gan::Config::for_data(dataset.shape, pixels);
        let loss = gan::Loss::from(self.loss);
        config.networks = match (&self.hidden, config.networks) {
            (Some(hidden), _) => Networks::Mlp {
                hidden: hidden.clone(),
            },
            (None, Networks::Dcgan { .. }) => {
                let channels = self.channels.unwrap_or(64);
                let batch = self.discriminator_norm.map_or_else(
                    || loss != gan::Loss::Wasserstein,
                    |norm| norm == NormName::Batch,
                );
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
        Ok(ModelConfig::Gan(config))
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

/// The classes of data that a model is to be conditional on, or to tell apart.
pub(super) fn classes_of(dataset: &Dataset) -> Result<usize> {
    match dataset.classes() {
        0 => Err(Error::Usage(format!(
            "{} has no labels, which this model needs; use digits, idx:DIR, or images:DIR with a subfolder a class",
            dataset.name
        ))),
        classes => Ok(classes),
    }
}

#[derive(Debug, Args)]
pub(super) struct Classifier {
    #[command(flatten)]
    training: TrainingArguments,
    /// The size of the features
    #[arg(long, default_value_t = 128)]
    features: usize,
}

impl ModelArguments for Classifier {
    fn model(&self, dataset: &Dataset) -> Result<ModelConfig> {
        Ok(ModelConfig::Classifier(classifier::Config {
            features: self.features,
            ..classifier::Config::mnist(dataset.shape, classes_of(dataset)?)
        }))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }
}
