//! Arguments of `wgen train diffusion`.

use std::sync::Arc;

use clap::Args;

use super::reverse::ReverseArguments;
use crate::cli::training::{Defaults, ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::diffusion::{self, Config, Network, mlp, unet};

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
    reverse: ReverseArguments,
}

impl ModelArguments for Diffusion {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let twice = self.reverse.twice();
        let shape = dataset.shape;
        let network = Network::Mlp(mlp::Config {
            width: shape.count(),
            hidden: self.hidden,
            blocks: self.blocks,
            outputs: shape.count() * twice,
            classes: 0,
        });
        let mut config = self.reverse.config(dataset, network)?;
        let rows = config.class_rows();
        if config.pixels {
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
