//! GPU against CPU: every kernel, every plan, on the user's own device. The same calls serve users' own kernels and graphs; [`against`]
//! is the shortest way to check a kernel of your own.
//!
//! Memory is poisoned before each run and guarded on both sides, kernels get their inputs from the GPU itself, so that errors are
//! local, and tolerances come from [`Tracked`](crate::real::Tracked): derived, element by element, never tuned.
//!
//! ```
//! use wgen::kernels::matmul::{Layout, Matmul};
//! use wgen::tensor::DType;
//! use wgen::verify::cases::{Values, numbers, unwritten};
//! use wgen::{Choice, Gpu, verify};
//!
//! let gpu = Gpu::new(&Choice::Auto)?;
//! let product = Matmul::new(gpu.caps(), Layout::Nn, 1, 20, 30, 40)?;
//! let [a, b] = [20 * 40, 40 * 30].map(|count| numbers(Values::Normal, 1, count));
//! let comparison = verify::kernel(&gpu, &product, &[a, b, unwritten(DType::F32)])?;
//! comparison.expect();
//! // Every element of what it wrote, and the worst as a share of what rounding alone may do.
//! assert!(comparison.elements >= 20 * 30 && comparison.worst_of_tolerance <= 1.0);
//! # Ok::<(), wgen::Error>(())
//! ```

mod against;
mod beside;
pub mod cases;
pub mod chains;
pub(crate) mod compare;
mod kernel;
mod lengths;
mod models;
mod sanitize;
pub mod step;
mod work;

use std::cell::{Cell, RefCell};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::Kernel;
use work::Work;

pub use against::{Inputs, Tolerance, against};
pub use cases::unwritten;
pub use compare::Comparison;
pub use kernel::{kernel, run};
pub use sanitize::{
    Sanitized, SanitizedCase, SanitizedLine, Sanitizer, Sanitizing, sanitize, sanitize_all,
};

/// One line of a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    /// The kernel family, or the model whose step was run.
    pub name: String,
    /// Cases.
    pub cases: usize,
    /// The worst difference relative to its tensor's range.
    pub worst_relative: f64,
    /// The worst difference in units in the last place of f32, where that says something: see [`Comparison::worst_ulp`].
    pub worst_ulp: Option<f64>,
    /// The largest share of its tolerance that a difference took; above 1 is a failure.
    pub worst_of_tolerance: f64,
    /// The case that took it.
    pub worst_case: String,
    /// Whether all cases passed.
    pub passed: bool,
    /// What failed, the first few.
    pub failures: Vec<String>,
}

/// What `wgen verify` found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// A line a family or model.
    pub lines: Vec<Line>,
}

impl Report {
    /// Whether everything passed, and anything was run.
    pub fn passed(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|l| l.passed)
    }

    /// Adds a comparison to the line called `name`.
    pub fn add(&mut self, name: &str, case: &str, comparison: &Comparison) {
        let position = self
            .lines
            .iter()
            .position(|l| l.name == name)
            .unwrap_or_else(|| {
                self.lines.push(Line {
                    name: name.to_owned(),
                    passed: true,
                    ..Line::default()
                });
                self.lines.len() - 1
            });
        let line = &mut self.lines[position];
        line.cases += 1;
        line.worst_relative = line.worst_relative.max(comparison.worst_relative);
        line.worst_ulp = compare::larger(line.worst_ulp, comparison.worst_ulp);
        if comparison.worst_of_tolerance > line.worst_of_tolerance {
            line.worst_of_tolerance = comparison.worst_of_tolerance;
            case.clone_into(&mut line.worst_case);
        }
        if !comparison.passed() {
            line.passed = false;
            if line.failures.len() < 5 {
                line.failures
                    .push(format!("{case}: {}", comparison.failures.join("; ")));
            }
        }
    }
}

/// What to verify.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A few minutes' worth.
    pub quick: bool,
    /// Only families and models whose name contains this.
    pub filter: Option<String>,
}

/// So many pipelines are kept from case to case. All would take gigabytes, and few serve more than their neighbours.
const MOST_PIPELINES: usize = 32;

/// Cases whose pipelines are made together, on all cores, where a driver compiles when it is told to.
const AHEAD: usize = 64;

/// What a verification does next, or has done.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A case begins.
    Case {
        /// Its kernel family or model.
        line: &'a str,
        /// Its name.
        case: &'a str,
        /// How much of all work is done: a share, by estimates.
        done: f64,
    },
    /// All cases of a line are done.
    Line(&'a Line),
}

/// Verifies every kernel family and the training step of every model on `gpu`, telling `progress` of each case begun and each line done.
///
/// # Errors
/// When something cannot be run at all, or the filter matches nothing. Differences are in the report.
pub fn all(gpu: &Gpu, options: &Options, mut progress: impl FnMut(Progress<'_>)) -> Result<Report> {
    let work = work::list(gpu.caps(), options)?;
    if work.is_empty() {
        let filter = options.filter.clone().unwrap_or_default();
        return Err(Error::field(
            "filter",
            format!("'{filter}' matches no kernel family and no model"),
        ));
    }
    let total: f64 = work.iter().map(|w| w.weight).sum();
    let mut report = Report::default();
    let ahead = if gpu.caps().software { 0 } else { AHEAD };
    let kept = MOST_PIPELINES + ahead;
    let progress = RefCell::new(&mut progress);
    let done = Cell::new(0.0);
    let run = |index: usize| {
        let item = &work[index];
        if index.is_multiple_of(AHEAD) {
            gpu.keep_pipelines(MOST_PIPELINES);
            let next = work[index..].iter().take(AHEAD);
            let kernels: Vec<&dyn Kernel> = next.filter_map(Work::kernel).collect();
            gpu.prepare_ahead(&kernels);
        }
        log::trace!("{}: {}", item.line, item.case());
        let found = item.run(gpu);
        gpu.keep_pipelines(kept);
        found
    };
    let begin = |index: usize| {
        let item = &work[index];
        progress.borrow_mut()(Progress::Case {
            line: item.line,
            case: item.case(),
            done: done.replace(done.get() + item.weight) / total,
        });
    };
    let take = |index: usize, found: Result<Comparison>| -> Result<()> {
        let item = &work[index];
        report.add(item.line, item.case(), &found?);
        let next = work.get(index + 1);
        if next.is_none_or(|next| next.line != item.line)
            && let Some(line) = report.lines.last()
        {
            progress.borrow_mut()(Progress::Line(line));
        }
        Ok(())
    };
    beside::each(work.len(), run, begin, take)?;
    Ok(report)
}
