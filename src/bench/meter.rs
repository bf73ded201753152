//! How far a benchmark is, by estimates of what is still to come.

use std::time::Instant;

use crate::kernels::Cost;

/// What a benchmark does next, or has done.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A line's kernel or plan is made, run once and checked next.
    Check {
        /// The line's name.
        line: &'a str,
        /// How much of all work is done: a share, by estimates.
        done: f64,
    },
    /// All lines of a kernel family or of the models were checked.
    Checked {
        /// The family.
        family: &'a str,
        /// How many lines.
        lines: usize,
    },
    /// In one of the rounds, in each of which everything is timed once, a line is timed next.
    Round {
        /// The round's number, from 1.
        round: usize,
        /// How many there are.
        rounds: usize,
        /// The line.
        line: &'a str,
        /// As above.
        done: f64,
    },
}

/// Tells of progress. Times that are still to come are guesses in seconds of a small machine until they are measured; only their
/// proportions matter.
pub(super) struct Meter<'a> {
    tell: &'a mut dyn FnMut(Progress<'_>),
    begin: Instant,
    /// Guessed seconds of checks that are done, and of all that is to be done.
    done: f64,
    total: f64,
    /// The family whose lines are checked, and how many were.
    family: Option<(String, usize)>,
    /// Measured seconds before the rounds, and those of one round.
    before: f64,
    round: f64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(tell: &'a mut dyn FnMut(Progress<'_>), begin: Instant) -> Self {
        Self {
            tell,
            begin,
            done: 0.0,
            total: 0.0,
            family: None,
            before: 0.0,
            round: 0.0,
        }
    }

    /// Of `checks`, each in guessed seconds, and so many rounds, none is done.
    pub(super) fn expect(&mut self, checks: impl Iterator<Item = f64>, rounds: usize) {
        let (lines, seconds) = checks.fold((0, 0.0), |(n, sum), x| (n + 1, sum + x));
        // A round of the ceilings' candidates and of every line.
        self.total = seconds + rounds as f64 * (1.0 + 0.04 * f64::from(lines));
    }

    /// A line of `family` is checked next.
    pub(super) fn check(&mut self, family: &str, line: &str) {
        if self.family.as_ref().is_none_or(|(at, _)| at != family) {
            self.all_checked();
            self.family = Some((family.to_owned(), 0));
        }
        let done = self.done / self.total.max(f64::MIN_POSITIVE);
        (self.tell)(Progress::Check { line, done });
    }

    /// A check that was guessed at `seconds` is done.
    pub(super) fn checked(&mut self, seconds: f64) {
        self.done += seconds;
        if let Some((_, lines)) = &mut self.family {
            *lines += 1;
        }
    }

    /// The family at hand has no more lines.
    pub(super) fn all_checked(&mut self) {
        if let Some((family, lines)) = self.family.take() {
            let family = &family;
            (self.tell)(Progress::Checked { family, lines });
        }
    }

    /// From here on rounds of so many seconds.
    pub(super) fn begin_rounds(&mut self, seconds: f64) {
        self.before = self.begin.elapsed().as_secs_f64();
        self.round = seconds;
    }

    /// In round `round` of `rounds` a line is timed next; `within` seconds of that round are planned before it.
    pub(super) fn round(&mut self, round: usize, rounds: usize, line: &str, within: f64) {
        let past = self.before + round as f64 * self.round + within;
        let done = past / (self.before + rounds as f64 * self.round).max(f64::MIN_POSITIVE);
        let round = round + 1;
        (self.tell)(Progress::Round {
            round,
            rounds,
            line,
            done,
        });
    }
}

/// About how long making and checking a kernel takes: its twin goes over every byte.
pub(super) fn kernel_seconds(cost: Cost) -> f64 {
    0.1 + 4e-8 * cost.bytes
}

/// About how long a plan takes: compiling it, and its interpreter over a batch; f16 is compiled anew.
pub(super) fn plan_seconds(large: bool, half: bool) -> f64 {
    match (large, half) {
        (false, _) => 15.0,
        (true, false) => 35.0,
        (true, true) => 75.0,
    }
}
