//! Programs run many times: in turns, with what is written before the first run and between later ones.

use serde::{Deserialize, Serialize};

use super::{Baked, FORMAT, Stored};
use crate::error::{Error, Result};
use crate::kernels::{SCHEDULE_COLUMNS, STATE_WORDS, TABLE_ROWS, state};
use crate::program::sampling::Sampling;
use crate::program::state as host;
use crate::tensor::Data;

/// Programs on one store, and all that makes a training or a sampling of them. A run is one run of one program: what the device counts as a
/// step, where the program has an update. To play it:
///
/// 1. lay out the store as the programs' [`Baked::store`] says, with weights from a file; fill each program's other buffers. An input that
///    is written here by name is one buffer for all programs that have it;
/// 2. do what [`Routine::start`] says;
/// 3. for run 0 and on, up to [`Routine::runs`]: do what a refill before this run says, then run the next program of the turn. The turn begins
///    anew where it ends.
///
/// Writes take effect between runs: after all of the one before, before all of the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routine {
    /// [`FORMAT`].
    pub format: u32,
    /// The programs.
    pub programs: Vec<Baked>,
    /// Which run, one after the other, and how often each.
    pub turn: Vec<Turn>,
    /// Runs in all; the last turn may be cut short.
    pub runs: u64,
    /// What is written before the first run.
    pub start: Vec<Write>,
    /// What is written later, in order.
    pub refills: Vec<Refill>,
}

/// A part of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Which program.
    pub program: usize,
    /// How often in a row.
    pub repeats: u64,
}

/// Writes that are due before a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refill {
    /// The number of that run, from 0.
    pub before: u64,
    /// What is written.
    pub writes: Vec<Write>,
}

/// Words that replace those of a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The buffer.
    pub to: Target,
    /// The first word that is replaced.
    pub first: usize,
    /// The words.
    pub words: Vec<u32>,
}

/// A buffer that the host writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// Step, seed and cursor.
    State,
    /// The row of the schedule of the step that runs next.
    Schedule,
    /// The rows of the steps to come.
    Table,
    /// An input of the programs.
    Input {
        /// Its name.
        name: String,
    },
}

/// How batches come from a list of indices that is new in every epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs<'a> {
    /// The input that is the list.
    pub input: &'a str,
    /// Examples of a batch.
    pub batch: usize,
    /// Batches of an epoch.
    pub batches: u64,
    /// The number of the first run's batch, counted from the beginning of the training.
    pub first: u64,
}

/// Rows of the schedule that a refill brings: half of the table, so that no row is replaced that is still to be read.
const AHEAD: u64 = TABLE_ROWS as u64 / 2;

/// A float array as words.
fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|x| x.to_bits()).collect()
}

impl Routine {
    /// `programs` in turns, `runs` runs in all, with nothing written yet.
    ///
    /// # Errors
    /// When there is no program or no turn, or the programs are of different stores.
    pub fn new(programs: Vec<Baked>, turn: Vec<Turn>, runs: u64) -> Result<Self> {
        let routine = Self {
            format: FORMAT,
            programs,
            turn,
            runs,
            start: Vec::new(),
            refills: Vec::new(),
        };
        routine.check()?;
        Ok(routine)
    }

    /// One program, `runs` times.
    ///
    /// # Errors
    /// Never in practice.
    pub fn of_one(program: Baked, runs: u64) -> Result<Self> {
        let turn = Turn {
            program: 0,
            repeats: 1,
        };
        Self::new(vec![program], vec![turn], runs)
    }

    /// The whole loop of a sampler, `program` being its graph's: the noise of `seed` for samples from number `first` on, of one class or of
    /// the classes in turn. Inputs that are the caller's are 0 until [`Routine::give`] gives them.
    ///
    /// # Errors
    /// When the sampler has no such class.
    pub fn of_sampling(
        program: Baked,
        sampling: &Sampling,
        seed: u64,
        first: u32,
        class: Option<usize>,
    ) -> Result<Self> {
        let mut routine = Self::of_one(program, sampling.runs as u64)?;
        routine.begin(0, seed, first);
        let classes = sampling
            .classes
            .input(sampling.count, class, first as usize)?;
        let begin = sampling.begin(seed, first, 0)?.into_iter();
        for (name, value) in begin.chain(classes).chain(sampling.nothing_given()?) {
            routine.give(name, &value.data);
        }
        Ok(routine)
    }

    /// Refuses what does not hang together.
    ///
    /// # Errors
    /// Naming what is wrong.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("routine: {why}")));
        if self.format != FORMAT {
            return wrong(format!(
                "format {}, this version of wgen reads {FORMAT}",
                self.format
            ));
        }
        let Some(first) = self.programs.first() else {
            return wrong("there is no program".to_owned());
        };
        for program in &self.programs {
            program.check()?;
            if program.store != first.store {
                return wrong("the programs are of different stores".to_owned());
            }
        }
        let missing = self.turn.iter().find(|t| t.program >= self.programs.len());
        if let Some(turn) = missing {
            return wrong(format!("there is no program {}", turn.program));
        }
        if self.turn_length() == 0 {
            return wrong("a turn runs nothing".to_owned());
        }
        if !self.refills.is_sorted_by(|a, b| a.before < b.before) {
            return wrong("refills are not in the order of runs".to_owned());
        }
        let writes = self.refills.iter().flat_map(|r| &r.writes);
        for write in self.start.iter().chain(writes) {
            let end = write.first.checked_add(write.words.len());
            let room = self.room(&write.to);
            if room.is_none_or(|room| end.is_none_or(|end| end > room)) {
                return wrong(format!(
                    "{} words at {} of {:?}, which {}",
                    write.words.len(),
                    write.first,
                    write.to,
                    room.map_or("is not there".to_owned(), |n| format!("has {n}"))
                ));
            }
        }
        Ok(())
    }

    /// Words of what can be written.
    fn room(&self, target: &Target) -> Option<usize> {
        match target {
            Target::State => Some(STATE_WORDS),
            Target::Schedule => Some(SCHEDULE_COLUMNS),
            Target::Table => Some(TABLE_ROWS * SCHEDULE_COLUMNS),
            Target::Input { name } => {
                let of = |p: &Baked| p.input(name).map(|b| p.buffers[b].bytes as usize / 4);
                self.programs.iter().filter_map(of).min()
            }
        }
    }

    /// Where tensors of its store lie.
    pub fn store(&self) -> Option<&Stored> {
        self.programs.first().map(|p| &p.store)
    }

    /// Runs of a turn.
    fn turn_length(&self) -> u64 {
        self.turn
            .iter()
            .fold(0, |sum, t| sum.saturating_add(t.repeats))
    }

    /// Which part of the turn run `run` is of, and how many runs of that part are left from it on, itself among them.
    pub(crate) fn part_of(&self, run: u64) -> (usize, u64) {
        let mut before = run % self.turn_length().max(1);
        for (i, turn) in self.turn.iter().enumerate() {
            if before < turn.repeats {
                return (i, turn.repeats - before);
            }
            before -= turn.repeats;
        }
        (0, 1)
    }

    /// Adds writes that are due before run `run`, behind those that are there already.
    pub fn write(&mut self, run: u64, writes: impl IntoIterator<Item = Write>) {
        if run == 0 {
            self.start.extend(writes);
            return;
        }
        let at = self.refills.binary_search_by_key(&run, |r| r.before);
        let at = at.unwrap_or_else(|at| {
            let writes = Vec::new();
            self.refills.insert(
                at,
                Refill {
                    before: run,
                    writes,
                },
            );
            at
        });
        self.refills[at].writes.extend(writes);
    }

    /// Begins with the device's step `step`, noise of `seed`, and a batch at `cursor` of the list of indices.
    pub fn begin(&mut self, step: u64, seed: u64, cursor: u32) {
        let words = host::words(step, seed, cursor).to_vec();
        let state = Write {
            to: Target::State,
            first: 0,
            words,
        };
        self.write(0, [state]);
    }

    /// Begins with `data` in input `name`.
    pub fn give(&mut self, name: &str, data: &Data) {
        let bytes = data.to_device_bytes();
        let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let write = Write {
            to: Target::Input {
                name: name.to_owned(),
            },
            first: 0,
            words: bytes.chunks_exact(4).map(word).collect(),
        };
        self.write(0, [write]);
    }

    /// The schedule of a training that begins with the device's step `step`: `row` gives the row of each step. The first is written as the
    /// current row, the others into the table ahead of the steps.
    pub fn schedule(&mut self, step: u64, row: impl Fn(u64) -> [f32; SCHEDULE_COLUMNS]) {
        let current = Write {
            to: Target::Schedule,
            first: 0,
            words: bits(&row(step)),
        };
        self.write(0, [current]);
        for run in (0..self.runs).step_by(AHEAD as usize) {
            // A run ends by reading the row of the step after it.
            let first = step + run + 1;
            let rows: Vec<u32> = (first..=step + (run + AHEAD).min(self.runs))
                .flat_map(|s| bits(&row(s)))
                .collect();
            let places = host::places_of_rows(first, rows.len() / SCHEDULE_COLUMNS);
            let writes: Vec<Write> = places
                .map(|(at, part)| Write {
                    to: Target::Table,
                    first: at * SCHEDULE_COLUMNS,
                    words: rows[part.start * SCHEDULE_COLUMNS..part.end * SCHEDULE_COLUMNS]
                        .to_vec(),
                })
                .collect();
            self.write(run, writes);
        }
    }

    /// Brings the list of indices of each epoch, `order` of its number, and moves the cursor to its beginning. `takes` says of each part of the
    /// turn whether its runs take a batch each.
    ///
    /// # Errors
    /// When `takes` is not of this turn, or an epoch has no batches.
    pub fn epochs(
        &mut self,
        epochs: Epochs<'_>,
        takes: &[bool],
        mut order: impl FnMut(u64) -> Vec<u32>,
    ) -> Result<()> {
        if takes.len() != self.turn.len() || epochs.batches == 0 {
            return Err(Error::Usage(format!(
                "routine: {} parts of {} take batches, of which an epoch has {}",
                takes.len(),
                self.turn.len(),
                epochs.batches
            )));
        }
        let (mut batch, mut run) = (epochs.first, 0);
        let mut written = None;
        while run < self.runs {
            let (part, left) = self.part_of(run);
            let left = left.min(self.runs - run);
            for own in (run..run + left).filter(|_| takes[part]) {
                let (epoch, position) = (batch / epochs.batches, batch % epochs.batches);
                if written != Some(epoch) {
                    written = Some(epoch);
                    let list = Write {
                        to: Target::Input {
                            name: epochs.input.to_owned(),
                        },
                        first: 0,
                        words: order(epoch),
                    };
                    let cursor = Write {
                        to: Target::State,
                        first: state::CURSOR,
                        words: vec![(position * epochs.batch as u64) as u32],
                    };
                    self.write(own, [list, cursor]);
                }
                batch += 1;
            }
            run += left;
        }
        Ok(())
    }
}
