//! Arguments of `wgen train diffusion`.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::classes_of;
use super::continuous::ContinuousArguments;
use super::forward::ForwardArguments;
use crate::cli::training::{Defaults, ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::diffusion::process::{Kind, Prediction, Variance};
use crate::models::diffusion::samplers::SamplerSettings;
use crate::models::diffusion::spacing::Spacing;
use crate::models::diffusion::{self, Config, Loss, Network, mlp, unet};
use crate::tensor::DType;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    Simple,
    MinSnr,
    Vlb,
    Hybrid,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Diffusion {
    #[command(flatten)]
    training: TrainingArguments,
    /// Images: channels of the U-Net's levels, each but the last halving the image
    #[arg(long, value_delimiter = ',', default_value = "32,32,64")]
    channels: Vec<usize>,
    /// Images: residual blocks of a level; one more on the way up
    #[arg(long, default_value_t = 1)]
    layers: usize,
    /// Images: sizes at which there is attention, beside the middle
    #[arg(long, value_delimiter = ',')]
    attention: Vec<usize>,
    /// Images: channels of a head of attention
    #[arg(long, default_value_t = 32)]
    head_channels: usize,
    /// Images: groups of each normalisation
    #[arg(long, default_value_t = 8)]
    groups: usize,
    /// Images: the embedding of time scales and shifts what is normalised, instead of being added
    #[arg(long)]
    scale_shift: bool,
    /// Images: share of activations that training drops
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Points: elements of the hidden rows
    #[arg(long, default_value_t = 128)]
    hidden: usize,
    /// Points: residual blocks
    #[arg(long, default_value_t = 3)]
    blocks: usize,
    #[command(flatten)]
    process: ForwardArguments,
    #[command(flatten)]
    continuous: ContinuousArguments,
    /// What the network predicts [default: epsilon; of a flow flow, of edm edm]
    #[arg(long, value_enum)]
    prediction: Option<Prediction>,
    /// The variance of ancestral steps
    #[arg(long, value_enum, default_value_t = Variance::FixedSmall)]
    variance: Variance,
    /// What is minimised; a learned variance needs hybrid or vlb [default: simple, or hybrid with learned-range]
    #[arg(long, value_enum)]
    loss: Option<LossName>,
    /// min-snr: gamma
    #[arg(long, default_value_t = 5.0)]
    min_snr_gamma: f64,
    /// Parts that the network sees a batch in, their gradients summed: for batches that do not fit
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Condition on the data's labels
    #[arg(long)]
    conditional: bool,
    /// Share of examples whose label is replaced by the null class, for guidance; 0 for no null class
    #[arg(long, default_value_t = 0.1)]
    null_share: f32,
}

impl ModelArguments for Diffusion {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let pixels = dataset.dtype() == DType::U8;
        let shape = dataset.shape;
        let variance = self.variance;
        let process = self.continuous.apply(self.process.config())?;
        let kind = process.kind;
        let twice = if variance == Variance::LearnedRange {
            2
        } else {
            1
        };
        let network = Network::Mlp(mlp::Config {
            width: shape.count(),
            hidden: self.hidden,
            blocks: self.blocks,
            outputs: shape.count() * twice,
            classes: 0,
        });
        let mut config = Config {
            process,
            prediction: self.prediction.unwrap_or(match kind {
                Kind::VariancePreserving => Prediction::Epsilon,
                Kind::Flow(_) => Prediction::Flow,
                Kind::Edm(_) => Prediction::Edm,
            }),
            variance,
            accumulate: self.accumulate,
            loss: match self.loss {
                None if variance == Variance::LearnedRange => Loss::Hybrid,
                None | Some(LossName::Simple) => Loss::Simple,
                Some(LossName::MinSnr) => Loss::MinSnr(self.min_snr_gamma),
                Some(LossName::Vlb) => Loss::Vlb,
                Some(LossName::Hybrid) => Loss::Hybrid,
            },
            classes: if self.conditional {
                classes_of(dataset)?
            } else {
                0
            },
            null_share: if self.conditional {
                self.null_share
            } else {
                0.0
            },
            sampling: ContinuousArguments::sampling(&kind).unwrap_or(SamplerSettings {
                steps: self.process.timesteps.min(50),
                spacing: if self.process.zero_terminal_snr {
                    Spacing::Trailing
                } else {
                    Spacing::Leading
                },
                ..SamplerSettings::default()
            }),
            ..Config::of(shape, pixels, network)
        };
        let rows = config.class_rows();
        if pixels {
            config.network = Network::Unet(Box::new(self.unet(&config, twice)));
        } else if let Network::Mlp(mlp) = &mut config.network {
            mlp.classes = rows;
        }
        Ok(Arc::new(diffusion::Diffusion::new(config)?))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    fn defaults(&self) -> Defaults {
        Defaults {
            ema: Some(0.999),
            ..Defaults::default()
        }
    }
}

impl Diffusion {
    fn unet(&self, config: &Config, twice: usize) -> unet::Config {
        let image = config.image;
        unet::Config {
            out_channels: image.channels * twice,
            attention_head_dim: Some(self.head_channels),
            norm_num_groups: self.groups,
            dropout: self.dropout,
            resnet_time_scale_shift: if self.scale_shift {
                "scale_shift".to_owned()
            } else {
                "default".to_owned()
            },
            num_class_embeds: (config.class_rows() > 0).then(|| config.class_rows()),
            ..unet::Config::of(image, &self.channels, self.layers, &self.attention)
        }
    }
}
