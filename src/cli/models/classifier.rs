//! Arguments of `wgen train classifier`.

use std::sync::Arc;

use clap::Args;

use super::classes_of;
use super::forward::ForwardArguments;
use crate::cli::training::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::diffusion::adm;
use crate::models::noised_classifier::{Config, NoisedClassifier, Pool};
use crate::models::{Model, classifier};
use crate::tensor::DType;

#[derive(Debug, Args)]
#[command(mut_group("ForwardArguments", |group| group.requires("noised")))]
#[command(mut_group("NoisedArguments", |group| group.requires("noised")))]
pub(in crate::cli) struct Classifier {
    #[command(flatten)]
    training: TrainingArguments,
    /// The size of the features
    #[arg(long, default_value_t = 128, conflicts_with = "noised")]
    features: usize,
    /// Instead of the judge, the classifier of noised examples that guides diffusion models (Dhariwal & Nichol 2021); all options below are its own
    #[arg(long)]
    noised: bool,
    #[command(flatten)]
    network: NoisedArguments,
    #[command(flatten)]
    process: ForwardArguments,
}

/// The network of a noised classifier.
#[derive(Debug, Args)]
struct NoisedArguments {
    /// Channels that the levels' are multiples of
    #[arg(long, default_value_t = 32)]
    model_channels: usize,
    /// Channels of the levels over those, each level but the last halving the image
    #[arg(long, value_delimiter = ',', default_value = "1,2,2")]
    channel_mult: Vec<f64>,
    /// Residual blocks of a level
    #[arg(long, default_value_t = 1)]
    num_res_blocks: usize,
    /// How often the image is smaller where there is attention, beside the middle: 1 for the whole image, 2 for the half
    #[arg(long, value_delimiter = ',')]
    attention_resolutions: Vec<usize>,
    /// Channels of a head of attention
    #[arg(long, default_value_t = 32, conflicts_with = "num_heads")]
    num_head_channels: usize,
    /// Heads of attention, instead of their channels
    #[arg(long)]
    num_heads: Option<usize>,
    /// Groups of each normalisation; guided-diffusion's networks have 32
    #[arg(long, default_value_t = 32)]
    groups: usize,
    /// Share of activations that training drops
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// The embedding of time is added instead of scaling and shifting what is normalised
    #[arg(long)]
    no_scale_shift: bool,
    /// A convolution halves the image instead of a residual block
    #[arg(long)]
    no_resblock_updown: bool,
    /// A mean halves it
    #[arg(long, requires = "no_resblock_updown")]
    no_conv_resample: bool,
    /// Rows of qkv lie queries first, then keys, then values, and not head by head
    #[arg(long)]
    new_attention_order: bool,
    /// How pixels become one row
    #[arg(long, value_enum, default_value_t = Pool::Attention)]
    pool: Pool,
}

impl NoisedArguments {
    fn network(&self) -> adm::Config {
        adm::Config {
            model_channels: self.model_channels,
            channel_mult: self.channel_mult.clone(),
            num_res_blocks: self.num_res_blocks,
            attention_resolutions: self.attention_resolutions.clone(),
            num_head_channels: self.num_heads.is_none().then_some(self.num_head_channels),
            num_heads: self.num_heads.unwrap_or(1),
            use_scale_shift_norm: !self.no_scale_shift,
            resblock_updown: !self.no_resblock_updown,
            conv_resample: !self.no_conv_resample,
            use_new_attention_order: self.new_attention_order,
            groups: self.groups,
            dropout: self.dropout,
        }
    }
}

impl ModelArguments for Classifier {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let classes = classes_of(dataset)?;
        if self.noised {
            let config = Config {
                image: dataset.shape,
                pixels: dataset.dtype() == DType::U8,
                classes,
                process: self.process.config(),
                pool: self.network.pool,
                network: self.network.network(),
            };
            return Ok(Arc::new(NoisedClassifier::new(config)?));
        }
        let config = classifier::Config {
            features: self.features,
            ..classifier::Config::mnist(dataset.shape, classes)
        };
        Ok(Arc::new(classifier::Classifier::new(config)?))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    fn variant(&self) -> Option<&'static str> {
        self.noised.then_some("noised-classifier")
    }
}
