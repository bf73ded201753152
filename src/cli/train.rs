//! `wgen train`

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::pictures::{pairs, picture};
use super::{DataArguments, Output, diffusion, models, open};
use crate::data::Dataset;
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::evaluate::judge::{Judge, made_by};
use crate::files::folder::{read_config, write_synced};
use crate::files::{Config, ModelConfig, Storage, Training};
use crate::gpu::Choice;
use crate::graph::update::Rule;
use crate::nn::schedule::{LearningRate, Shape};
use crate::report::{curves, grid};
use crate::session::Device;
use crate::train::metrics;
use crate::train::recover;
use crate::train::{Event, Summary, Trainer};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    model: Model,
}

#[derive(Debug, Subcommand)]
enum Model {
    /// The variational autoencoder (Kingma & Welling 2013); 784-400-20 on 28x28 images by default
    Vae(Box<models::Vae>),
    /// The autoencoder (Hinton & Salakhutdinov 2006); 784-1000-500-250-30 on 28x28 images by default
    Ae(Box<models::Ae>),
    /// A generative adversarial network (Goodfellow et al. 2014): DCGAN on images, perceptrons on points
    Gan(Box<models::Gan>),
    /// A diffusion model (Ho et al. 2020): a U-Net on images, a perceptron on points
    Diffusion(Box<diffusion::Diffusion>),
    /// The classifier in whose features samples are judged (pytorch/examples' MNIST)
    Classifier(Box<models::Classifier>),
    /// A sparse autoencoder: a code of 1024 units of which few are active, by L1, KL or top-k
    SparseAe(Box<models::SparseAe>),
    /// The contractive autoencoder (Rifai et al. 2011); tied weights, a sigmoid code of 256 by default
    ContractiveAe(Box<models::ContractiveAe>),
}

impl Model {
    fn arguments(&self) -> &dyn ModelArguments {
        match self {
            Self::Vae(a) => a.as_ref(),
            Self::Ae(a) => a.as_ref(),
            Self::SparseAe(a) => a.as_ref(),
            Self::ContractiveAe(a) => a.as_ref(),
            Self::Gan(a) => a.as_ref(),
            Self::Classifier(a) => a.as_ref(),
            Self::Diffusion(a) => a.as_ref(),
        }
    }
}

/// What the arguments of every model give.
pub(super) trait ModelArguments {
    /// The model, for this data.
    fn model(&self, dataset: &Dataset) -> Result<ModelConfig>;

    /// What all models are trained by.
    fn training(&self) -> &TrainingArguments;

    /// How this model is trained where the arguments do not say.
    fn defaults(&self) -> Defaults {
        Defaults::default()
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
    pub(super) epochs: u64,
    pub(super) ema: Option<f64>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epochs: 10,
            ema: None,
        }
    }
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

/// What all models are trained by.
#[derive(Debug, Args)]
pub(super) struct TrainingArguments {
    #[command(flatten)]
    data: DataArguments,
    /// The run folder
    #[arg(long)]
    out: PathBuf,
    /// Continue the run in --out; its own configuration counts, the options here only where they lengthen it
    #[arg(long)]
    resume: bool,
    /// Passes over the data
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Training steps, instead of epochs
    #[arg(long)]
    steps: Option<u64>,
    /// Examples of a step
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// How the learning rate moves
    #[arg(long, value_enum, default_value_t = ScheduleName::Constant)]
    lr_schedule: ScheduleName,
    /// Steps over which the learning rate rises from 0
    #[arg(long, default_value_t = 0)]
    lr_warmup: u64,
    /// Seed of initial weights, shuffles and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What activations and their gradients are stored as; f16 needs a GPU that has it, and scales the loss
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    precision: PrecisionName,
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
    /// Momentum, of sgd and rmsprop
    #[arg(long, default_value_t = 0.0)]
    momentum: f32,
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
    /// Steps between checkpoints; 0 for one an epoch
    #[arg(long, default_value_t = 0)]
    checkpoint_steps: u64,
    /// Judge samples at each checkpoint in the features of this classifier (see wgen eval --judge); figures go to judged.jsonl
    #[arg(long, value_name = "FOLDER")]
    judge: Option<PathBuf>,
    /// How many are judged
    #[arg(long, default_value_t = 1000, requires = "judge")]
    judge_samples: usize,
    /// Print the training plan, dispatch by dispatch
    #[arg(long)]
    explain: bool,
}

/// Samples judged while a model is trained.
pub(super) struct Judging {
    judge: Judge,
    held_out: Dataset,
    count: usize,
}

impl Judging {
    fn new(device: &Device, arguments: &TrainingArguments) -> Result<Option<Self>> {
        let Some(folder) = &arguments.judge else {
            return Ok(None);
        };
        Ok(Some(Self {
            judge: Judge::load(device, folder)?,
            held_out: arguments.data.load(Part::Test)?,
            count: arguments.judge_samples,
        }))
    }

    /// A line of `judged.jsonl`.
    fn at(&mut self, device: &Device, trainer: &Trainer, step: u64) -> Result<serde_json::Value> {
        let (model, seed) = (trainer.model(), trainer.config().training.seed);
        let mut evaluator = Evaluator::new(device, model, &trainer.weights()?, 100, seed)?;
        let (what, images) = made_by(&mut evaluator, model, &self.held_out, self.count, None)?;
        let judgement = self.judge.judge(what, &images, &self.held_out, None)?;
        Ok(serde_json::json!({"step": step, "judgement": judgement}))
    }
}

impl TrainingArguments {
    fn optimizer(&self, defaults: Defaults) -> Rule {
        let (decay, momentum) = (self.weight_decay, self.momentum);
        let beta1 = self.beta1.unwrap_or(defaults.beta1);
        let beta2 = self.beta2.unwrap_or(defaults.beta2);
        match self.optimizer {
            OptimizerName::Adam => Rule::Adam {
                beta1,
                beta2,
                epsilon: 1e-8,
                decay,
            },
            OptimizerName::Adamw => Rule::AdamW {
                beta1,
                beta2,
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

    fn config(&self, arguments: &dyn ModelArguments, dataset: &Dataset) -> Result<Config> {
        let shape = match self.lr_schedule {
            ScheduleName::Constant => Shape::Constant,
            ScheduleName::Cosine => Shape::Cosine,
        };
        let defaults = arguments.defaults();
        let epochs = self.steps.is_none().then_some(defaults.epochs);
        let (beta, beta_warmup) = arguments.weight();
        Ok(Config {
            model: arguments.model(dataset)?,
            image: dataset.shape,
            data: self.data.data.to_string(),
            training: Training {
                steps: self.steps,
                epochs: self.epochs.or(epochs),
                batch: self.batch,
                seed: self.seed,
                optimizer: self.optimizer(defaults),
                learning_rate: LearningRate {
                    peak: self.lr.unwrap_or(defaults.learning_rate),
                    shape,
                    warmup: self.lr_warmup,
                },
                beta,
                beta_warmup,
                ema: self.ema.or(defaults.ema).filter(|&decay| decay != 0.0),
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
        })
    }
}

pub(super) fn run(output: &Output, choice: &Choice, arguments: &Arguments) -> Result<()> {
    let model = arguments.model.arguments();
    let arguments = model.training();
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
        None => arguments.config(model, &dataset)?,
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
            let mut judging = Judging::new(device, arguments)?;
            drive(output, device, &mut trainer, judging.as_mut())
        },
    )?;
    output.result(&summary)
}

/// Trains with progress, sample grids, curves and a film of the samples; Ctrl-C saves and ends.
pub(super) fn drive(
    output: &Output,
    device: &Device,
    trainer: &mut Trainer,
    mut judging: Option<&mut Judging>,
) -> Result<Summary> {
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
                if let Some(picture) = preview(device, trainer)? {
                    let path = samples.join(format!("{step:08}.png"));
                    write_synced(&path, &grid::png(&picture)?)?;
                    film.push(picture);
                }
                if let Some(judging) = judging.as_mut() {
                    let line = judging.at(device, trainer, step)?;
                    append_line(&folder.join("judged.jsonl"), &line)?;
                }
            }
        }
        Ok(())
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if film.frames().len() > 1 {
        let animation = grid::gif(film.frames(), 400)?;
        write_synced(&samples.join("training.gif"), &animation)?;
    }
    let records = metrics::read(&folder.join("metrics.jsonl"))?;
    let rows: Vec<_> = records.iter().map(|r| (r.step, &r.values)).collect();
    if let Some(svg) = curves::svg(&rows)? {
        write_synced(&folder.join("curves.svg"), svg.as_bytes())?;
    }
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

fn append_line(path: &Path, line: &serde_json::Value) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| Error::io(path, e))?;
    writeln!(file, "{line}").map_err(|e| Error::io(path, e))
}

/// Where a training stands: samples at fixed noise, or, of a model that has none, inputs and what it makes of them.
fn preview(device: &Device, trainer: &Trainer) -> Result<Option<image::RgbImage>> {
    const COUNT: usize = 64;
    let (config, model) = (trainer.config(), trainer.model());
    let weights = trainer.weights()?;
    let mut evaluator = Evaluator::new(device, model, &weights, COUNT, config.training.seed)?;
    if model.sampler(1).is_ok() {
        // Fixed noise: the film shows the same samples as they become.
        let samples = evaluator.samples(model, COUNT, None)?;
        return Ok(Some(picture(&samples.images, config, 8)));
    }
    if model.decoding(1).is_err() {
        return Ok(None);
    }
    let data = trainer.dataset();
    let some = data.select(&(0..COUNT.min(data.rows())).collect::<Vec<_>>());
    let pairs = pairs(&mut evaluator, model, &some, 16)?;
    Ok(Some(picture(&pairs, config, 16)))
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
