//! What a diffusion model learns, whatever network learns it.

use clap::{Args, ValueEnum};

use super::classes_of;
use super::continuous::ContinuousArguments;
use super::forward::ForwardArguments;
use crate::data::Dataset;
use crate::error::Result;
use crate::models::diffusion::process::{Kind, Prediction, Variance};
use crate::models::diffusion::samplers::SamplerSettings;
use crate::models::diffusion::spacing::Spacing;
use crate::models::diffusion::{Config, Loss, Network};
use crate::tensor::DType;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    Simple,
    MinSnr,
    Vlb,
    Hybrid,
}

/// The process, the prediction, the loss and the classes.
#[derive(Debug, Args)]
pub(super) struct ReverseArguments {
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

impl ReverseArguments {
    /// Values of a prediction for each of x: 2 where a variance is learned.
    pub(super) fn twice(&self) -> usize {
        match self.variance {
            Variance::LearnedRange => 2,
            _ => 1,
        }
    }

    /// The model of `dataset`, of a network that is told of as many classes as [`Config::class_rows`] says.
    ///
    /// # Errors
    /// When it is to be conditional on labels that there are none of, or an option is of another process.
    pub(super) fn config(&self, dataset: &Dataset, network: Network) -> Result<Config> {
        let process = self.continuous.apply(self.process.config())?;
        let kind = process.kind;
        Ok(Config {
            process,
            prediction: self.prediction.unwrap_or(match kind {
                Kind::VariancePreserving => Prediction::Epsilon,
                Kind::Flow(_) => Prediction::Flow,
                Kind::Edm(_) => Prediction::Edm,
            }),
            variance: self.variance,
            accumulate: self.accumulate,
            loss: match self.loss {
                None if self.variance == Variance::LearnedRange => Loss::Hybrid,
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
            ..Config::of(dataset.shape, dataset.dtype() == DType::U8, network)
        })
    }
}
