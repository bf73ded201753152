//! The training loop: batches, checkpoints, validation, stopping and resuming.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;

mod fault;
pub mod metrics;
pub mod recover;
mod submit;

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate;
use crate::files::folder::{Checkpoint, Progress, RunFolder};
use crate::files::{Config, Storage, Training, diffusers, weights};
use crate::graph::layout::Layout;
use crate::graph::update::Update;
use crate::kernels::{self, RING_ROWS, SCHEDULE_COLUMNS};
use crate::models::{Figures, Model, Phase};
use crate::nn::{init, schedule};
use crate::plan::StoreOptions;
use crate::program::Flat;
use crate::session::feed::{self, Feed, Wants};
use crate::session::{self, Device, Executable, Session};
use metrics::{Metrics, Record};

/// The loss scale that a run in f16 begins with. It is halved where a gradient overflows and doubled after [`GROWTH`] steps in which
/// none did.
const LOSS_SCALE: f32 = 1024.0;

/// It grows no further.
const LARGEST_LOSS_SCALE: f32 = 65_536.0;

/// Steps without an overflow after which the loss scale is doubled.
const GROWTH: u64 = 2000;

/// What a trainer tells while it works.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Steps are done.
    Step {
        /// How many so far.
        step: u64,
        /// Of how many.
        total: u64,
        /// The newest line of `metrics.jsonl`.
        record: Option<&'a Record>,
    },
    /// An epoch is done: its validation loss, if there is validation.
    Epoch {
        /// Which, from 1.
        epoch: u64,
        /// Mean loss of an example on held-out data.
        validation: Option<f64>,
    },
    /// A checkpoint was written; samples may be drawn from the session's weights.
    Checkpoint {
        /// Steps so far.
        step: u64,
    },
}

/// How a training ended.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Steps done in all.
    pub steps: u64,
    /// Steps of the whole training.
    pub total: u64,
    /// Means of the last logged steps, per example.
    pub metrics: serde_json::Map<String, serde_json::Value>,
    /// The best validation loss.
    pub best_validation: Option<f64>,
    /// Why it ended: `done`, `early stop`, `interrupted`.
    pub ended: &'static str,
    /// Seconds of this process.
    pub seconds: f64,
    /// The device.
    pub device: String,
}

/// Why figures could not be collected.
enum Stopped {
    /// The loss scale was too large for this step, which was refused.
    Overflow(u64),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Failed(error) => error,
            Stopped::Overflow(step) => Self::NotFinite {
                step,
                tensor: "a gradient".to_owned(),
                detail: "f16 overflowed".to_owned(),
            },
        }
    }
}

/// Batches that an iteration takes.
fn batches_of(phases: &[Phase]) -> usize {
    let takes = phases.iter().filter(|p| p.takes_data);
    takes.map(|p| p.repeats).sum::<usize>().max(1)
}

/// The update of a phase on a batch.
fn update_of(training: &Training, phase: &Phase, batch: usize) -> Update {
    Update {
        rule: training.optimizer,
        max_norm: training.clip,
        ema: training.ema.is_some(),
        metrics: phase.metrics.clone(),
        set: phase.set,
        takes_data: phase.takes_data,
        batch,
        loss_scale: training.precision == Storage::F16,
    }
}

/// The most steps in one submission.
const CHUNK: usize = 64;

/// Trains a model into a run folder.
#[derive(Debug)]
pub struct Trainer {
    config: Config,
    model: Arc<dyn Model>,
    phases: Vec<Phase>,
    device: Device,
    folder: RunFolder,
    session: Session,
    feed: Feed,
    /// One a phase.
    full: Vec<Executable>,
    rest: Option<(usize, Executable)>,
    validation: Option<Dataset>,
    metrics: Metrics,
    progress: Progress,
    total: u64,
}

impl Trainer {
    /// Prepares a run in `out`, or with `resume` the continuation of the one that is there.
    ///
    /// # Errors
    /// When options or data do not fit, the folder cannot be used, or a checkpoint is damaged. Nothing is written before options and
    /// data were found to be right.
    pub fn new(
        device: &Device,
        config: Config,
        dataset: Dataset,
        out: &Path,
        resume: bool,
    ) -> Result<Self> {
        config.check()?;
        let training = &config.training;
        if dataset.shape != config.image {
            return Err(Error::Usage(format!(
                "the data is {:?}, the run's is {:?}",
                dataset.shape, config.image
            )));
        }
        let model = config.model.clone();
        if training.validation > 0 && !model.has_validation_loss() {
            return Err(Error::Usage(format!(
                "`validation`: a {} model has no held-out loss that its best weights could be chosen by",
                model.name()
            )));
        }
        let (dataset, validation) = dataset.split(training.validation, training.seed)?;
        if training.batch > dataset.rows() {
            let (batch, rows) = (training.batch, dataset.rows());
            return Err(Error::field(
                "batch",
                format!("{batch} is larger than the data, which has {rows} examples"),
            ));
        }
        let caps = device.caps();
        let layout = Layout::new(model.parameters(), caps.binding_bytes)?;
        let phases = model.phases();
        if training.precision == Storage::F16 && phases.len() > 1 {
            let message = format!("f16 scales one loss; {} has {}", model.name(), phases.len());
            return Err(Error::field("precision", message));
        }
        // Whatever a graph would be refused for is found before a folder is made.
        for (i, phase) in phases.iter().enumerate() {
            let data = feed::data_type(&dataset, dataset.rows());
            let update = update_of(training, phase, training.batch);
            model.training(i, &data, &update)?.check()?;
        }
        let folder = RunFolder::open(out, resume)?;
        let options = StoreOptions {
            training: true,
            ema: training.ema.is_some(),
        };
        let mut session = Session::new(device, layout.clone(), options)?;
        let limit = caps.binding_bytes.min(1 << 30);
        let wants = Wants {
            labels: model.classes() > 0,
            // A phase without examples of its own must know how many the others have.
            whole_batches: phases.len() > 1,
        };
        let feed = Feed::new(
            &session,
            dataset,
            training.batch,
            training.seed,
            limit,
            wants,
        )?;
        let takes: usize = batches_of(&phases);
        let per_epoch = feed.batches_per_epoch().div_ceil(takes as u64);
        let total = training
            .steps
            .unwrap_or_else(|| training.epochs.unwrap_or(1) * per_epoch);
        let ticks: usize = phases.iter().map(|p| p.repeats).sum();
        if 2 * training.log_steps as usize * ticks > RING_ROWS {
            return Err(Error::Usage(format!(
                "log_steps {} with {ticks} updates a step is more than the ring of {RING_ROWS} figures holds",
                training.log_steps
            )));
        }

        let half = training.precision == Storage::F16;
        let compile = |phase: usize, batch: usize| -> Result<Executable> {
            let update = update_of(training, &phases[phase], batch);
            let graph = model.training(phase, &feed.data_type(), &update)?;
            let used = |name: &str| graph.has_input(name);
            let inputs: Vec<_> = feed.inputs().into_iter().filter(|(n, _)| used(n)).collect();
            session.compile_with(&graph, &inputs, half)
        };
        let full = (0..phases.len())
            .map(|phase| compile(phase, training.batch))
            .collect::<Result<Vec<_>>>()?;
        let rest = feed
            .remainder()
            .map(|rest| Ok::<_, Error>((rest, compile(0, rest)?)))
            .transpose()?;
        let variants: Vec<String> = full.iter().flat_map(Executable::variants).collect();
        let saved = if resume {
            folder.load(&layout, training.ema.is_some())?
        } else {
            None
        };
        let checkpoint = match saved {
            Some(saved) => {
                if saved.progress.variants != variants {
                    log::warn!(
                        "this device chose other kernel variants than the run began with: bits will differ"
                    );
                }
                saved
            }
            None => {
                let weights: Vec<Vec<f32>> = layout
                    .parameters
                    .iter()
                    .map(|p| init::draw(p, training.seed))
                    .collect();
                let zeros: Vec<Vec<f32>> = weights.iter().map(|w| vec![0.0; w.len()]).collect();
                let progress = Progress {
                    step: 0,
                    best: None,
                    since_best: 0,
                    variants,
                    device: device.name(),
                    loss_scale: if half { LOSS_SCALE } else { 1.0 },
                    loss_scale_since: 0,
                };
                let ema = training.ema.map(|_| weights.clone());
                Checkpoint {
                    weights,
                    moments: [zeros.clone(), zeros],
                    ema,
                    progress,
                }
            }
        };
        session.write(Flat::Parameters, &checkpoint.weights)?;
        session.write(Flat::Moment1, &checkpoint.moments[0])?;
        session.write(Flat::Moment2, &checkpoint.moments[1])?;
        if let Some(ema) = &checkpoint.ema {
            session.write(Flat::Ema, ema)?;
        }
        if !resume {
            folder.write_config(&config)?;
        }
        let metrics = Metrics::open(
            &folder.path().join("metrics.jsonl"),
            checkpoint.progress.step,
        )?;
        let progress = checkpoint.progress;
        let device = device.clone();
        Ok(Self {
            config,
            model,
            phases,
            device,
            folder,
            session,
            feed,
            full,
            rest,
            validation,
            metrics,
            progress,
            total,
        })
    }

    /// The training plan, where it runs on a GPU.
    pub fn explain(&self) -> Option<String> {
        let plans = self.full.iter().map(|executable| match executable {
            Executable::Gpu(plan) => Some(plan.explain()),
            Executable::Cpu(_) => None,
        });
        plans.collect::<Option<Vec<_>>>().map(|p| p.join("\n"))
    }

    /// The model.
    pub fn model(&self) -> &dyn Model {
        self.model.as_ref()
    }

    /// The examples that it is trained on.
    pub fn dataset(&self) -> &Dataset {
        self.feed.dataset()
    }

    /// The run folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Weights to sample from now: the moving average where there is one.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn weights(&self) -> Result<Vec<Vec<f32>>> {
        self.session.read(if self.config.training.ema.is_some() {
            Flat::Ema
        } else {
            Flat::Parameters
        })
    }

    /// Updates of an iteration: what the device counts as its steps.
    fn ticks(&self) -> u64 {
        self.phases.iter().map(|p| p.repeats as u64).sum()
    }

    /// The phase of the iteration's update number `tick`, and how many of its own updates come before it there.
    fn phase_of(&self, tick: u64) -> (usize, u64) {
        let mut before = tick;
        for (i, phase) in self.phases.iter().enumerate() {
            if before < phase.repeats as u64 {
                return (i, before);
            }
            before -= phase.repeats as u64;
        }
        (0, 0)
    }

    /// Iterations of an epoch.
    fn steps_per_epoch(&self) -> u64 {
        self.feed
            .batches_per_epoch()
            .div_ceil(batches_of(&self.phases) as u64)
    }

    /// The schedule's row of the device's step `tick`, counted from the beginning of the training.
    fn schedule_row(&self, tick: u64) -> [f32; SCHEDULE_COLUMNS] {
        let t = &self.config.training;
        let (step, within) = (tick / self.ticks(), tick % self.ticks());
        let (phase, before) = self.phase_of(within);
        // Each set of parameters counts its own updates.
        let own = step * self.phases[phase].repeats as u64 + before;
        let ema = t.ema.map_or(0.0, |decay| schedule::ema_decay(decay, step));
        let model = schedule::warm_up(t.beta, t.beta_warmup, step);
        let mut row =
            t.optimizer
                .schedule_row(own, t.learning_rate.at(step, self.total), ema, model);
        row[kernels::schedule::LOSS_SCALE] = self.progress.loss_scale;
        row
    }

    /// Steps after which something is decided or written: logging, epochs, checkpoints, the end.
    fn next_boundary(&self, step: u64) -> u64 {
        let after = |every: u64| (step / every + 1) * every;
        let t = &self.config.training;
        let mut next = after(t.log_steps)
            .min(after(self.steps_per_epoch()))
            .min(self.total);
        if t.checkpoint_steps > 0 {
            next = next.min(after(t.checkpoint_steps));
        }
        next
    }

    /// Trains to the end, until `stop` is raised, or until validation no longer improves.
    ///
    /// # Errors
    /// When a loss is not finite, the device is lost, or a file cannot be written. The last checkpoint stays.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        mut tell: impl FnMut(&Self, Event<'_>) -> Result<()>,
    ) -> Result<Summary> {
        let begin = Instant::now();
        let t = self.config.training.clone();
        let per_epoch = self.steps_per_epoch();
        let mut step = self.progress.step;
        let tick = step * self.ticks();
        let row = self.schedule_row(tick);
        self.session.set_state(tick, t.seed, 0)?;
        self.session.write_schedule(tick, &[row], true)?;
        self.feed.forget();
        let mut ended = "done";
        // Figures of steps that are submitted and not read yet: one readback is always behind, so that the queue never runs dry.
        let mut pending: Option<(u64, u64, session::RingRead)> = None;
        while step < self.total {
            if stop.load(Ordering::Relaxed) {
                ended = "interrupted";
                break;
            }
            let boundary = self.next_boundary(step);
            let first = step;
            while step < boundary {
                step += self.submit(step, boundary)?;
            }
            let read = self.session.begin_ring()?;
            let synchronous = step.is_multiple_of(per_epoch)
                || step == self.total
                || (t.checkpoint_steps > 0 && step.is_multiple_of(t.checkpoint_steps));
            let finished = pending.replace((first, step, read));
            let record = match finished.map(|f| self.collect(f)).transpose() {
                Err(Stopped::Overflow(at)) => {
                    // What was submitted since has changed nothing: the verdict stands until the host has looked.
                    pending = None;
                    step = self.lower_loss_scale(at)?;
                    continue;
                }
                other => other?,
            };
            let total = self.total;
            tell(
                self,
                Event::Step {
                    step,
                    total,
                    record: record.as_ref(),
                },
            )?;
            if !synchronous {
                continue;
            }
            if let Some(last) = pending.take() {
                let record = match self.collect(last) {
                    Err(Stopped::Overflow(at)) => {
                        step = self.lower_loss_scale(at)?;
                        continue;
                    }
                    other => other?,
                };
                self.raise_loss_scale(step)?;
                tell(
                    self,
                    Event::Step {
                        step,
                        total,
                        record: Some(&record),
                    },
                )?;
            }
            if step.is_multiple_of(per_epoch) || step == self.total {
                let validation = self.validate(step)?;
                tell(
                    self,
                    Event::Epoch {
                        epoch: step.div_ceil(per_epoch),
                        validation,
                    },
                )?;
            }
            self.checkpoint(step)?;
            tell(self, Event::Checkpoint { step })?;
            if t.patience > 0 && self.progress.since_best >= t.patience {
                ended = "early stop";
                break;
            }
        }
        if let Some(last) = pending.take() {
            match self.collect(last) {
                Err(Stopped::Overflow(at)) => step = self.lower_loss_scale(at)?,
                other => {
                    other?;
                }
            }
        }
        if self.progress.step != step {
            self.checkpoint(step)?;
        }
        if self.validation.is_none() {
            self.write_best()?;
        }
        Ok(Summary {
            steps: step,
            total: self.total,
            metrics: self.metrics.last(),
            best_validation: self.progress.best,
            ended,
            seconds: begin.elapsed().as_secs_f64(),
            device: self.device.name(),
        })
    }

    /// The mean loss of held-out examples; keeps the weights if they are the best so far.
    fn validate(&mut self, step: u64) -> Result<Option<f64>> {
        let Some(validation) = &self.validation else {
            return Ok(None);
        };
        let weights = self.weights()?;
        let batch = self.config.training.batch;
        let mut evaluator = evaluate::Evaluator::new(
            &self.device,
            self.model.as_ref(),
            &weights,
            batch,
            self.config.training.seed,
        )?;
        let figures: Figures = evaluator.figures(self.model.as_ref(), validation)?;
        let loss: f64 = self.model.validation_loss(&figures);
        let mut values = serde_json::Map::new();
        values.insert("validation_loss".to_owned(), loss.into());
        self.metrics.append(&Record { step, values })?;
        if self.progress.best.is_none_or(|best| loss < best) {
            self.progress.best = Some(loss);
            self.progress.since_best = 0;
            self.write_best()?;
        } else {
            self.progress.since_best += 1;
        }
        Ok(Some(loss))
    }

    fn write_best(&self) -> Result<()> {
        let tensors = weights::to_file(&self.session.layout().parameters, &self.weights()?, "");
        for part in self.model.parts() {
            let prefix = format!("{part}.");
            let own = tensors
                .iter()
                .filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?.to_owned(), t.clone())));
            let path = self.folder.path().join(format!("{part}.safetensors"));
            weights::write_tensors(&path, &own.collect())?;
        }
        diffusers::write(self.folder.path(), &self.config, &tensors)?;
        weights::write_tensors(&self.folder.path().join("model.safetensors"), &tensors)
    }

    fn checkpoint(&mut self, step: u64) -> Result<()> {
        self.progress.step = step;
        let checkpoint = Checkpoint {
            weights: self.session.read(Flat::Parameters)?,
            moments: [
                self.session.read(Flat::Moment1)?,
                self.session.read(Flat::Moment2)?,
            ],
            ema: if self.config.training.ema.is_some() {
                Some(self.session.read(Flat::Ema)?)
            } else {
                None
            },
            progress: self.progress.clone(),
        };
        self.metrics.flush()?;
        self.folder.save(self.session.layout(), &checkpoint)
    }
}
