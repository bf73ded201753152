//! Arguments of `wgen train contractive-ae`.

use std::sync::Arc;

use clap::Args;

use super::corruption::CorruptionArguments;
use super::usual;
use crate::cli::training::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::autoencoder::contractive::{self, Norm};
use crate::nn::Activation;

#[derive(Debug, Args)]
pub(in crate::cli) struct ContractiveAe {
    #[command(flatten)]
    training: TrainingArguments,
    /// Sizes of the encoder's layers, the code last; the decoder has their transposes
    #[arg(long, value_delimiter = ',', default_value = "256")]
    layers: Vec<usize>,
    /// After each layer
    #[arg(long, value_enum, default_value_t = Activation::Sigmoid)]
    activation: Activation,
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
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        usual::warn_of_always_dense(dataset, "contractive-ae");
        let config = contractive::Config {
            image: dataset.shape,
            layers: self.layers.clone(),
            activation: self.activation,
            penalty: self.penalty,
            norm: if self.hutchinson {
                Norm::Hutchinson
            } else {
                Norm::Exact
            },
            corruption: self.corruption.corruption(),
        };
        Ok(Arc::new(contractive::Contractive::new(config)?))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    fn weight(&self) -> (f64, u64) {
        (1.0, self.penalty_warmup)
    }
}
