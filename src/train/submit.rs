//! What the trainer does in the loop: submits steps, reads their figures, and finds out why one was refused.

use super::metrics::Record;
use super::{CHUNK, GROWTH, LARGEST_LOSS_SCALE, Stopped, Trainer, batches_of, fault};
use crate::error::{Error, Result};
use crate::files::Storage;
use crate::kernels::{RING_COLUMNS, RING_ROWS, TABLE_ROWS, state};
use crate::models::Figures;
use crate::session::{self, Executable};

impl Trainer {
    /// Submits steps from `step` on, none beyond `boundary`; says how many.
    pub(super) fn submit(&mut self, step: u64, boundary: u64) -> Result<u64> {
        if self.ticks() > 1 {
            self.submit_phases(step)?;
            return Ok(1);
        }
        let mut executables: Vec<&mut Executable> = self.full.iter_mut().collect();
        executables.extend(self.rest.as_mut().map(|(_, e)| e));
        let ready = self
            .feed
            .prepare(&mut self.session, step, &mut executables)? as u64;
        let batch = self.feed.batch_of(step);
        let mut count = (boundary - step).min(ready).min(CHUNK as u64);
        if batch == self.config.training.batch {
            // The last, smaller batch of an epoch has its own plan.
            let same = (0..count)
                .take_while(|i| self.feed.batch_of(step + i) == batch)
                .count();
            count = same as u64;
        } else {
            count = 1;
        }
        let rows: Vec<_> = (1..=count).map(|i| self.schedule_row(step + i)).collect();
        debug_assert!(rows.len() < TABLE_ROWS);
        self.session.write_schedule(step + 1, &rows, false)?;
        let executable = match &mut self.rest {
            Some((rest, executable)) if *rest == batch => executable,
            _ => &mut self.full[0],
        };
        self.session.run(executable, count as usize)?;
        Ok(count)
    }

    /// Submits the updates of iteration `step`, one after the other.
    pub(super) fn submit_phases(&mut self, step: u64) -> Result<()> {
        let ticks = self.ticks();
        let first = step * ticks;
        let rows: Vec<_> = (1..=ticks).map(|i| self.schedule_row(first + i)).collect();
        self.session.write_schedule(first + 1, &rows, false)?;
        let mut number = step * batches_of(&self.phases) as u64;
        for (phase, executable) in self.phases.iter().zip(&mut self.full) {
            for _ in 0..phase.repeats {
                if phase.takes_data {
                    self.feed
                        .prepare(&mut self.session, number, &mut [&mut *executable])?;
                    number += 1;
                }
                self.session.run(executable, 1)?;
            }
        }
        Ok(())
    }

    /// Halves the loss scale after an overflow in step `at` and makes that step the next one.
    pub(super) fn lower_loss_scale(&mut self, at: u64) -> Result<u64> {
        self.progress.loss_scale /= 2.0;
        self.progress.loss_scale_since = at;
        log::debug!(
            "step {at}: a gradient overflowed f16; the loss scale is now {}",
            self.progress.loss_scale
        );
        let seed = self.config.training.seed;
        let row = self.schedule_row(at);
        self.session.set_state(at, seed, 0)?;
        self.session.write_schedule(at, &[row], true)?;
        self.feed.forget();
        Ok(at)
    }

    /// Doubles the loss scale where enough steps went well. Only after a synchronous read, so that a resumed run does the same.
    pub(super) fn raise_loss_scale(&mut self, step: u64) -> Result<()> {
        if self.config.training.precision != Storage::F16 {
            return Ok(());
        }
        let since = step - self.progress.loss_scale_since;
        if since >= GROWTH && self.progress.loss_scale < LARGEST_LOSS_SCALE {
            self.progress.loss_scale *= 2.0;
            self.progress.loss_scale_since = step;
            let row = self.schedule_row(step);
            self.session.write_schedule(step, &[row], true)?;
        }
        Ok(())
    }

    /// Means of the figures of steps `first..end` from the ring, as a line of `metrics.jsonl`.
    pub(super) fn collect(
        &mut self,
        (first, end, read): (u64, u64, session::RingRead),
    ) -> Result<Record, Stopped> {
        let (ring, words) = read.wait()?;
        let halted = words[state::HALTED] != 0;
        let done = u64::from(words[state::STEP_LOW]) | u64::from(words[state::STEP_HIGH]) << 32;
        let ticks = self.ticks();
        if halted && done < end * ticks {
            if self.progress.loss_scale > 1.0 {
                return Err(Stopped::Overflow(done));
            }
            return Err(Stopped::Failed(self.name_fault(done)));
        }
        let mut values = serde_json::Map::new();
        let mut before = 0;
        for phase in &self.phases {
            let mut sums = vec![0.0_f64; phase.metrics.len()];
            let (mut norm, mut examples, mut updates) = (0.0, 0.0, 0.0);
            for step in first..end {
                for tick in before..before + phase.repeats {
                    let tick = step as usize * ticks as usize + tick;
                    let row = &ring[(tick % RING_ROWS) * RING_COLUMNS..][..RING_COLUMNS];
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += f64::from(*value);
                    }
                    norm += f64::from(row[6]);
                    // Where phases differ, all batches are whole.
                    examples += self.feed.batch_of(step) as f64;
                    updates += 1.0;
                }
            }
            before += phase.repeats;
            for (name, sum) in phase.metrics.iter().zip(&sums) {
                values.insert(name.clone(), (sum / examples).into());
            }
            let name = match phase.name {
                "" => "gradient_norm".to_owned(),
                name => format!("{name}_gradient_norm"),
            };
            values.insert(name, (norm / updates).into());
        }
        let known: Figures = values
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
            .collect();
        for (name, value) in self.model.derived(&known) {
            values.insert(name, value.into());
        }
        let rate = self.config.training.learning_rate.at(end - 1, self.total);
        values.insert("learning_rate".to_owned(), rate.into());
        let record = Record { step: end, values };
        self.metrics.append(&record)?;
        Ok(record)
    }

    /// Runs the device's refused step again and names the first tensor that is not finite.
    pub(super) fn name_fault(&mut self, tick: u64) -> Error {
        let step = tick / self.ticks();
        let (phase, before) = self.phase_of(tick % self.ticks());
        let refused = fault::Refused {
            training: &self.config.training,
            phase,
            step: tick,
            number: step * batches_of(&self.phases) as u64 + before,
            schedule: self.schedule_row(tick),
        };
        let found = fault::first(self.model.as_ref(), &self.session, &self.feed, refused);
        let (tensor, detail) = match found {
            Ok(Some(found)) => found,
            Ok(None) => (
                "the loss or the gradient's norm".to_owned(),
                "finite on the CPU in f64".to_owned(),
            ),
            Err(error) => (
                "the loss or the gradient's norm".to_owned(),
                error.to_string(),
            ),
        };
        Error::NotFinite {
            step,
            tensor,
            detail,
        }
    }
}
