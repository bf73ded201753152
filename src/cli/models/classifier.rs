//! Arguments of `wgen train classifier`.

use std::sync::Arc;

use clap::Args;

use super::adm_network::AdmArguments;
use super::classes_of;
use super::forward::ForwardArguments;
use crate::cli::training::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::noised_classifier::{Config, NoisedClassifier, Pool};
use crate::models::{Model, classifier};
use crate::tensor::DType;

#[derive(Debug, Args)]
#[command(mut_group("ForwardArguments", |group| group.requires("noised")))]
#[command(mut_group("NoisedArguments", |group| group.requires("noised")))]
#[command(mut_group("AdmArguments", |group| group.requires("noised")))]
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
    network: AdmArguments,
    #[command(flatten)]
    pooling: NoisedArguments,
    #[command(flatten)]
    process: ForwardArguments,
}

/// What a noised classifier has beside its network.
#[derive(Debug, Args)]
struct NoisedArguments {
    /// How pixels become one row
    #[arg(long, value_enum, default_value_t = Pool::Attention)]
    pool: Pool,
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
                pool: self.pooling.pool,
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
