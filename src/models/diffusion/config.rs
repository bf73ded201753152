//! What a diffusion model is built from, and what of it is refused.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::denoiser::Denoiser;
use super::process::{self, Kind, Prediction, Process, Variance};
use super::samplers::{self, SamplerSettings};
use super::{adm, mlp, unet};
use crate::error::{Error, Result};
use crate::tensor::ImageShape;

/// What training minimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The squared error of the prediction, all t alike (Ho et al. 2020, eq. 14).
    #[default]
    Simple,
    /// The same weighted by min(SNR, gamma) / SNR of noise (Hang et al. 2023), or what that is for other predictions.
    MinSnr(f64),
    /// The variational bound, in bits a dimension (Nichol & Dhariwal 2021, eq. 4).
    Vlb,
    /// The simple loss and a thousandth of the bound, in which the mean is not trained (their eq. 16).
    Hybrid,
}

/// The network that predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// For images.
    Unet(Box<unet::Config>),
    /// For images, as guided-diffusion has it.
    Adm(Box<adm::UNetConfig>),
    /// For points.
    Mlp(mlp::Config),
}

impl Network {
    /// The network.
    ///
    /// # Errors
    /// When it cannot be built, naming the field.
    pub fn build(&self) -> Result<Arc<dyn Denoiser>> {
        Ok(match self {
            Self::Unet(unet) => Arc::new(unet::UNet2DModel::new(unet.as_ref().clone())?),
            Self::Adm(adm) => Arc::new(adm::UNetModel::new(adm.as_ref().clone())?),
            Self::Mlp(mlp) => Arc::new(mlp::Mlp::new(mlp.clone())?),
        })
    }

    /// What lies beside x, of a network of super-resolution.
    pub fn low_res(&self) -> Option<ImageShape> {
        match self {
            Self::Adm(adm) => adm.low_res(),
            _ => None,
        }
    }
}

/// What a diffusion model is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What one example is.
    pub image: ImageShape,
    /// Whether examples are pixels in [0, 1], which the process sees in [-1, 1].
    pub pixels: bool,
    /// A sampler clips its predictions of x_0 to minus this and this; without, not at all.
    pub clip: Option<f64>,
    /// The forward process.
    pub process: process::Config,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The variance of reverse steps.
    pub variance: Variance,
    /// What is minimised.
    pub loss: Loss,
    /// The network.
    pub network: Network,
    /// Classes that it is conditional on; 0 for none. The network has one more, the null class, where `null_share` is not 0.
    pub classes: usize,
    /// Share of training examples whose class is the null class: what classifier-free guidance needs (Ho & Salimans 2022).
    pub null_share: f32,
    /// How samples are drawn where nothing else is asked for.
    pub sampling: SamplerSettings,
    /// Parts that the network sees a training batch in, one after the other, their gradients summed: the memory is that of one part.
    #[serde(default = "one")]
    pub accumulate: usize,
}

fn one() -> usize {
    1
}

impl Config {
    /// For 28x28 grey images of ten classes and the null class: levels of 32, 32 and 64 channels, attention in the middle.
    pub fn mnist() -> Self {
        let image = ImageShape {
            height: 28,
            width: 28,
            channels: 1,
        };
        let unet = unet::Config {
            num_class_embeds: Some(11),
            ..unet::Config::of(image, &[32, 32, 64], 1, &[])
        };
        Self {
            classes: 10,
            null_share: 0.1,
            ..Self::of(image, true, Network::Unet(Box::new(unet)))
        }
    }

    /// The process of Ho et al. 2020 and the simple loss, without classes.
    pub fn of(image: ImageShape, pixels: bool, network: Network) -> Self {
        Self {
            image,
            pixels,
            clip: pixels.then_some(1.0),
            process: process::Config::default(),
            prediction: Prediction::Epsilon,
            variance: Variance::FixedSmall,
            loss: Loss::Simple,
            network,
            classes: 0,
            null_share: 0.0,
            sampling: SamplerSettings::default(),
            accumulate: 1,
        }
    }

    /// Refuses what is no model, before anything is allocated.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        self.process.check()?;
        let twice = if self.variance == Variance::LearnedRange {
            2
        } else {
            1
        };
        let (inputs, outputs, rows) = match &self.network {
            Network::Unet(unet) => {
                unet.check()?;
                if unet.image() != self.image {
                    return wrong(format!(
                        "the network is for images of {}, the model for {}",
                        unet.image(),
                        self.image
                    ));
                }
                let rows = unet.num_class_embeds.unwrap_or(0);
                (unet.in_channels, unet.out_channels, rows)
            }
            Network::Adm(adm) => {
                adm.check()?;
                if adm.image != self.image {
                    return wrong(format!(
                        "the network is for images of {}, the model for {}",
                        adm.image, self.image
                    ));
                }
                let rows = adm.num_classes.unwrap_or(0);
                (adm.image.channels, adm.out_channels, rows)
            }
            Network::Mlp(mlp) => {
                mlp.check()?;
                if mlp.width != self.image.count() {
                    return wrong(format!(
                        "the network is for {} coordinates, the model for {}",
                        mlp.width, self.image
                    ));
                }
                (mlp.width, mlp.outputs, mlp.classes)
            }
        };
        if outputs != inputs * twice {
            return wrong(format!(
                "variance {} needs {} outputs for {inputs} inputs, the network has {outputs}",
                serde_json::json!(self.variance),
                inputs * twice
            ));
        }
        if rows != self.class_rows() {
            return wrong(format!(
                "{} classes and null_share {} need {} class embeddings, the network has {rows}",
                self.classes,
                self.null_share,
                self.class_rows()
            ));
        }
        if !(0.0..1.0).contains(&self.null_share) {
            return wrong(format!("null_share {} must be in [0, 1)", self.null_share));
        }
        if matches!(self.loss, Loss::Vlb | Loss::Hybrid) && self.process.zero_terminal_snr {
            return wrong(
                "the variational bound is infinite with a terminal SNR of zero".to_owned(),
            );
        }
        if self.loss == Loss::Hybrid && self.variance != Variance::LearnedRange {
            return wrong(
                "the hybrid loss trains a learned variance; use variance learned_range".to_owned(),
            );
        }
        if self.loss == Loss::Simple && self.variance == Variance::LearnedRange {
            return wrong(
                "the simple loss does not train a variance; use the hybrid loss".to_owned(),
            );
        }
        if self.accumulate == 0 {
            return wrong("a batch is made in at least 1 part".to_owned());
        }
        if let Some(range) = self.clip
            && !(range > 0.0 && range.is_finite())
        {
            return wrong(format!("clip {range} must be above 0"));
        }
        if let Loss::MinSnr(gamma) = self.loss
            && !(gamma > 0.0 && gamma.is_finite())
        {
            return wrong(format!("min_snr {gamma} must be above 0"));
        }
        if self.process.zero_terminal_snr && self.prediction == Prediction::Epsilon {
            return wrong(
                "with a terminal SNR of zero the noise tells nothing of the image; predict v_prediction or sample"
                    .to_owned(),
            );
        }
        self.check_kind()?;
        self.check_sampling(&self.sampling)
    }

    /// Refuses what a kind of process does not have.
    fn check_kind(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        let kind = &self.process.kind;
        let fitting: &[Prediction] = match kind {
            Kind::VariancePreserving => &[
                Prediction::Epsilon,
                Prediction::Sample,
                Prediction::Velocity,
            ],
            // Where S is 1 the noise tells nothing of the image.
            Kind::Flow(_) => &[Prediction::Flow, Prediction::Sample],
            Kind::Edm(_) => &[Prediction::Edm],
        };
        let shown = |p: &Prediction| serde_json::json!(p).to_string();
        if !fitting.contains(&self.prediction) {
            let names: Vec<String> = fitting.iter().map(shown).collect();
            return wrong(format!(
                "`prediction` {} is not of the process {}; predict {}",
                shown(&self.prediction),
                kind.name(),
                names.join(" or ")
            ));
        }
        if kind.preserves_variance() {
            return Ok(());
        }
        if self.loss != Loss::Simple {
            return wrong(format!(
                "`loss` {}: the process {} has no timesteps to bound or weigh; use the simple loss",
                serde_json::json!(self.loss),
                kind.name()
            ));
        }
        if self.variance != Variance::FixedSmall {
            return wrong(format!(
                "`variance` {} is of ancestral steps, which the process {} has not; leave it out",
                serde_json::json!(self.variance),
                kind.name()
            ));
        }
        Ok(())
    }

    /// Refuses a way of sampling that this model does not have.
    ///
    /// # Errors
    /// Naming the option.
    pub(crate) fn check_sampling(&self, sampling: &SamplerSettings) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        let sampler = samplers::find(&sampling.sampler)?;
        sampling.check(sampler)?;
        sampling.check_kind(sampler, &self.process.kind)?;
        sampling.levels(&Process::new(&self.process)?, &self.process)?;
        if sampling.guidance != 1.0 && (self.classes == 0 || self.null_share == 0.0) {
            return wrong(format!(
                "`guidance` {}: the model {}; classifier-free guidance needs one that was trained with classes and a null class",
                sampling.guidance,
                if self.classes == 0 {
                    "is not conditional on classes"
                } else {
                    "has no null class"
                }
            ));
        }
        Ok(())
    }

    /// Rows of the table of classes.
    pub(crate) fn class_rows(&self) -> usize {
        if self.classes > 0 && self.null_share > 0.0 {
            self.classes + 1
        } else {
            self.classes
        }
    }
}
