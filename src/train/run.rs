//! The loop: steps submitted, figures read one readback behind, validation, checkpoints, the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fault;
use super::prepare::Trainer;
use super::spent::{On, Spent};
use crate::error::{Error, Result};
use crate::evaluate;
use crate::files::folder::Checkpoint;
use crate::files::metrics::Record;
use crate::files::{Storage, diffusers, weights};
use crate::models::Figures;
use crate::program::Flat;
use crate::session::RingRead;

/// The loss scale of a run in f16 is halved where a gradient overflows, and doubled after as many steps in which none did.
const GROWTH: u64 = 2000;

/// It grows no further.
const LARGEST_LOSS_SCALE: f32 = 65_536.0;

/// Where steps take longer than this, each is waited for but one: whoever watches sees them, and who stops them is heard.
const SLOW: Duration = Duration::from_millis(100);

/// What a trainer tells while it works.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Steps are done.
    Step {
        /// How many so far.
        step: u64,
        /// Of how many.
        total: u64,
        /// Steps of an epoch.
        per_epoch: u64,
        /// Whether the trainer's weights are those after `step`, so that previews may be drawn from them; else more is under way.
        settled: bool,
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
    /// Something that takes a while begins.
    Busy {
        /// `held-out examples`, `checkpoint of step 100`.
        with: String,
    },
    /// A checkpoint was written.
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
    /// Where they went.
    pub spent: Spent,
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
                remedy: "train with `precision` f32".to_owned(),
            },
        }
    }
}

/// Figures of steps that are submitted and not read yet.
struct Pending {
    first: u64,
    end: u64,
    read: Box<dyn RingRead>,
}

impl Trainer {
    /// Trains to the end, until `stop` is raised, or until validation no longer improves.
    ///
    /// # Errors
    /// When a loss is not finite, the device is lost, or a file cannot be written. The last checkpoint stays.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        mut tell: impl FnMut(&Self, Event<'_>) -> Result<()>,
    ) -> Result<Summary> {
        let (total, patience) = (self.timetable.total(), self.config.training.patience);
        let mut step = self.progress.step;
        self.begin(step)?;
        let mut ended = "done";
        // One readback is always behind, so that the queue never runs dry.
        let mut pending: Option<Pending> = None;
        while step < total {
            if stop.load(Ordering::Relaxed) {
                ended = "interrupted";
                break;
            }
            let submitted = self.submit(step, stop, &mut tell)?;
            step = submitted.end;
            let finished = pending.replace(submitted);
            let decided = self.timetable.is_decided_at(step);
            let writes = self.checkpoints.due(step, self.watch.elapsed()) && step < total;
            let mut read = self.report(finished, step, false, &mut tell);
            if (decided || writes) && read.is_ok() {
                read = self.report(pending.take(), step, decided, &mut tell);
            }
            match read {
                Err(Stopped::Overflow(at)) => {
                    // What was submitted since has changed nothing: the verdict stands until the host has looked.
                    pending = None;
                    step = self.lower_loss_scale(at)?;
                    continue;
                }
                other => other?,
            }
            if self.timetable.ends_epoch(step) {
                let epoch = step.div_ceil(self.timetable.per_epoch());
                let validation = self.validate(step, &mut tell)?;
                self.tell(&mut tell, Event::Epoch { epoch, validation })?;
            }
            if writes {
                self.checkpoint(step, &mut tell)?;
                self.tell(&mut tell, Event::Checkpoint { step })?;
            }
            if patience > 0 && self.progress.since_best >= patience {
                ended = "early stop";
                break;
            }
        }
        match self.report(pending.take(), step, false, &mut tell) {
            Err(Stopped::Overflow(at)) => step = self.lower_loss_scale(at)?,
            other => other?,
        }
        self.watch.last_step();
        if self.progress.step != step {
            self.checkpoint(step, &mut tell)?;
            self.tell(&mut tell, Event::Checkpoint { step })?;
        }
        if self.validation.is_none() {
            self.write_best()?;
        }
        let spent = self.watch.spent();
        Ok(Summary {
            steps: step,
            total,
            metrics: self.metrics.last(),
            best_validation: self.progress.best,
            ended,
            seconds: spent.seconds(),
            spent,
            device: self.device.name(),
        })
    }

    /// Tells an event, whose time is no step's.
    fn tell(
        &mut self,
        tell: &mut impl FnMut(&Self, Event<'_>) -> Result<()>,
        event: Event<'_>,
    ) -> Result<()> {
        let begin = Instant::now();
        let told = tell(self, event);
        self.watch.add(On::Events, begin.elapsed());
        told
    }

    /// Makes `step` the next one on the device.
    fn begin(&mut self, step: u64) -> Result<()> {
        let tick = step * self.timetable.ticks();
        let scale = self.progress.loss_scale;
        self.steps.begin(&self.timetable, tick, scale)
    }

    /// Submits the steps from `first` to the next at which figures are wanted, or to where `stop` is heard, and begins to read these.
    fn submit(
        &mut self,
        first: u64,
        stop: &AtomicBool,
        tell: &mut impl FnMut(&Self, Event<'_>) -> Result<()>,
    ) -> Result<Pending> {
        let boundary = self.timetable.next_boundary(first);
        let scale = self.progress.loss_scale;
        let mut step = first;
        let mut behind: Option<(u64, Box<dyn RingRead>)> = None;
        while step < boundary {
            let (starts, slow) = (self.watch.is_starting(), self.slow());
            let until = if starts || slow { step + 1 } else { boundary };
            step += self.steps.submit(&self.timetable, scale, step..until)?;
            if starts {
                self.steps.session.begin_ring()?.wait()?;
                self.watch.first_step();
                self.done = (step, step);
            } else if slow {
                let read = self.steps.session.begin_ring()?;
                if let Some((done, read)) = behind.replace((step, read)) {
                    read.wait()?;
                    self.done.1 = done;
                    let event = self.progress_event(done, None, false);
                    self.tell(tell, event)?;
                }
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        let read = self.steps.session.begin_ring()?;
        Ok(Pending {
            first,
            end: step,
            read,
        })
    }

    /// Whether steps take long here.
    fn slow(&self) -> bool {
        let (from, to) = self.done;
        to > from && self.watch.stepping().as_secs_f64() > SLOW.as_secs_f64() * (to - from) as f64
    }

    /// Collects the figures of `finished`, if there is anything yet, and tells them. `settled`: nothing else is under way.
    fn report(
        &mut self,
        finished: Option<Pending>,
        step: u64,
        settled: bool,
        tell: &mut impl FnMut(&Self, Event<'_>) -> Result<()>,
    ) -> Result<(), Stopped> {
        let record = finished.map(|f| self.collect(f)).transpose()?;
        if settled {
            self.raise_loss_scale(step)?;
        }
        let event = self.progress_event(step, record.as_ref(), true);
        Ok(self.tell(tell, event)?)
    }

    fn progress_event<'a>(
        &self,
        step: u64,
        record: Option<&'a Record>,
        settled: bool,
    ) -> Event<'a> {
        Event::Step {
            step,
            total: self.timetable.total(),
            per_epoch: self.timetable.per_epoch(),
            settled,
            record,
        }
    }

    /// Waits for figures and writes their means as a line of `metrics.jsonl`.
    fn collect(&mut self, pending: Pending) -> Result<Record, Stopped> {
        let Pending { first, end, read } = pending;
        let ring = read.wait()?;
        self.done.1 = end;
        let timetable = &self.timetable;
        if ring.halted() && ring.step() < end * timetable.ticks() {
            let (at, scale) = (ring.step(), self.progress.loss_scale);
            if scale > 1.0 {
                return Err(Stopped::Overflow(at));
            }
            let model = self.model.as_ref();
            let error = fault::name(model, &self.steps, timetable, at, scale);
            return Err(Stopped::Failed(error));
        }
        let mut values = self.steps.means(timetable, &ring, first..end);
        let known: Figures = values
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
            .collect();
        for (name, value) in self.model.derived(&known) {
            values.insert(name, value.into());
        }
        let rate = timetable.learning_rate(end - 1);
        values.insert("learning_rate".to_owned(), rate.into());
        let record = Record { step: end, values };
        self.metrics.append(&record)?;
        Ok(record)
    }

    /// Halves the loss scale after an overflow in step `at` and makes that step the next one.
    fn lower_loss_scale(&mut self, at: u64) -> Result<u64> {
        self.progress.loss_scale /= 2.0;
        self.progress.loss_scale_since = at;
        log::debug!(
            "step {at}: a gradient overflowed f16; the loss scale is now {}",
            self.progress.loss_scale
        );
        self.begin(at)?;
        Ok(at)
    }

    /// Doubles the loss scale where enough steps went well. Only after a synchronous read, so that a resumed run does the same.
    fn raise_loss_scale(&mut self, step: u64) -> Result<()> {
        if self.config.training.precision != Storage::F16 {
            return Ok(());
        }
        let since = step - self.progress.loss_scale_since;
        if since >= GROWTH && self.progress.loss_scale < LARGEST_LOSS_SCALE {
            self.progress.loss_scale *= 2.0;
            self.progress.loss_scale_since = step;
            let row = self.timetable.row(step, self.progress.loss_scale);
            self.steps.session.write_schedule(step, &[row], true)?;
        }
        Ok(())
    }

    /// The mean loss of held-out examples; keeps the weights if they are the best so far.
    fn validate(
        &mut self,
        step: u64,
        tell: &mut impl FnMut(&Self, Event<'_>) -> Result<()>,
    ) -> Result<Option<f64>> {
        if self.validation.is_none() {
            return Ok(None);
        }
        let with = "held-out examples".to_owned();
        self.tell(tell, Event::Busy { with })?;
        let begin = Instant::now();
        let loss = self.held_out_loss(step)?;
        self.watch.add(On::Evaluation, begin.elapsed());
        Ok(loss)
    }

    fn held_out_loss(&mut self, step: u64) -> Result<Option<f64>> {
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
        let layout = self.steps.session.layout();
        let tensors = weights::to_file(&layout.parameters, &self.weights()?, "");
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

    fn checkpoint(
        &mut self,
        step: u64,
        tell: &mut impl FnMut(&Self, Event<'_>) -> Result<()>,
    ) -> Result<()> {
        let with = format!("checkpoint of step {step}");
        self.tell(tell, Event::Busy { with })?;
        let (begin, elapsed) = (Instant::now(), self.watch.elapsed());
        self.progress.step = step;
        let session = self.steps.session.as_ref();
        let average = self.config.training.ema.is_some();
        let checkpoint = Checkpoint {
            weights: session.read(Flat::Parameters)?,
            moments: [session.read(Flat::Moment1)?, session.read(Flat::Moment2)?],
            ema: average.then(|| session.read(Flat::Ema)).transpose()?,
            progress: self.progress.clone(),
        };
        self.metrics.flush()?;
        self.folder.save(session.layout(), &checkpoint)?;
        self.checkpoints.took(elapsed, begin.elapsed());
        self.watch.add(On::Checkpoints, begin.elapsed());
        Ok(())
    }
}
