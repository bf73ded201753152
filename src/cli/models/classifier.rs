//! Arguments of `wgen train classifier`.

use std::sync::Arc;

use clap::Args;

use super::classes_of;
use crate::cli::training::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::{Model, classifier};

#[derive(Debug, Args)]
pub(in crate::cli) struct Classifier {
    #[command(flatten)]
    training: TrainingArguments,
    /// The size of the features
    #[arg(long, default_value_t = 128)]
    features: usize,
}

impl ModelArguments for Classifier {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let config = classifier::Config {
            features: self.features,
            ..classifier::Config::mnist(dataset.shape, classes_of(dataset)?)
        };
        Ok(Arc::new(classifier::Classifier::new(config)?))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }
}
