//! The steps of a training on their device: submitted without waiting, their figures taken from the ring.

use std::ops::Range;

use serde_json::{Map, Value};

use super::timetable::{Timetable, update_of};
use crate::data::Dataset;
use crate::error::Result;
use crate::files::{Storage, Training};
use crate::graph::layout::Layout;
use crate::kernels::TABLE_ROWS;
use crate::models::Model;
use crate::plan::StoreOptions;
use crate::session::feed::{Feed, Wants};
use crate::session::{Device, Executable, Ring, Session};

/// The most steps in one submission.
const CHUNK: usize = 64;

/// All that a training has on its device.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) session: Box<dyn Session>,
    pub(super) feed: Feed,
    /// One a phase.
    full: Vec<Box<dyn Executable>>,
    /// The last batch of an epoch, where it is smaller: its examples and its plan.
    rest: Option<(usize, Box<dyn Executable>)>,
}

impl Steps {
    /// Makes a session for `layout`, uploads `dataset` and compiles the steps on it.
    ///
    /// # Errors
    /// When memory is exhausted, data does not fit the model, or a graph does not fit the device.
    pub(super) fn new(
        device: &Device,
        model: &dyn Model,
        layout: Layout,
        training: &Training,
        dataset: Dataset,
    ) -> Result<Self> {
        let phases = model.phases();
        let options = StoreOptions {
            training: true,
            ema: training.ema.is_some(),
        };
        let session = device.session(layout, options)?;
        let limit = device.caps().binding_bytes.min(1 << 30);
        let wants = Wants {
            labels: model.classes() > 0,
            // A phase without examples of its own must know how many the others have.
            whole_batches: phases.len() > 1,
        };
        let (batch, seed) = (training.batch, training.seed);
        let feed = Feed::new(session.as_ref(), dataset, batch, seed, limit, wants)?;
        let half = training.precision == Storage::F16;
        let compile = |phase: usize, batch: usize| {
            let update = update_of(training, &phases[phase], batch);
            let graph = model.training(phase, &feed.data_type(), &update)?;
            session.compile_with(&graph, &feed.inputs_of(&graph), half)
        };
        let full = (0..phases.len())
            .map(|phase| compile(phase, batch))
            .collect::<Result<_>>()?;
        let rest = match feed.remainder() {
            Some(rest) => Some((rest, compile(0, rest)?)),
            None => None,
        };
        Ok(Self {
            session,
            feed,
            full,
            rest,
        })
    }

    /// Kernel variants of the plans of whole batches.
    pub(super) fn variants(&self) -> Vec<String> {
        self.full.iter().flat_map(|e| e.variants()).collect()
    }

    /// The plans of whole batches as tables; `None` where there are none.
    pub(super) fn explain(&self) -> Option<String> {
        let plans = self.full.iter().map(|e| e.explain());
        plans.collect::<Option<Vec<_>>>().map(|p| p.join("\n"))
    }

    /// Makes the device's step `tick` the next one, and lets updates happen again.
    pub(super) fn begin(
        &mut self,
        timetable: &Timetable,
        tick: u64,
        loss_scale: f32,
    ) -> Result<()> {
        let row = timetable.row(tick, loss_scale);
        let seed = timetable.training().seed;
        self.session.set_state(tick, seed, 0)?;
        self.session.write_schedule(tick, &[row], true)?;
        self.feed.forget();
        Ok(())
    }

    /// Submits steps from `step` on, none beyond `boundary`; says how many.
    pub(super) fn submit(
        &mut self,
        timetable: &Timetable,
        loss_scale: f32,
        steps: Range<u64>,
    ) -> Result<u64> {
        let step = steps.start;
        if timetable.ticks() > 1 {
            self.submit_phases(timetable, loss_scale, step)?;
            return Ok(1);
        }
        let ready = self.feed.prepare(self.session.as_ref(), step)? as u64;
        let batch = self.feed.batch_of(step);
        let mut count = (steps.end - step).min(ready).min(CHUNK as u64);
        if batch == timetable.training().batch {
            // The last, smaller batch of an epoch has its own plan.
            let same = (0..count)
                .take_while(|i| self.feed.batch_of(step + i) == batch)
                .count();
            count = same as u64;
        } else {
            count = 1;
        }
        let rows: Vec<_> = (1..=count)
            .map(|i| timetable.row(step + i, loss_scale))
            .collect();
        debug_assert!(rows.len() < TABLE_ROWS);
        self.session.write_schedule(step + 1, &rows, false)?;
        let executable = match &mut self.rest {
            Some((rest, executable)) if *rest == batch => executable,
            _ => &mut self.full[0],
        };
        executable.run(count as usize)?;
        Ok(count)
    }

    /// Submits the updates of iteration `step`, one after the other.
    fn submit_phases(&mut self, timetable: &Timetable, loss_scale: f32, step: u64) -> Result<()> {
        let ticks = timetable.ticks();
        let first = step * ticks;
        let rows: Vec<_> = (1..=ticks)
            .map(|i| timetable.row(first + i, loss_scale))
            .collect();
        self.session.write_schedule(first + 1, &rows, false)?;
        let mut number = step * timetable.batches();
        for (phase, executable) in timetable.phases().iter().zip(&mut self.full) {
            for _ in 0..phase.repeats {
                if phase.takes_data {
                    self.feed.prepare(self.session.as_ref(), number)?;
                    number += 1;
                }
                executable.run(1)?;
            }
        }
        Ok(())
    }

    /// Means of the figures of `steps` from the ring: metrics an example, norms an update.
    pub(super) fn means(
        &self,
        timetable: &Timetable,
        ring: &Ring,
        steps: Range<u64>,
    ) -> Map<String, Value> {
        let mut values = Map::new();
        let mut before = 0;
        for phase in timetable.phases() {
            let mut sums = vec![0.0_f64; phase.metrics.len()];
            let (mut norm, mut examples, mut updates) = (0.0, 0.0, 0.0);
            for step in steps.clone() {
                for tick in before..before + phase.repeats as u64 {
                    let row = ring.row(step * timetable.ticks() + tick);
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += f64::from(*value);
                    }
                    norm += f64::from(row[6]);
                    // Where phases differ, all batches are whole.
                    examples += self.feed.batch_of(step) as f64;
                    updates += 1.0;
                }
            }
            before += phase.repeats as u64;
            for (name, sum) in phase.metrics.iter().zip(&sums) {
                values.insert(name.clone(), (sum / examples).into());
            }
            let name = match phase.name {
                "" => "gradient_norm".to_owned(),
                name => format!("{name}_gradient_norm"),
            };
            values.insert(name, (norm / updates).into());
        }
        values
    }
}
