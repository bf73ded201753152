//! How far `verify` and `bench` are: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::bar::{self, clock};
use super::common::Output;

/// Steps of the bar: shares are real numbers.
const STEPS: u64 = 10_000;

/// A bar at the foot of the terminal, or nothing where stderr is none.
pub(super) struct Measuring<'a> {
    output: &'a Output,
    bar: Option<ProgressBar>,
    begin: Instant,
}

impl<'a> Measuring<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        let wanted = std::io::stderr().is_terminal() && !output.quiet;
        Self {
            output,
            bar: wanted.then(new_bar),
            begin: Instant::now(),
        }
    }

    /// Whether there is a bar: what it says need not be said in lines.
    pub(super) fn has_bar(&self) -> bool {
        self.bar.is_some()
    }

    /// Seconds since it began.
    pub(super) fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// What is at hand, and the share of all work that is done.
    pub(super) fn at(&self, what: &str, done: f64) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
            bar.set_position((done * STEPS as f64) as u64);
        }
    }

    /// A line above the bar.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.say(line)),
            None => self.output.say(line),
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar::hide(bar);
        }
    }
}

impl Drop for Measuring<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::new(STEPS);
    let template = "{bar:12} {percent:>3}% {elapsed} {left} {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        let style = style
            .with_key(
                "elapsed",
                |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = out.write_str(&clock(state.elapsed()));
                },
            )
            .with_key(
                "left",
                |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = out.write_str(&left(
                        state.elapsed().as_secs_f64(),
                        state.pos() as f64 / STEPS as f64,
                    ));
                },
            );
        bar.set_style(style);
    }
    bar::show(&bar);
    bar
}

/// How long what is still to come takes, at the speed of the share that was done in `elapsed` seconds. Nothing is said before that means
/// something.
pub(super) fn left(elapsed: f64, done: f64) -> String {
    if done < 0.01 || elapsed < 2.0 {
        return "(? left)".to_owned();
    }
    let seconds = elapsed * (1.0 - done.min(1.0)) / done;
    format!("({} left)", clock(Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_what_is_left_at_the_same_speed() {
        assert_eq!(left(1.0, 0.5), "(? left)");
        assert_eq!(left(60.0, 0.005), "(? left)");
        assert_eq!(left(60.0, 0.5), "(1:00 left)");
        assert_eq!(left(60.0, 0.25), "(3:00 left)");
        assert_eq!(left(3600.0, 0.2), "(4:00:00 left)");
        assert_eq!(left(60.0, 1.0), "(0:00 left)");
    }
}
