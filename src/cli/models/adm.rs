//! Arguments of `wgen train adm`.

use std::sync::Arc;

use clap::Args;

use super::adm_network::AdmArguments;
use super::reverse::ReverseArguments;
use crate::cli::training::{Defaults, ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::models::Model;
use crate::models::diffusion::adm::UNetConfig;
use crate::models::diffusion::{Diffusion, Network};

#[derive(Debug, Args)]
pub(in crate::cli) struct Adm {
    #[command(flatten)]
    training: TrainingArguments,
    /// Super-resolution: the network sees the image at this height and width, its means, beside x; one number for a square
    #[arg(long, value_name = "HEIGHTxWIDTH", value_delimiter = 'x')]
    low_res: Vec<usize>,
    #[command(flatten)]
    network: AdmArguments,
    #[command(flatten)]
    reverse: ReverseArguments,
}

impl ModelArguments for Adm {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let low_res = match self.low_res[..] {
            [] => None,
            [side] => Some([side; 2]),
            [height, width] => Some([height, width]),
            _ => {
                return Err(Error::field(
                    "low_res",
                    "takes a height and a width, as in 14x14",
                ));
            }
        };
        let image = dataset.shape;
        let mut unet = UNetConfig {
            out_channels: image.channels * self.reverse.twice(),
            low_res,
            ..UNetConfig::of(image, self.network.network())
        };
        let network = Network::Adm(Box::new(unet.clone()));
        let mut config = self.reverse.config(dataset, network)?;
        unet.num_classes = (config.class_rows() > 0).then(|| config.class_rows());
        config.network = Network::Adm(Box::new(unet));
        Ok(Arc::new(Diffusion::new(config)?))
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
