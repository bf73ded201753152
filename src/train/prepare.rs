//! A run before its first step: options and data checked, the folder opened, weights drawn or read, plans compiled.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::spent::Watch;
use super::submit::Steps;
use super::timetable::{Timetable, ticks_of, update_of};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::folder::{Checkpoint, Progress, RunFolder};
use crate::files::metrics::Metrics;
use crate::files::pace::Pace;
use crate::files::{Config, Storage, Training};
use crate::graph::layout::Layout;
use crate::kernels::RING_ROWS;
use crate::models::{Model, Phase};
use crate::nn::init;
use crate::program::Flat;
use crate::session::Device;
use crate::session::feed;

/// The loss scale that a run in f16 begins with.
const LOSS_SCALE: f32 = 1024.0;

/// Between two checkpoints by time: what a power cut loses of a training whose checkpoints cost next to nothing.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(30);

/// Trains a model into a run folder.
#[derive(Debug)]
pub struct Trainer {
    pub(super) config: Config,
    pub(super) model: Arc<dyn Model>,
    pub(super) device: Device,
    pub(super) folder: RunFolder,
    pub(super) steps: Steps,
    pub(super) timetable: Timetable,
    pub(super) validation: Option<Dataset>,
    pub(super) metrics: Metrics,
    pub(super) progress: Progress,
    pub(super) checkpoints: Pace,
    pub(super) watch: Watch,
    /// From which step on this process is timed, and which are known to be done.
    pub(super) done: (u64, u64),
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
        let watch = Watch::start();
        config.check()?;
        let training = config.training.clone();
        let training = &training;
        if dataset.shape != config.image {
            return Err(Error::Usage(format!(
                "the data is {}, the run's is {}",
                dataset.shape, config.image
            )));
        }
        let digest = dataset.digest();
        config.check_data(&dataset, &digest)?;
        let model = config.model.clone();
        let (dataset, validation) = set_aside(model.as_ref(), training, dataset)?;
        model.check_device(&device.caps())?;
        let layout = Layout::new(model.parameters(), device.caps().binding_bytes)?;
        let phases = model.phases();
        check(model.as_ref(), training, &phases, &dataset)?;
        let folder = RunFolder::open(out, resume)?;
        let saved = if resume {
            folder.load(&layout, training.ema.is_some())?
        } else {
            None
        };
        let steps = Steps::new(device, model.as_ref(), layout.clone(), training, dataset)?;
        let timetable = Timetable::new(training.clone(), phases, steps.feed.batches_per_epoch());
        if let Some(saved) = &saved {
            goes_on(saved.progress.step, timetable.total())?;
        }
        let variants = steps.variants();
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
                if resume {
                    log::warn!("the run has no checkpoint yet: it begins at step 0");
                }
                drawn(&layout, training, variants, device.name())
            }
        };
        let session = steps.session.as_ref();
        session.write(Flat::Parameters, &checkpoint.weights)?;
        session.write(Flat::Moment1, &checkpoint.moments[0])?;
        session.write(Flat::Moment2, &checkpoint.moments[1])?;
        if let Some(ema) = &checkpoint.ema {
            session.write(Flat::Ema, ema)?;
        }
        let config = Config {
            data_digest: Some(digest),
            ..config
        };
        folder.write_config(&config)?;
        let progress = checkpoint.progress;
        let checkpoints = Pace::new(
            training.checkpoint_steps,
            training.write_share / 2.0,
            BETWEEN_CHECKPOINTS,
        );
        let metrics = Metrics::open(&folder.path().join("metrics.jsonl"), progress.step)?;
        Ok(Self {
            config,
            model,
            device: device.clone(),
            folder,
            steps,
            timetable,
            validation,
            metrics,
            progress,
            checkpoints,
            watch,
            done: (0, 0),
        })
    }

    /// The training plan, where it runs on a GPU.
    pub fn explain(&self) -> Option<String> {
        self.steps.explain()
    }

    /// The model.
    pub fn model(&self) -> &dyn Model {
        self.model.as_ref()
    }

    /// The examples that it is trained on.
    pub fn dataset(&self) -> &Dataset {
        self.steps.feed.dataset()
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
        let average = self.config.training.ema.is_some();
        self.steps
            .session
            .read(if average { Flat::Ema } else { Flat::Parameters })
    }
}

/// Refuses an end that the run has passed.
fn goes_on(done: u64, total: u64) -> Result<()> {
    if done > total {
        return Err(Error::field(
            "steps",
            format!(
                "{total} are fewer than the {done} that the run has done; give more, or begin another run in another `folder`"
            ),
        ));
    }
    Ok(())
}

/// Examples to train on, and those to choose the best weights by.
fn set_aside(
    model: &dyn Model,
    training: &Training,
    dataset: Dataset,
) -> Result<(Dataset, Option<Dataset>)> {
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
    Ok((dataset, validation))
}

/// Whatever a training would be refused for is found before a folder is made.
fn check(
    model: &dyn Model,
    training: &Training,
    phases: &[Phase],
    dataset: &Dataset,
) -> Result<()> {
    if training.precision == Storage::F16 && phases.len() > 1 {
        let message = format!("f16 scales one loss; {} has {}", model.name(), phases.len());
        return Err(Error::field("precision", message));
    }
    let mut views = dataset.views.iter();
    views.try_for_each(|views| model.check_views(views))?;
    for (i, phase) in phases.iter().enumerate() {
        let data = feed::data_type(dataset, dataset.rows());
        let update = update_of(training, phase, training.batch);
        model.training(i, &data, &update)?.check()?;
    }
    let ticks = ticks_of(phases);
    if 2 * training.log_steps * ticks > RING_ROWS as u64 {
        return Err(Error::Usage(format!(
            "log_steps {} with {ticks} updates a step is more than the ring of {RING_ROWS} figures holds",
            training.log_steps
        )));
    }
    Ok(())
}

/// What a run begins with.
fn drawn(
    layout: &Layout,
    training: &Training,
    variants: Vec<String>,
    device: String,
) -> Checkpoint {
    let weights: Vec<Vec<f32>> = layout
        .parameters
        .iter()
        .map(|p| init::draw(p, training.seed))
        .collect();
    let zeros: Vec<Vec<f32>> = weights.iter().map(|w| vec![0.0; w.len()]).collect();
    let half = training.precision == Storage::F16;
    Checkpoint {
        ema: training.ema.map(|_| weights.clone()),
        weights,
        moments: [zeros.clone(), zeros],
        progress: Progress {
            step: 0,
            best: None,
            since_best: 0,
            variants,
            device,
            loss_scale: if half { LOSS_SCALE } else { 1.0 },
            loss_scale_since: 0,
        },
    }
}
