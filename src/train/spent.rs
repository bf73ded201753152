//! Where a training's time went.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Seconds of one process: what came before the first step was done, what came after the last, and between them how much was not steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spent {
    /// Compiling, uploading, reading a checkpoint, and the first step, in which drivers compile.
    pub start: f64,
    /// From the first step's end to the last one's, without what follows.
    pub steps: f64,
    /// Checkpoints, but the last.
    pub checkpoints: f64,
    /// Held-out figures, and the best weights.
    pub evaluation: f64,
    /// What was done by those who are told of events: previews, a bar.
    pub events: f64,
    /// After the last step: its checkpoint, the weights.
    pub end: f64,
}

impl Spent {
    /// All of it.
    pub fn seconds(&self) -> f64 {
        self.start + self.steps + self.checkpoints + self.evaluation + self.events + self.end
    }

    /// The share of steps in the time from the first step's end to the last one's; 1 where there was but one.
    pub fn share_of_steps(&self) -> f64 {
        let all = self.steps + self.checkpoints + self.evaluation + self.events;
        if all > 0.0 { self.steps / all } else { 1.0 }
    }
}

/// What time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Checkpoints,
    Evaluation,
    Events,
}

/// Measures [`Spent`].
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
    other: [Duration; 3],
}

impl Watch {
    pub(super) fn start() -> Self {
        Self {
            begun: Instant::now(),
            first: None,
            last: None,
            other: [Duration::ZERO; 3],
        }
    }

    /// Whether the first step is still to come.
    pub(super) fn is_starting(&self) -> bool {
        self.first.is_none()
    }

    /// The first step is done.
    pub(super) fn first_step(&mut self) {
        self.first.get_or_insert_with(Instant::now);
    }

    /// The last step is done.
    pub(super) fn last_step(&mut self) {
        self.last.get_or_insert_with(Instant::now);
    }

    /// Time since the first step was done.
    pub(super) fn elapsed(&self) -> Duration {
        self.first.map_or(Duration::ZERO, |first| first.elapsed())
    }

    /// Time that steps have had since the first was done.
    pub(super) fn stepping(&self) -> Duration {
        let other: Duration = self.other.iter().sum();
        self.elapsed().saturating_sub(other)
    }

    /// `spent` went on something else than steps. Before the first step is done and after the last it counts as start and end.
    pub(super) fn add(&mut self, on: On, spent: Duration) {
        if self.first.is_some() && self.last.is_none() {
            self.other[on as usize] += spent;
        }
    }

    pub(super) fn spent(&self) -> Spent {
        let now = Instant::now();
        let first = self.first.unwrap_or(now);
        let last = self.last.unwrap_or(now);
        let [checkpoints, evaluation, events] = self.other.map(|d| d.as_secs_f64());
        let between = last.saturating_duration_since(first).as_secs_f64();
        Spent {
            start: (first - self.begun).as_secs_f64(),
            steps: (between - checkpoints - evaluation - events).max(0.0),
            checkpoints,
            evaluation,
            events,
            end: (now - last).as_secs_f64(),
        }
    }
}
