//! What a run is: model, data, training, as `config.json` has it.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::data::{Dataset, Reading};
use crate::error::{Error, Result};
use crate::graph::update::Rule;
use crate::kernels::RING_ROWS;
use crate::models::{self, Model};
use crate::nn::schedule::{LearningRate, Shape};
use crate::tensor::ImageShape;

/// All that is needed to rebuild a model and its data scaling, and to go on with its training: `config.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The model.
    #[serde(serialize_with = "named")]
    pub model: Arc<dyn Model>,
    /// What one example is.
    pub image: ImageShape,
    /// Where the data came from.
    pub data: String,
    /// Its [`Dataset::digest`](crate::data::Dataset::digest), so that a run goes on with the data that it was begun with; of runs of before,
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_digest: Option<String>,
    /// How the data was read, and its classes.
    pub reading: Reading,
    /// How it is trained.
    pub training: Training,
}

/// A configuration as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    model: serde_json::Value,
    image: ImageShape,
    data: String,
    #[serde(default)]
    data_digest: Option<String>,
    #[serde(default)]
    reading: Reading,
    training: Training,
}

fn named<S: Serializer>(model: &Arc<dyn Model>, serializer: S) -> Result<S::Ok, S::Error> {
    models::to_json(model.as_ref()).serialize(serializer)
}

impl Config {
    /// Of a training of `model` on examples of `image` from `data`.
    pub fn new(
        model: Arc<dyn Model>,
        image: ImageShape,
        data: impl Into<String>,
        training: Training,
    ) -> Self {
        Self {
            model,
            image,
            data: data.into(),
            data_digest: None,
            reading: Reading::default(),
            training,
        }
    }

    /// The configuration that a `config.json` has, whose sizes are none that no run could have written: they are refused before anything is
    /// allocated.
    ///
    /// # Errors
    /// When the text is malformed, or naming the field.
    pub fn from_text(text: &str) -> Result<Self> {
        let malformed = |e: serde_json::Error| Error::Usage(format!("is malformed: {e}"));
        // The mark that some editors put in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let written: Written = serde_json::from_str(text).map_err(malformed)?;
        let config = Self {
            model: models::from_json(&written.model)?,
            image: written.image,
            data: written.data,
            data_digest: written.data_digest,
            reading: written.reading,
            training: written.training,
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses other data than the run was begun with: `digest` is that of `dataset`.
    ///
    /// # Errors
    /// Naming both.
    pub(crate) fn check_data(&self, dataset: &Dataset, digest: &str) -> Result<()> {
        match &self.data_digest {
            Some(own) if own != digest => Err(Error::field(
                "data",
                format!(
                    "{}, of {} to train on, has other examples or labels than what the run was begun with, {} (digest {digest}, not {own}); \
                     go on with that, or begin another run in another `folder`",
                    dataset.name,
                    dataset.rows(),
                    self.data
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses what cannot be trained: a model of other data, options that exclude each other.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let width = self.model.width();
        if self.image.count() != width {
            return Err(Error::Usage(format!(
                "image is {}, which has not the model's {width} values",
                self.image
            )));
        }
        self.training.check()
    }
}

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Steps; `None` when epochs are given.
    pub steps: Option<u64>,
    /// Passes over the data; `None` when steps are given.
    pub epochs: Option<u64>,
    /// Examples of a step.
    pub batch: usize,
    /// The seed of initial weights, shuffles and noise.
    pub seed: u64,
    /// The optimiser.
    pub optimizer: Rule,
    /// Its rate.
    pub learning_rate: LearningRate,
    /// Weight of the model's regulariser: beta of the VAE.
    pub beta: f64,
    /// Steps over which that weight rises from 0.
    pub beta_warmup: u64,
    /// Decay of the moving average of weights, if one is kept.
    pub ema: Option<f64>,
    /// Gradients are scaled down to this global norm; 0 for never.
    pub clip: f32,
    /// Examples set aside to choose the best weights by.
    pub validation: usize,
    /// Evaluations without improvement after which training stops; 0 for never.
    pub patience: u64,
    /// Steps between checkpoints; 0 for by time, as `write_share` allows. The last step has one always.
    pub checkpoint_steps: u64,
    /// Steps between previews, what the model makes of noise or examples so far; 0 for by time, as `write_share` allows.
    #[serde(default)]
    pub preview_steps: u64,
    /// The most of the training's time that checkpoints and previews by time may take; 0 for none of them.
    #[serde(default = "write_share")]
    pub write_share: f64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_steps: u64,
    /// What activations and their gradients are stored as on the device.
    #[serde(default)]
    pub precision: Storage,
}

/// What activations and their gradients are stored as; arithmetic, sums, weights and moments are f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Storage {
    /// f32.
    #[default]
    F32,
    /// f16, the loss scaled so that small gradients survive: Micikevicius et al. 2018, "Mixed precision training".
    F16,
}

fn write_share() -> f64 {
    0.1
}

impl Default for Training {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: Some(10),
            batch: 128,
            seed: 0,
            optimizer: Rule::ADAM,
            learning_rate: LearningRate {
                peak: 1e-3,
                shape: Shape::Constant,
                warmup: 0,
            },
            beta: 1.0,
            beta_warmup: 0,
            ema: None,
            clip: 0.0,
            validation: 0,
            patience: 0,
            checkpoint_steps: 0,
            preview_steps: 0,
            write_share: write_share(),
            log_steps: 50,
            precision: Storage::F32,
        }
    }
}

impl Training {
    /// How a hash grid is trained (Müller et al. 2022, section 4): Adam that forgets early, entries that hardly ever have a gradient moved as far as
    /// others, a rate that falls by stairs.
    pub fn hash_grid(steps: u64, batch: usize) -> Self {
        Self {
            steps: Some(steps),
            epochs: None,
            batch,
            optimizer: Rule::Adam {
                beta1: 0.9,
                beta2: 0.99,
                epsilon: 1e-15,
                decay: 0.0,
            },
            learning_rate: LearningRate {
                peak: 1e-2,
                shape: Shape::Stairs,
                warmup: 50.min(steps / 4),
            },
            ..Self::default()
        }
    }

    /// Refuses values that cannot be trained with.
    ///
    /// # Errors
    /// Naming the option.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::Usage(message));
        match (self.steps, self.epochs) {
            (Some(_), Some(_)) => {
                return Err(Error::field("steps", "and `epochs` exclude each other"));
            }
            (Some(0), _) | (_, Some(0)) => {
                return wrong("training for 0 steps makes nothing; give at least 1".to_owned());
            }
            (None, None) => return wrong("give `steps` or `epochs`".to_owned()),
            _ => {}
        }
        if self.batch == 0 || self.batch > 1 << 20 {
            let message = format!("{} must be from 1 to {}", self.batch, 1 << 20);
            return Err(Error::field("batch", message));
        }
        let rate = self.learning_rate.peak;
        if !rate.is_finite() || rate <= 0.0 {
            let message = format!("{rate} must be a finite number above 0");
            return Err(Error::field("learning_rate", message));
        }
        for (name, value) in [("beta", self.beta), ("clip", f64::from(self.clip))] {
            if !value.is_finite() || value < 0.0 {
                let message = format!("{value} must be a finite number, 0 or more");
                return Err(Error::field(name, message));
            }
        }
        self.optimizer.check()?;
        if self.ema.is_some_and(|d| !(0.0..1.0).contains(&d)) {
            let message = format!("{} must be in [0, 1)", self.ema.unwrap_or(0.0));
            return Err(Error::field("ema", message));
        }
        if !(0.0..=1.0).contains(&self.write_share) {
            let message = format!("{} must be from 0 to 1", self.write_share);
            return Err(Error::field("write_share", message));
        }
        if self.patience > 0 && self.validation == 0 {
            let message = "needs `validation` N examples to judge by";
            return Err(Error::field("patience", message));
        }
        if self.log_steps == 0 || self.log_steps > RING_ROWS as u64 / 2 {
            return wrong(format!(
                "log_steps {} must be from 1 to {}",
                self.log_steps,
                RING_ROWS / 2
            ));
        }
        Ok(())
    }
}
