//! `wgen train`

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{DataArguments, Output, open};
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::gpu::Choice;
use crate::graph::update::Rule;
use crate::models::vae::{self, Decoder};
use crate::nn::schedule::{LearningRate, Shape};
use crate::report::{curves, grid};
use crate::train::evaluate::Evaluator;
use crate::train::folder::read_config;
use crate::train::metrics;
use crate::train::recover;
use crate::train::session::Device;
use crate::train::{Config, Event, ModelConfig, Storage, Summary, Trainer, Training};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    model: Model,
}

#[derive(Debug, Subcommand)]
enum Model {
    /// The variational autoencoder (Kingma & Welling 2013); 784-400-20 on 28x28 images by default
    Vae(Box<VaeArguments>),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionName {
    F32,
    F16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerName {
    Adam,
    Adamw,
    Sgd,
    Rmsprop,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleName {
    Constant,
    Cosine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DecoderName {
    Bernoulli,
    Gaussian,
}

#[derive(Debug, Args)]
struct VaeArguments {
    #[command(flatten)]
    data: DataArguments,
    /// The run folder
    #[arg(long)]
    out: PathBuf,
    /// Continue the run in --out; its own configuration counts, the options here only where they lengthen it
    #[arg(long)]
    resume: bool,
    /// Passes over the data [default: 10]
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Training steps, instead of epochs
    #[arg(long)]
    steps: Option<u64>,
    /// Examples of a step
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Learning rate
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// How the learning rate moves
    #[arg(long, value_enum, default_value_t = ScheduleName::Constant)]
    lr_schedule: ScheduleName,
    /// Steps over which the learning rate rises from 0
    #[arg(long, default_value_t = 0)]
    lr_warmup: u64,
    /// Seed of initial weights, shuffles and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Sizes of the encoder's hidden layers; the decoder has them in reverse
    #[arg(long, value_delimiter = ',', default_value = "400")]
    hidden: Vec<usize>,
    /// Latent size
    #[arg(long, default_value_t = 20)]
    latent: usize,
    /// p(x | z)
    #[arg(long, value_enum)]
    decoder: Option<DecoderName>,
    /// Weight of the KL term
    #[arg(long, default_value_t = 1.0)]
    beta: f64,
    /// Steps over which that weight rises from 0
    #[arg(long, default_value_t = 0)]
    beta_warmup: u64,
    /// What activations and their gradients are stored as; f16 needs a GPU that has it, and scales the loss
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    precision: PrecisionName,
    /// The optimiser
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    optimizer: OptimizerName,
    /// Weight decay
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f32,
    /// Momentum, of sgd and rmsprop
    #[arg(long, default_value_t = 0.0)]
    momentum: f32,
    /// Keep a moving average of the weights with this decay, and take it as the model
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
    /// Steps between checkpoints; 0 for one an epoch
    #[arg(long, default_value_t = 0)]
    checkpoint_steps: u64,
    /// Print the training plan, dispatch by dispatch
    #[arg(long)]
    explain: bool,
}

impl VaeArguments {
    fn optimizer(&self) -> Rule {
        let (decay, momentum) = (self.weight_decay, self.momentum);
        match self.optimizer {
            OptimizerName::Adam => Rule::Adam {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                decay,
            },
            OptimizerName::Adamw => Rule::AdamW {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
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

    fn config(&self, dataset: &crate::data::Dataset) -> Config {
        // Coordinates are no probabilities: they have a Gaussian decoder unless told otherwise.
        let decoder = match self.decoder {
            Some(DecoderName::Bernoulli) => Decoder::Bernoulli,
            Some(DecoderName::Gaussian) => Decoder::Gaussian,
            None if dataset.dtype() == crate::tensor::DType::F32 => Decoder::Gaussian,
            None => Decoder::Bernoulli,
        };
        let shape = match self.lr_schedule {
            ScheduleName::Constant => Shape::Constant,
            ScheduleName::Cosine => Shape::Cosine,
        };
        Config {
            model: ModelConfig::Vae(vae::Config {
                width: dataset.shape.count(),
                hidden: self.hidden.clone(),
                latent: self.latent,
                decoder,
            }),
            image: dataset.shape,
            data: self.data.data.to_string(),
            training: Training {
                steps: self.steps,
                epochs: self
                    .epochs
                    .or(if self.steps.is_none() { Some(10) } else { None }),
                batch: self.batch,
                seed: self.seed,
                optimizer: self.optimizer(),
                learning_rate: LearningRate {
                    peak: self.lr,
                    shape,
                    warmup: self.lr_warmup,
                },
                beta: self.beta,
                beta_warmup: self.beta_warmup,
                ema: self.ema,
                clip: self.clip,
                validation: self.validation,
                patience: self.patience,
                checkpoint_steps: self.checkpoint_steps,
                precision: match self.precision {
                    PrecisionName::F32 => Storage::F32,
                    PrecisionName::F16 => Storage::F16,
                },
                ..Training::default()
            },
        }
    }
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let Model::Vae(arguments) = &arguments.model;
    // What can be wrong without a device or data is said first.
    let resumed = if arguments.resume {
        Some(read_config(&arguments.out)?)
    } else {
        None
    };
    let dataset = arguments.data.load(Part::Training)?;
    let config = match resumed {
        Some(mut config) => {
            if arguments.epochs.is_some() || arguments.steps.is_some() {
                (config.training.epochs, config.training.steps) =
                    (arguments.epochs, arguments.steps);
            }
            config
        }
        None => arguments.config(&dataset),
    };
    config.check()?;
    let mut explain = arguments.explain;
    let summary = recover::run(
        || open(output, choice),
        &arguments.out,
        arguments.resume,
        |device, resume| {
            let (config, dataset) = (config.clone(), dataset.clone());
            let mut trainer = Trainer::new(device, config, dataset, &arguments.out, resume)?;
            if std::mem::take(&mut explain) {
                let plan = trainer.explain();
                output.say(
                    plan.as_deref()
                        .unwrap_or("the CPU interprets the graph: there is no plan"),
                );
            }
            drive(output, device, &mut trainer)
        },
    )?;
    output.result(&summary)
}

/// Trains with progress, sample grids, curves and a film of the samples; Ctrl-C saves and ends.
pub(super) fn drive(output: &Output, device: &Device, trainer: &mut Trainer) -> Result<Summary> {
    let stop = interrupt_flag();
    let folder = trainer.path().to_owned();
    let samples = folder.join("samples");
    std::fs::create_dir_all(&samples).map_err(|e| Error::io(&samples, e))?;
    let bar = (std::io::stderr().is_terminal() && !output.quiet).then(progress_bar);
    let mut film = grid::Film::default();
    let summary = trainer.run(&stop, |trainer, event| {
        match event {
            Event::Step {
                step,
                total,
                record,
            } => {
                let text = record.map(|r| figures(&r.values)).unwrap_or_default();
                if let Some(bar) = &bar {
                    bar.set_length(total);
                    bar.set_position(step);
                    bar.set_message(text);
                } else if let Some(record) = record.filter(|r| r.step.is_multiple_of(500)) {
                    output.say(&format!("step {} of {total}: {text}", record.step));
                }
            }
            Event::Epoch { epoch, validation } => {
                let held_out = validation
                    .map(|v| format!(", held-out loss {v:.3}"))
                    .unwrap_or_default();
                if bar.is_none() {
                    output.say(&format!("epoch {epoch} done{held_out}"));
                }
            }
            Event::Checkpoint { step } => {
                let config = trainer.config();
                let picture = draw(device, config, &trainer.weights()?, 64)?;
                grid::save(&picture, &samples.join(format!("{step:08}.png")))?;
                film.push(picture);
            }
        }
        Ok(())
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if film.frames().len() > 1 {
        grid::save_animation(film.frames(), 400, &samples.join("training.gif"))?;
    }
    let records = metrics::read(&folder.join("metrics.jsonl"))?;
    curves::save(
        &records,
        &["loss", "reconstruction", "kl", "validation_loss"],
        &folder.join("curves.svg"),
    )?;
    output.say(&format!(
        "{}: {} of {} steps in {:.1} s, {}",
        summary.ended,
        summary.steps,
        summary.total,
        summary.seconds,
        figures(&summary.metrics)
    ));
    output.say(&format!("in {}", folder.display()));
    Ok(summary)
}

/// A grid of samples from the prior.
pub(super) fn draw(
    device: &Device,
    config: &Config,
    weights: &[Vec<f32>],
    count: usize,
) -> Result<image::RgbImage> {
    let model = config.build()?;
    let mut evaluator = Evaluator::new(device, &model, weights, count, config.training.seed)?;
    let images = evaluator.once(&model.sampler(count), Vec::new(), "images", 0)?;
    Ok(picture(&images.data.to_f32(), config, 8))
}

/// Images as a grid, points as a scatter plot.
pub(super) fn picture(values: &[f32], config: &Config, columns: usize) -> image::RgbImage {
    if config.image.height == 1 && config.image.width == 2 {
        grid::scatter(values, 3.0)
    } else {
        grid::grid(values, config.image, columns)
    }
}

fn figures(values: &serde_json::Map<String, serde_json::Value>) -> String {
    let one = |(name, value): (&String, &serde_json::Value)| {
        Some(format!("{name} {:.4}", value.as_f64()?))
    };
    values.iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Raised by Ctrl-C and SIGTERM; the second time the process ends at once. The handler is installed once a process.
fn interrupt_flag() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    static INSTALL: Mutex<()> = Mutex::new(());
    let guard = INSTALL.lock();
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let raised = flag.clone();
        let handler = move || {
            if raised.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            log::warn!("Ctrl-C will end the training without a checkpoint: {error}");
        }
        flag
    });
    drop(guard);
    flag.clone()
}

/// The configuration and weights of a run folder.
pub(super) fn load(folder: &Path, device: &Device) -> Result<(Config, Vec<Vec<f32>>)> {
    use crate::models::Model as _;
    let config = read_config(folder)?;
    let layout = crate::graph::layout::Layout::new(
        config.build()?.parameters(),
        device.caps().binding_bytes,
    )?;
    let weights = crate::train::folder::read_weights(folder, &layout)?;
    Ok((config, weights))
}
