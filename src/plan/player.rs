//! Plays a routine: programs in turns, with what the host writes between their runs.

use std::collections::HashMap;

use super::{Plan, Store};
use crate::error::{Error, Result};
use crate::gpu::BufferSlice;
use crate::program::baked::{Fill, Refill, Routine, Target, Turn, Write};
use crate::tensor::{Data, Value};

/// A [`Routine`] on a device. Its weights are the store's: whoever plays a training writes them there, and into the moving average.
///
/// ```no_run
/// # fn example(routine: wgen::program::baked::Routine, gpu: &wgen::gpu::Gpu, weights: Vec<Vec<f32>>) -> wgen::Result<()> {
/// use wgen::plan::{Player, Store};
/// use wgen::program::Flat;
///
/// let store = Store::for_programs(gpu, &routine.programs)?;
/// store.write(Flat::Parameters, &weights)?;
/// let mut player = Player::new(routine, &store, &[])?;
/// player.play(u64::MAX)?;
/// let images = player.read("images")?;
/// # drop(images);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Player {
    store: Store,
    plans: Vec<Plan>,
    routine: Routine,
    /// Inputs that the routine writes, one buffer a name.
    inputs: HashMap<String, BufferSlice>,
    /// The run that is next.
    next: u64,
    /// The refill that is next.
    refill: usize,
}

impl Player {
    /// Makes the routine's plans on `store`'s device and writes what it starts with. Inputs that neither `bindings` nor the routine name are
    /// the plans' own.
    ///
    /// # Errors
    /// When the routine does not hang together, was made for a store of another layout, or the device refuses.
    pub fn new(
        mut routine: Routine,
        store: &Store,
        bindings: &[(&str, BufferSlice)],
    ) -> Result<Self> {
        routine.check()?;
        let mut inputs: HashMap<String, BufferSlice> = bindings
            .iter()
            .map(|(n, b)| ((*n).to_owned(), b.clone()))
            .collect();
        let refilled = routine.refills.iter().flat_map(|r| &r.writes);
        for write in routine.start.iter().chain(refilled) {
            if let Target::Input { name } = &write.to
                && !inputs.contains_key(name)
            {
                let programs = routine.programs.iter();
                let bytes = programs.filter_map(|p| Some(p.buffers[p.input(name)?].bytes));
                let bytes = bytes.max().unwrap_or(0);
                let buffer = store.gpu().create_buffer(name, bytes)?;
                inputs.insert(name.clone(), (&buffer).into());
            }
        }
        let programs = std::mem::take(&mut routine.programs).into_iter();
        let plans = programs.map(|program| {
            let own = inputs
                .iter()
                .filter(|(n, _)| program.input(n).is_some())
                .map(|(n, b)| (n.clone(), b.clone()));
            let own: Vec<(String, BufferSlice)> = own.collect();
            let own: Vec<_> = own.iter().map(|(n, b)| (n.as_str(), b.clone())).collect();
            Plan::from_baked(program, store, &own)
        });
        let plans = plans.collect::<Result<Vec<_>>>()?;
        if let Some((name, _)) = bindings
            .iter()
            .find(|(n, _)| plans.iter().all(|p| p.baked().input(n).is_none()))
        {
            return Err(Error::Usage(format!(
                "'{name}' is bound, but no program has such an input"
            )));
        }
        let mut player = Self {
            store: store.clone(),
            plans,
            routine,
            inputs,
            next: 0,
            refill: 0,
        };
        player.rewind()?;
        Ok(player)
    }

    /// Writes again what the routine starts with: the next run is the first. What runs have left in the store stays.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn rewind(&mut self) -> Result<()> {
        (self.next, self.refill) = (0, 0);
        for write in &self.routine.start {
            self.put(write)?;
        }
        Ok(())
    }

    fn put(&self, write: &Write) -> Result<()> {
        let place = match &write.to {
            Target::State => self.store.slice(&Fill::State)?,
            Target::Schedule => self.store.slice(&Fill::Schedule)?,
            Target::Table => self.store.slice(&Fill::Table)?,
            Target::Input { name } => self.inputs.get(name).cloned(),
        };
        let Some(place) = place else {
            return Ok(());
        };
        let skipped = 4 * write.first as u64;
        let part = BufferSlice {
            offset: place.offset + skipped,
            size: place.size.saturating_sub(skipped),
            ..place
        };
        let bytes: &[u8] = bytemuck::cast_slice(&write.words);
        self.store.gpu().write(&part, bytes)
    }

    /// Replaces an input before the next run.
    ///
    /// # Errors
    /// When no program has such an input, or the data is too large.
    pub fn write(&self, name: &str, data: &Data) -> Result<()> {
        if let Some(place) = self.inputs.get(name) {
            return self.store.gpu().write(place, &data.to_device_bytes());
        }
        let mut found = false;
        for plan in &self.plans {
            if plan.baked().input(name).is_some() {
                plan.write(name, data)?;
                found = true;
            }
        }
        if found {
            return Ok(());
        }
        Err(Error::Usage(format!("no program has an input '{name}'")))
    }

    /// Runs in all.
    pub fn runs(&self) -> u64 {
        self.routine.runs
    }

    /// Runs so far.
    pub fn done(&self) -> u64 {
        self.next
    }

    /// The plans, as the routine numbers its programs.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// Does the writes that are due before the next run, and says which plan that is of and how many runs can follow without another write
    /// or another plan; `None` at the end.
    fn prepare(&mut self) -> Result<Option<(usize, u64)>> {
        if self.next >= self.routine.runs {
            return Ok(None);
        }
        while let Some(Refill { before, writes }) = self.routine.refills.get(self.refill)
            && *before <= self.next
        {
            writes.iter().try_for_each(|write| self.put(write))?;
            self.refill += 1;
        }
        let due = self.routine.refills.get(self.refill).map(|r| r.before);
        let end = due.unwrap_or(u64::MAX).min(self.routine.runs);
        let (part, left) = self.routine.part_of(self.next);
        let Turn { program, .. } = self.routine.turn[part];
        Ok(Some((program, left.min(end - self.next))))
    }

    /// Makes the next `runs` runs, or as many as are left, and says how many. Submits them without waiting for the device.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn play(&mut self, runs: u64) -> Result<u64> {
        let first = self.next;
        while self.next - first < runs {
            let Some((program, ready)) = self.prepare()? else {
                break;
            };
            let now = ready.min(runs - (self.next - first)).min(1 << 16);
            self.plans[program].run(now as usize)?;
            self.next += now;
        }
        Ok(self.next - first)
    }

    /// Records the next run into the caller's encoder; `false` at the end. The caller submits what was recorded before he records the run
    /// after it: a refill between them is written at once.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<bool> {
        let Some((program, _)) = self.prepare()? else {
            return Ok(false);
        };
        self.plans[program].record(encoder);
        self.next += 1;
        Ok(true)
    }

    /// Reads an output of the program that has run last, waiting for it.
    ///
    /// # Errors
    /// When it has none of that name or the device is lost.
    pub fn read(&self, name: &str) -> Result<Value> {
        let (part, _) = self.routine.part_of(self.next.saturating_sub(1));
        self.plans[self.routine.turn[part].program].read(name)
    }
}
