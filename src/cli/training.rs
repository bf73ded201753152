//! How a training is asked for: what all models are trained by, and what each model's own arguments give.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::reading::DataArguments;
use crate::data::{Dataset, Reading};
use crate::error::{Error, Result};
use crate::files::{Config, Storage, Training};
use crate::graph::update::Rule;
use crate::models::Model;
use crate::nn::schedule::{LearningRate, Shape};

/// What the arguments of every model give.
pub(super) trait ModelArguments {
    /// The model, for this data.
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>>;

    /// What all models are trained by.
    fn training(&self) -> &TrainingArguments;

    /// The model's name in configurations, where an option chose another than the command's.
    fn variant(&self) -> Option<&'static str> {
        None
    }

    /// How this model is trained where the arguments do not say.
    fn defaults(&self) -> Defaults {
        Defaults::default()
    }

    /// Whether it learns from rays of posed pictures instead of examples.
    fn takes_rays(&self) -> bool {
        false
    }

    /// The weight of the model's regulariser, and the steps over which it rises.
    fn weight(&self) -> (f64, u64) {
        (1.0, 0)
    }
}

/// How a model is trained where the arguments do not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) learning_rate: f64,
    pub(super) beta1: f32,
    pub(super) beta2: f32,
    pub(super) epsilon: f32,
    pub(super) shape: Shape,
    pub(super) warmup: u64,
    pub(super) batch: usize,
    pub(super) epochs: u64,
    /// Instead of epochs.
    pub(super) steps: Option<u64>,
    pub(super) ema: Option<f64>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            shape: Shape::Constant,
            warmup: 0,
            batch: 128,
            epochs: 10,
            steps: None,
            ema: None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerName {
    Adam,
    Adamw,
    Sgd,
    Rmsprop,
}

/// What all models are trained by.
#[derive(Debug, Args)]
pub(super) struct TrainingArguments {
    #[command(flatten)]
    pub(super) data: DataArguments,
    /// The run folder
    #[arg(long)]
    pub(super) out: PathBuf,
    /// Continue the run in --out; its own configuration counts, the options here only where they lengthen it
    #[arg(long)]
    pub(super) resume: bool,
    /// Passes over the data
    #[arg(long, conflicts_with = "steps")]
    pub(super) epochs: Option<u64>,
    /// Training steps, instead of epochs
    #[arg(long)]
    pub(super) steps: Option<u64>,
    /// Examples of a step [default: 128]
    #[arg(long)]
    batch: Option<usize>,
    /// Learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// How the learning rate moves [default: constant]
    #[arg(long, value_enum)]
    lr_schedule: Option<Shape>,
    /// Steps over which the learning rate rises from 0 [default: 0]
    #[arg(long)]
    lr_warmup: Option<u64>,
    /// Seed of initial weights, shuffles and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What activations and their gradients are stored as; f16 needs a GPU that has it, scales the loss, and gives products to matrix units where there are any
    #[arg(long, value_enum, default_value_t = Storage::F32)]
    precision: Storage,
    /// The optimiser
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    optimizer: OptimizerName,
    /// Decay of the first moment, of adam and adamw
    #[arg(long)]
    beta1: Option<f32>,
    /// Decay of the second moment, of adam and adamw
    #[arg(long)]
    beta2: Option<f32>,
    /// Weight decay
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f32,
    /// Momentum, of sgd and rmsprop [default: 0]
    #[arg(long)]
    momentum: Option<f32>,
    /// Keep a moving average of the weights with this decay, and take it as the model; 0 for none [default: none, diffusion 0.999]
    #[arg(long)]
    ema: Option<f64>,
    /// Scale gradients down to this global norm
    #[arg(long, default_value_t = 0.0)]
    clip: f32,
    /// Set this many training examples aside to choose the best weights by
    #[arg(long, default_value_t = 0)]
    validation: usize,
    /// Stop after this many epochs without improvement on them
    #[arg(long, default_value_t = 0)]
    patience: u64,
    /// Steps between checkpoints; 0 for by time, as --write-share allows
    #[arg(long, default_value_t = 0)]
    checkpoint_steps: u64,
    /// Steps between previews in samples/; 0 for by time, as --write-share allows
    #[arg(long, default_value_t = 0)]
    preview_steps: u64,
    /// The most of the time that checkpoints and previews by time may take; 0 for the last ones alone
    #[arg(long, default_value_t = 0.1)]
    write_share: f64,
    /// Draw no previews, the last one neither
    #[arg(long, conflicts_with = "preview_steps")]
    pub(super) no_previews: bool,
    /// Judge samples at each checkpoint in the features of this classifier (see wgen eval --judge); figures go to judged.jsonl
    #[arg(long, value_name = "FOLDER")]
    pub(super) judge: Option<PathBuf>,
    /// How many are judged
    #[arg(long, default_value_t = 1000, requires = "judge")]
    pub(super) judge_samples: usize,
    /// Print the training plan, dispatch by dispatch
    #[arg(long)]
    pub(super) explain: bool,
}

impl TrainingArguments {
    /// Refuses constants of another optimiser, which would do nothing.
    fn check_optimizer(&self) -> Result<()> {
        let moments = matches!(self.optimizer, OptimizerName::Adam | OptimizerName::Adamw);
        let of_others = [
            ("momentum", self.momentum, !moments, "sgd and rmsprop"),
            ("beta1", self.beta1, moments, "adam and adamw"),
            ("beta2", self.beta2, moments, "adam and adamw"),
        ];
        for (field, given, has, whose) in of_others {
            if let (Some(value), false) = (given, has) {
                let optimizer = self.optimizer.to_possible_value();
                let name = optimizer.map_or_else(String::new, |v| v.get_name().to_owned());
                return Err(Error::field(
                    field,
                    format!(
                        "{value} is a constant of {whose}, and --optimizer is {name}: leave it out, or choose one of these"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn optimizer(&self, defaults: Defaults) -> Rule {
        let (decay, momentum) = (self.weight_decay, self.momentum.unwrap_or(0.0));
        let beta1 = self.beta1.unwrap_or(defaults.beta1);
        let beta2 = self.beta2.unwrap_or(defaults.beta2);
        let epsilon = defaults.epsilon;
        match self.optimizer {
            OptimizerName::Adam => Rule::Adam {
                beta1,
                beta2,
                epsilon,
                decay,
            },
            OptimizerName::Adamw => Rule::AdamW {
                beta1,
                beta2,
                epsilon,
                decay,
            },
            OptimizerName::Sgd => Rule::Sgd {
                momentum,
                decay,
                nesterov: false,
            },
            OptimizerName::Rmsprop => Rule::Rmsprop {
                alpha: 0.99,
                epsilon: 1e-8,
                momentum,
                decay,
            },
        }
    }

    pub(super) fn config(
        &self,
        arguments: &dyn ModelArguments,
        dataset: &Dataset,
        reading: Reading,
    ) -> Result<Config> {
        self.check_optimizer()?;
        let defaults = arguments.defaults();
        let steps = match self.epochs {
            Some(_) => None,
            None => self.steps.or(defaults.steps),
        };
        let epochs = steps.is_none().then_some(defaults.epochs);
        let (beta, beta_warmup) = arguments.weight();
        Ok(Config {
            model: arguments.model(dataset)?,
            image: dataset.shape,
            data: self.data.data.to_string(),
            data_digest: None,
            reading,
            training: Training {
                steps,
                epochs: self.epochs.or(epochs),
                batch: self.batch.unwrap_or(defaults.batch),
                seed: self.seed,
                optimizer: self.optimizer(defaults),
                learning_rate: LearningRate {
                    peak: self.lr.unwrap_or(defaults.learning_rate),
                    shape: self.lr_schedule.unwrap_or(defaults.shape),
                    warmup: self.lr_warmup.unwrap_or(defaults.warmup),
                },
                beta,
                beta_warmup,
                ema: self.ema.or(defaults.ema).filter(|&decay| decay != 0.0),
                clip: self.clip,
                validation: self.validation,
                patience: self.patience,
                checkpoint_steps: self.checkpoint_steps,
                preview_steps: self.preview_steps,
                write_share: self.write_share,
                precision: self.precision,
                ..Training::default()
            },
        })
    }
}
