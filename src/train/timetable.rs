//! What happens at which step: how iterations, updates, batches and epochs are counted, and what the schedule says.
//!
//! A step is an iteration: all phases of the model, each as often as it repeats. The device counts every update: a tick.

use crate::files::{Storage, Training};
use crate::graph::update::Update;
use crate::kernels::{self, SCHEDULE_COLUMNS};
use crate::models::Phase;
use crate::nn::schedule;

/// The update of a phase on a batch.
pub(crate) fn update_of(training: &Training, phase: &Phase, batch: usize) -> Update {
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

/// Updates of an iteration: what the device counts as its steps.
pub(crate) fn ticks_of(phases: &[Phase]) -> u64 {
    phases.iter().map(|p| p.repeats as u64).sum()
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Timetable {
    training: Training,
    phases: Vec<Phase>,
    per_epoch: u64,
    total: u64,
}

impl Timetable {
    /// Of a training on data that has `batches` an epoch.
    pub(crate) fn new(training: Training, phases: Vec<Phase>, batches: u64) -> Self {
        let mut timetable = Self {
            training,
            phases,
            per_epoch: 0,
            total: 0,
        };
        timetable.per_epoch = batches.div_ceil(timetable.batches());
        let epochs = timetable.training.epochs.unwrap_or(1);
        let steps = timetable.training.steps;
        timetable.total = steps.unwrap_or(epochs * timetable.per_epoch);
        timetable
    }

    /// How the model is trained.
    pub(crate) fn training(&self) -> &Training {
        &self.training
    }

    /// The updates of an iteration, in order.
    pub(crate) fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Iterations of the whole training.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Iterations of an epoch.
    pub(crate) fn per_epoch(&self) -> u64 {
        self.per_epoch
    }

    /// Updates of an iteration.
    pub(crate) fn ticks(&self) -> u64 {
        ticks_of(&self.phases)
    }

    /// Batches that an iteration takes.
    pub(crate) fn batches(&self) -> u64 {
        let takes = self.phases.iter().filter(|p| p.takes_data);
        takes.map(|p| p.repeats as u64).sum::<u64>().max(1)
    }

    /// The phase of the iteration's update number `tick`, and how many of its own updates come before it there.
    pub(crate) fn phase_of(&self, tick: u64) -> (usize, u64) {
        let mut before = tick;
        for (i, phase) in self.phases.iter().enumerate() {
            if before < phase.repeats as u64 {
                return (i, before);
            }
            before -= phase.repeats as u64;
        }
        (0, 0)
    }

    /// The schedule's row of the device's step `tick`, counted from the beginning of the training.
    pub(crate) fn row(&self, tick: u64, loss_scale: f32) -> [f32; SCHEDULE_COLUMNS] {
        let t = &self.training;
        let (step, within) = (tick / self.ticks(), tick % self.ticks());
        let (phase, before) = self.phase_of(within);
        // Each set of parameters counts its own updates.
        let own = step * self.phases[phase].repeats as u64 + before;
        let ema = t.ema.map_or(0.0, |decay| schedule::ema_decay(decay, step));
        let model = schedule::warm_up(t.beta, t.beta_warmup, step);
        let rate = self.learning_rate(step);
        let mut row = t.optimizer.schedule_row(own, rate, ema, model);
        row[kernels::schedule::LOSS_SCALE] = loss_scale;
        row
    }

    /// The learning rate of iteration `step`.
    pub(crate) fn learning_rate(&self, step: u64) -> f64 {
        self.training.learning_rate.at(step, self.total)
    }

    /// The next step after `step` at which something is decided or written: logging, epochs, checkpoints and previews by
    /// steps, the end.
    pub(crate) fn next_boundary(&self, step: u64) -> u64 {
        let after = |every: u64| (step / every + 1) * every;
        let t = &self.training;
        let mut next = after(t.log_steps)
            .min(after(self.per_epoch))
            .min(self.total);
        for every in [t.checkpoint_steps, t.preview_steps] {
            if every > 0 {
                next = next.min(after(every));
            }
        }
        next
    }

    /// Whether an epoch ends with step `step`, or the training.
    pub(crate) fn ends_epoch(&self, step: u64) -> bool {
        step.is_multiple_of(self.per_epoch) || step == self.total
    }

    /// Whether something is decided after `step` steps that must be the same in a run that was resumed: by held-out examples, or of
    /// f16's loss scale.
    pub(crate) fn is_decided_at(&self, step: u64) -> bool {
        let every = self.training.checkpoint_steps;
        let half = self.training.precision == Storage::F16;
        let by_steps = every > 0 && step.is_multiple_of(every);
        (self.training.validation > 0 && self.ends_epoch(step))
            || (half && (self.ends_epoch(step) || by_steps))
    }
}
