//! Arguments of `wgen train diffusion`, and of sampling from such a model.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Output;
use super::generate::SampleArguments;
use super::models::classes_of;
use super::train::{Defaults, ModelArguments, TrainingArguments, picture};
use crate::data::Dataset;
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::graph::layout::{Init, Parameter};
use crate::models::diffusion::process::{
    self, BetaSchedule, Prediction, Rounding, Spacing, Variance,
};
use crate::models::diffusion::{
    Config, Diffusion as Model, Loss, Network, SamplerName, Sampling, mlp, unet,
};
use crate::report::grid;
use crate::tensor::DType;
use crate::train::evaluate::{Evaluator, Start};
use crate::train::session::Device;
use crate::train::weights::{Tensors, read_tensors, write_tensors};
use crate::train::{Config as RunConfig, ModelConfig};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleName {
    Linear,
    ScaledLinear,
    Cosine,
    Sigmoid,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PredictionName {
    Epsilon,
    Sample,
    V,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum VarianceName {
    FixedSmall,
    FixedLarge,
    LearnedRange,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    Simple,
    MinSnr,
    Vlb,
    Hybrid,
}

#[derive(Debug, Args)]
pub(super) struct Diffusion {
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
    /// T, the steps of the forward process
    #[arg(long, default_value_t = 1000)]
    timesteps: usize,
    /// How the variances of its steps grow; cosine is diffusers' squaredcos_cap_v2
    #[arg(long, value_enum, default_value_t = ScheduleName::Linear)]
    schedule: ScheduleName,
    /// The first of them
    #[arg(long, default_value_t = 1e-4)]
    beta_start: f64,
    /// The last
    #[arg(long, default_value_t = 0.02)]
    beta_end: f64,
    /// Rescale them so that the last step leaves nothing of the image (Lin et al. 2024); needs another prediction than epsilon
    #[arg(long)]
    zero_terminal_snr: bool,
    /// Keep the process's tables in f32, as diffusers does
    #[arg(long)]
    f32_tables: bool,
    /// What the network predicts
    #[arg(long, value_enum, default_value_t = PredictionName::Epsilon)]
    prediction: PredictionName,
    /// The variance of ancestral steps
    #[arg(long, value_enum, default_value_t = VarianceName::FixedSmall)]
    variance: VarianceName,
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

impl ModelArguments for Diffusion {
    fn model(&self, dataset: &Dataset) -> Result<ModelConfig> {
        let pixels = dataset.dtype() == DType::U8;
        let shape = dataset.shape;
        let variance = match self.variance {
            VarianceName::FixedSmall => Variance::FixedSmall,
            VarianceName::FixedLarge => Variance::FixedLarge,
            VarianceName::LearnedRange => Variance::LearnedRange,
        };
        let twice = if variance == Variance::LearnedRange {
            2
        } else {
            1
        };
        let network = Network::Mlp(mlp::Config {
            width: shape.count(),
            hidden: self.hidden,
            blocks: self.blocks,
            outputs: shape.count() * twice,
            classes: 0,
        });
        let mut config = Config {
            process: process::Config {
                timesteps: self.timesteps,
                beta_schedule: match self.schedule {
                    ScheduleName::Linear => BetaSchedule::Linear,
                    ScheduleName::ScaledLinear => BetaSchedule::ScaledLinear,
                    ScheduleName::Cosine => BetaSchedule::Cosine,
                    ScheduleName::Sigmoid => BetaSchedule::Sigmoid,
                },
                beta_start: self.beta_start,
                beta_end: self.beta_end,
                zero_terminal_snr: self.zero_terminal_snr,
                rounding: if self.f32_tables {
                    Rounding::F32
                } else {
                    Rounding::F64
                },
            },
            prediction: match self.prediction {
                PredictionName::Epsilon => Prediction::Epsilon,
                PredictionName::Sample => Prediction::Sample,
                PredictionName::V => Prediction::Velocity,
            },
            variance,
            accumulate: self.accumulate,
            loss: match self.loss {
                None if variance == Variance::LearnedRange => Loss::Hybrid,
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
            sampling: Sampling {
                steps: self.timesteps.min(50),
                spacing: if self.zero_terminal_snr {
                    Spacing::Trailing
                } else {
                    Spacing::Leading
                },
                ..Sampling::default()
            },
            ..Config::of(shape, pixels, network)
        };
        let rows = config.class_rows();
        if pixels {
            config.network = Network::Unet(Box::new(self.unet(&config, twice)));
        } else if let Network::Mlp(mlp) = &mut config.network {
            mlp.classes = rows;
        }
        Ok(ModelConfig::Diffusion(Box::new(config)))
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SamplerChoice {
    Ddpm,
    Ddim,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SpacingName {
    Leading,
    Linspace,
    Trailing,
}

/// How a diffusion model is sampled; what is not given is as its folder says.
#[derive(Debug, Args)]
pub(super) struct SamplingArguments {
    /// Diffusion: ancestral steps, or DDIM
    #[arg(long, value_enum)]
    sampler: Option<SamplerChoice>,
    /// Diffusion: steps
    #[arg(long)]
    steps: Option<usize>,
    /// Diffusion, ddim: 0 for no noise, 1 for as much as ancestral steps have
    #[arg(long)]
    eta: Option<f64>,
    /// Diffusion: which timesteps the steps are at
    #[arg(long, value_enum)]
    spacing: Option<SpacingName>,
    /// Diffusion: scale of classifier-free guidance; 1 for none
    #[arg(long)]
    guidance: Option<f64>,
}

impl SamplingArguments {
    fn is_empty(&self) -> bool {
        self.sampler.is_none()
            && self.steps.is_none()
            && self.eta.is_none()
            && self.spacing.is_none()
            && self.guidance.is_none()
    }

    /// Puts what was asked for into a model's configuration.
    ///
    /// # Errors
    /// When it is no diffusion model, or has no such way of sampling.
    pub(super) fn apply(&self, model: &mut ModelConfig) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let ModelConfig::Diffusion(config) = model else {
            return Err(Error::Usage(
                "--sampler, --steps, --eta, --spacing and --guidance are for diffusion models"
                    .to_owned(),
            ));
        };
        let sampling = &mut config.sampling;
        if let Some(sampler) = self.sampler {
            sampling.sampler = match sampler {
                SamplerChoice::Ddpm => SamplerName::Ddpm,
                SamplerChoice::Ddim => SamplerName::Ddim,
            };
            if self.steps.is_none() && sampling.sampler == SamplerName::Ddpm {
                sampling.steps = config.process.timesteps;
            }
        }
        if self.eta.is_some() && sampling.sampler == SamplerName::Ddpm {
            return Err(Error::Usage(
                "--eta is of ddim; ancestral steps have the noise of the posterior".to_owned(),
            ));
        }
        if let Some(spacing) = self.spacing {
            sampling.spacing = match spacing {
                SpacingName::Leading => Spacing::Leading,
                SpacingName::Linspace => Spacing::Linspace,
                SpacingName::Trailing => Spacing::Trailing,
            };
        }
        sampling.steps = self.steps.unwrap_or(sampling.steps);
        sampling.eta = self.eta.unwrap_or(sampling.eta);
        sampling.guidance = self.guidance.unwrap_or(sampling.guidance);
        let sampling = *sampling;
        config.check_sampling(&sampling)
    }
}

/// What else may be made of a reverse process.
#[derive(Debug, Args)]
pub(super) struct ProcessArguments {
    /// Diffusion: begin with the tensor noise [n, channels, height, width] of this safetensors file, and not with --seed's
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    init_noise: Option<PathBuf>,
    /// Diffusion: begin with held-out examples of this data, noised as far as --strength says (img2img)
    #[arg(long, value_name = "SPEC")]
    data: Option<crate::data::Spec>,
    /// Diffusion, with --data: the share of the steps that are made; 1 leaves nothing of the examples
    #[arg(long, default_value_t = 0.6)]
    strength: f64,
    /// Diffusion: also draw how samples become, a row each; with --data first how they are lost
    #[arg(long, value_name = "PNG")]
    chain: Option<PathBuf>,
    /// Diffusion: also the whole reverse process as an animation
    #[arg(long, value_name = "GIF")]
    gif: Option<PathBuf>,
}

impl ProcessArguments {
    /// The error of these options with a model that has no process.
    ///
    /// # Errors
    /// When one of them is given.
    pub(super) fn refuse(&self) -> Result<()> {
        let given = [
            ("--init-noise", self.init_noise.is_some()),
            ("--data", self.data.is_some()),
            ("--chain", self.chain.is_some()),
            ("--gif", self.gif.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::Usage(format!("{name} is for diffusion models"))),
            None => Ok(()),
        }
    }
}

/// Samples that are watched while they become.
const WATCHED: usize = 100;

/// Rows of a picture of chains, and pictures in a row.
const CHAINS: usize = 8;
const MOMENTS: usize = 10;

/// `wgen sample` of a diffusion model.
pub(super) fn sample(
    output: &Output,
    device: &Device,
    config: &RunConfig,
    weights: &[Vec<f32>],
    arguments: &SampleArguments,
    n: usize,
) -> Result<()> {
    let ModelConfig::Diffusion(own) = &config.model else {
        return Err(Error::Usage("no diffusion model".to_owned()));
    };
    if arguments.filters || arguments.traverse || arguments.manifold {
        return Err(Error::Usage(
            "--filters, --traverse and --manifold are for models with codes; a diffusion model has none"
                .to_owned(),
        ));
    }
    let process = &arguments.process;
    let watched = process.chain.is_some() || process.gif.is_some();
    if watched && n > WATCHED {
        return Err(Error::Usage(format!(
            "--n {n}: with --chain or --gif at most {WATCHED} samples"
        )));
    }
    let model = Model::new(own.as_ref().clone())?;
    let mut evaluator = Evaluator::new(device, &model, weights, n, arguments.seed)?;
    let runs = model.steps().len();
    let mut columns = Vec::new();
    let start = match (&process.init_noise, &process.data) {
        (Some(path), _) => Start {
            x: Some(noise_of(path, config, n)?),
            runs_done: 0,
        },
        (None, Some(spec)) => {
            if !(process.strength > 0.0 && process.strength <= 1.0) {
                return Err(Error::Usage(format!(
                    "--strength {} must be above 0 and at most 1",
                    process.strength
                )));
            }
            let examples = examples(spec, config, n)?;
            let done = runs - ((runs as f64 * process.strength).round() as usize).clamp(1, runs);
            columns = forward(&model, &examples, done, arguments.seed)?;
            Start {
                x: Some(model.noised(&examples, done, arguments.seed)?.data.to_f32()),
                runs_done: done,
            }
        }
        (None, None) => Start::default(),
    };
    let side = (n as f64).sqrt().ceil() as usize;
    let mut film = grid::Film::default();
    let steps = runs - start.runs_done;
    let samples = evaluator.samples_from(
        &model,
        n,
        arguments.class,
        &start,
        &mut |left, executable| {
            let at = steps - left;
            // The ends and what lies at equal distances between them.
            let moment = |count: usize| (at * count) / steps != ((at - 1) * count) / steps;
            if (process.gif.is_some() && moment(60)) || (process.chain.is_some() && moment(MOMENTS))
            {
                let images = executable.read("images")?.data.to_f32();
                if process.gif.is_some() && moment(60) {
                    film.push(picture(&images, config, side));
                }
                if process.chain.is_some() && moment(MOMENTS) {
                    columns.push(images);
                }
            }
            Ok(())
        },
    )?;
    grid::save(&picture(&samples.images, config, side), &arguments.out)?;
    if let Some(path) = &process.gif {
        grid::save_animation(film.frames(), 60, path)?;
    }
    if let Some(path) = &process.chain {
        grid::save(&chain(&columns, config, n), path)?;
    }
    if let Some(path) = &arguments.save_tensor {
        let image = config.image;
        let shape = vec![n, image.channels, image.height, image.width];
        let x = border(&samples.x, config, n, true);
        let tensors = Tensors::from([
            (
                "images".to_owned(),
                (vec![n, image.count()], samples.images),
            ),
            ("x".to_owned(), (shape, x)),
        ]);
        write_tensors(path, &tensors)?;
    }
    output.say(&format!(
        "{n} images in {}, {steps} steps",
        arguments.out.display()
    ));
    output.result(&json!({"samples": n, "steps": steps, "file": arguments.out}))
}

/// Images between the order of files, `[n, channels, height, width]`, and the device's.
fn border(values: &[f32], config: &RunConfig, n: usize, to_file: bool) -> Vec<f32> {
    let image = config.image;
    let shape = [n, image.height, image.width, image.channels];
    let tensor = Parameter::new("x", shape, Init::Constant(0.0)).with_border(&[0, 3, 1, 2]);
    if to_file {
        tensor.to_border(values)
    } else {
        tensor.from_border(values)
    }
}

/// The noise that a caller brings.
fn noise_of(path: &Path, config: &RunConfig, n: usize) -> Result<Vec<f32>> {
    let tensors = read_tensors(path)?;
    let image = config.image;
    let wanted = [n, image.channels, image.height, image.width];
    match tensors.get("noise") {
        None => Err(Error::format(
            path,
            format!(
                "has no tensor 'noise'; it has {}",
                tensors.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        )),
        Some((shape, _)) if *shape != wanted => Err(Error::format(
            path,
            format!("noise is {shape:?}; for --n {n} of this model it must be {wanted:?}"),
        )),
        Some((_, values)) => Ok(border(values, config, n, false)),
    }
}

/// The first held-out examples of a data set, in the range of models.
fn examples(spec: &crate::data::Spec, config: &RunConfig, n: usize) -> Result<Vec<f32>> {
    // A folder's images become what the model has.
    let options = crate::data::images::Options {
        size: Some(config.image.height as u32),
        grey: config.image.channels == 1,
    };
    let dataset = spec.load(Part::Test, &options)?;
    if dataset.shape != config.image || dataset.rows() < n {
        return Err(Error::Usage(format!(
            "--data has {} examples of {:?}; {n} of {:?} are wanted",
            dataset.rows(),
            dataset.shape,
            config.image
        )));
    }
    let dataset = dataset.select(&(0..n).collect::<Vec<_>>());
    let (scale, shift) = dataset.scaling();
    let values = dataset.values.to_f32();
    Ok(values.into_iter().map(|x| x * scale + shift).collect())
}

/// How examples are lost, to the step that the reverse process begins with: columns of a chain.
fn forward(model: &Model, examples: &[f32], last: usize, seed: u64) -> Result<Vec<Vec<f32>>> {
    let runs = model.steps().len();
    let mut columns = vec![examples.to_vec()];
    for i in 1..MOMENTS {
        let step = runs - 1 - (runs - 1 - last) * i / (MOMENTS - 1);
        let x = model.noised(examples, step, seed)?.data.to_f32();
        let pixels = model.config().pixels;
        let shown = |x: f32| if pixels { 0.5 * x + 0.5 } else { x };
        columns.push(x.into_iter().map(shown).collect());
    }
    Ok(columns)
}

/// A row for each of the first samples, or of points a picture for each moment.
fn chain(columns: &[Vec<f32>], config: &RunConfig, n: usize) -> image::RgbImage {
    let width = config.image.count();
    if config.image.height == 1 {
        let each: Vec<_> = columns.iter().map(|c| picture(c, config, 1)).collect();
        return grid::beside(&each);
    }
    let rows = (0..n.min(CHAINS)).flat_map(|i| {
        columns
            .iter()
            .flat_map(move |c| c[i * width..(i + 1) * width].iter().copied())
    });
    picture(&rows.collect::<Vec<f32>>(), config, columns.len())
}
