//! What a training shows while it runs: a bar on a terminal, lines elsewhere.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::{Map, Value};

use super::bar::{self, clock};
use super::common::Output;
use crate::files::metrics::Record;

/// Between two lines where there is no terminal: at round steps, at others.
const ROUND: Duration = Duration::from_secs(1);
const OTHER: Duration = Duration::from_secs(15);

/// How far a training is, and since when.
#[derive(Debug, Default)]
struct Reached {
    /// The first step that was seen, and when.
    since: Option<(Instant, u64)>,
    step: u64,
    total: u64,
}

impl Reached {
    /// Steps a second so far, with all that was done between them.
    fn rate(&self) -> Option<f64> {
        let (since, from) = self.since?;
        let seconds = since.elapsed().as_secs_f64();
        (self.step > from && seconds > 0.0).then(|| (self.step - from) as f64 / seconds)
    }

    fn left(&self) -> Option<Duration> {
        let steps = self.total.saturating_sub(self.step) as f64;
        Duration::try_from_secs_f64(steps / self.rate()?).ok()
    }

    fn times(&self) -> String {
        let elapsed = self.since.map_or(Duration::ZERO, |(s, _)| s.elapsed());
        match self.left() {
            Some(left) => format!("{}, {} left", clock(elapsed), clock(left)),
            None => clock(elapsed),
        }
    }
}

/// Steps a second: `0.31`, `5.2`, `48`.
fn rate(steps: f64) -> String {
    match steps {
        s if s < 1.0 => format!("{s:.2}"),
        s if s < 20.0 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

/// Large numbers by thousands: `850`, `15.2 k`, `148 k`, `2.1 M`.
fn many(number: f64) -> String {
    let (number, unit) = match number {
        n if n < 1e3 => return rate(n),
        n if n < 1e6 => (n / 1e3, "k"),
        n => (n / 1e6, "M"),
    };
    let digits = usize::from(number < 99.95);
    format!("{number:.digits$} {unit}")
}

/// The figure that says how the training goes, and the others.
pub(super) fn figures(values: &Map<String, Value>) -> (String, String) {
    let one = |(name, value): (&String, &Value)| Some(format!("{name} {:.4}", value.as_f64()?));
    let first = values
        .iter()
        .find(|(name, _)| name.as_str() == "loss")
        .or_else(|| values.iter().find(|(name, _)| name.ends_with("loss")));
    let name = first.map(|(name, _)| name.clone());
    let others = values.iter().filter(|(n, _)| Some(*n) != name.as_ref());
    (
        first.and_then(one).unwrap_or_default(),
        others.filter_map(one).collect::<Vec<_>>().join(", "),
    )
}

/// See the module's text.
pub(super) struct Progress<'a> {
    output: &'a Output,
    bar: Option<ProgressBar>,
    /// The terminal's columns, and whether steps are counted yet: what the bar's form depends on.
    form: Option<(u16, bool)>,
    reached: Arc<Mutex<Reached>>,
    epochs: (u64, u64),
    others: String,
    /// What a step does beside examples, by name.
    work: Vec<(&'static str, f64)>,
    line: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        let shown = std::io::stderr().is_terminal() && !output.quiet;
        let mut progress = Self {
            output,
            bar: shown.then(ProgressBar::no_length),
            form: None,
            reached: Arc::default(),
            epochs: (0, 0),
            others: String::new(),
            work: Vec::new(),
            line: Instant::now(),
        };
        progress.fit();
        if let Some(bar) = &progress.bar {
            bar::show(bar);
        }
        progress
    }

    fn reached(&self) -> MutexGuard<'_, Reached> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bar as wide as the terminal is now.
    fn fit(&mut self) {
        let Some(bar) = &self.bar else { return };
        let width = Term::stderr()
            .size_checked()
            .map_or(80, |(_, columns)| columns);
        let counts = self.reached().since.is_some();
        if self.form.replace((width, counts)) == Some((width, counts)) {
            return;
        }
        // What has no room is left out, the loss last of all; {wide_msg} is cut to what remains.
        let template = match width {
            _ if !counts => "{spinner} {wide_msg}",
            0..40 => "{spinner} {wide_msg}",
            40..76 => "{spinner} {prefix} {pos}/{len} {wide_msg}",
            76..110 => "{spinner} {prefix} {bar:12} {pos}/{len} {times} {wide_msg}",
            _ => "{spinner} {prefix} {bar:30} {pos}/{len} {times} {wide_msg}",
        };
        let reached = self.reached.clone();
        if let Ok(style) = ProgressStyle::with_template(template) {
            let times = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                let reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
                out.write_str(&reached.times()).ok();
            };
            bar.set_style(style.with_key("times", times));
        }
    }

    /// What is being done where it is no step: `held-out examples`.
    pub(super) fn busy(&mut self, with: &str) {
        self.fit();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{with} ..."));
        }
    }

    pub(super) fn step(&mut self, step: u64, total: u64, per_epoch: u64, record: Option<&Record>) {
        {
            let mut reached = self.reached();
            reached.since.get_or_insert((Instant::now(), step));
            (reached.step, reached.total) = (step, total);
        }
        self.epochs = (
            step.div_ceil(per_epoch.max(1)),
            total.div_ceil(per_epoch.max(1)),
        );
        self.fit();
        let found = record.map(|r| figures(&r.values));
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(step);
            if let Some((loss, others)) = found {
                bar.set_prefix(loss);
                self.others = others;
            }
            bar.set_message(self.rest(self.form.is_some_and(|(width, _)| width < 40)));
        } else if let Some((loss, others)) = found {
            let waited = self.line.elapsed();
            let round = step.is_multiple_of(500) || step == total;
            if waited >= OTHER || (round && waited >= ROUND) {
                let (epoch, epochs) = self.epochs;
                let times = self.reached().times();
                let speed = self.speed();
                self.say(&format!(
                    "{loss}, step {step} of {total}, epoch {epoch} of {epochs}, {speed}{times}: {others}"
                ));
            }
        }
    }

    /// What stands behind the bar.
    fn rest(&self, narrow: bool) -> String {
        let mut text = String::new();
        if let (true, Some(bar)) = (narrow, &self.bar) {
            write!(text, "{} ", bar.prefix()).ok();
        }
        let (epoch, epochs) = self.epochs;
        write!(
            text,
            "epoch {epoch}/{epochs}, {}{}",
            self.speed(),
            self.others
        )
        .ok();
        text
    }

    /// What the newest steps did beside examples (`Model::work`).
    pub(super) fn work(&mut self, work: Vec<(&'static str, f64)>) {
        self.work = work;
    }

    fn speed(&self) -> String {
        let Some(steps) = self.reached().rate() else {
            return String::new();
        };
        let mut text = format!("{} steps/s, ", rate(steps));
        for (name, amount) in &self.work {
            write!(text, "{} {name}/s, ", many(steps * amount)).ok();
        }
        text
    }

    pub(super) fn epoch(&mut self, epoch: u64, held_out: Option<f64>) {
        let text = held_out
            .map(|v| format!(", held-out loss {v:.4}"))
            .unwrap_or_default();
        if held_out.is_some() || (self.bar.is_none() && self.line.elapsed() >= ROUND) {
            self.say(&format!("epoch {epoch} done{text}"));
        }
    }

    /// A line that stays, above the bar.
    pub(super) fn say(&mut self, line: &str) {
        self.line = Instant::now();
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.say(line)),
            None => self.output.say(line),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar::hide(bar);
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_well() {
        assert_eq!(
            (rate(0.314), rate(5.17), rate(48.3)),
            ("0.31".into(), "5.2".into(), "48".into())
        );
    }

    #[test]
    fn large_numbers_read_well() {
        let read = [0.5, 850.0, 15_230.0, 148_320.0, 2_140_000.0].map(many);
        assert_eq!(read, ["0.50", "850", "15.2 k", "148 k", "2.1 M"]);
    }

    #[test]
    fn the_loss_comes_first() {
        let values = serde_json::json!({"kl": 1.0, "loss": 2.5, "step_loss": 3.0});
        let (loss, others) = figures(values.as_object().unwrap());
        assert_eq!(
            (loss.as_str(), others.as_str()),
            ("loss 2.5000", "kl 1.0000, step_loss 3.0000")
        );
        let values = serde_json::json!({"d_real": 0.5, "generator_loss": 2.0});
        assert_eq!(
            figures(values.as_object().unwrap()).0,
            "generator_loss 2.0000"
        );
    }
}
