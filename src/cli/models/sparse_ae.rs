//! Arguments of `wgen train sparse-ae`.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::corruption::CorruptionArguments;
use super::usual;
use crate::cli::training::{ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::autoencoder::sparse::{self, Sparsity};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SparsityName {
    L1,
    Kl,
    TopK,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SparseAe {
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
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        usual::warn_of_always_dense(dataset, "sparse-ae");
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
        let config = sparse::Config {
            image: dataset.shape,
            latent: self.latent,
            sparsity,
            revival: match sparsity {
                Sparsity::Kl { .. } => 0.0,
                _ => self.revival,
            },
            corruption: self.corruption.corruption(),
        };
        Ok(Arc::new(sparse::Sparse::new(config)?))
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    fn weight(&self) -> (f64, u64) {
        (1.0, self.penalty_warmup)
    }
}
