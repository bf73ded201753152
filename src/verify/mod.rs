//! GPU against CPU: every kernel, every plan, on the user's own device. The same calls serve users' own kernels and graphs.
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
//! assert!(comparison.passed(), "{}", comparison.failures.join("\n"));
//! // Every element of what it wrote, and the worst as a share of what rounding alone may do.
//! assert!(comparison.elements >= 20 * 30 && comparison.worst_of_tolerance <= 1.0);
//! # Ok::<(), wgen::Error>(())
//! ```

pub mod cases;
pub mod chains;
pub(crate) mod compare;
mod kernel;
pub(crate) mod models;
pub mod step;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::ALL;
pub use cases::unwritten;
pub use compare::Comparison;
pub use kernel::{kernel, run};

/// One line of a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    /// The kernel family, or the model whose step was run.
    pub name: String,
    /// Cases.
    pub cases: usize,
    /// The worst difference relative to its tensor's range.
    pub worst_relative: f64,
    /// The worst difference in units in the last place of f32, among elements not small in their tensor.
    pub worst_ulp: f64,
    /// The largest share of its tolerance that a difference took; above 1 is a failure.
    pub worst_of_tolerance: f64,
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
        line.worst_ulp = line.worst_ulp.max(comparison.worst_ulp);
        line.worst_of_tolerance = line.worst_of_tolerance.max(comparison.worst_of_tolerance);
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

/// Verifies every kernel family and the training step of every model on `gpu`, telling `progress` of each line begun.
///
/// # Errors
/// When something cannot be run at all, or the filter matches nothing. Differences are in the report.
pub fn all(gpu: &Gpu, options: &Options, mut progress: impl FnMut(&str)) -> Result<Report> {
    let wanted = |name: &str| {
        options
            .filter
            .as_ref()
            .is_none_or(|f| name.contains(f.as_str()))
    };
    let mut report = Report::default();
    let mut families: BTreeMap<&str, Vec<cases::Case>> = BTreeMap::new();
    for case in cases::all(gpu.caps(), options.quick) {
        if wanted(case.kernel.family()) {
            families.entry(case.kernel.family()).or_default().push(case);
        }
    }
    for (family, cases) in families {
        progress(family);
        for case in cases {
            log::trace!("{family}: {}", case.name);
            report.add(family, &case.name, &run(gpu, &case)?);
        }
    }
    for model in ALL.iter().filter(|m| wanted(m.name)) {
        progress(model.name);
        let cases = (model.cases)(gpu.caps(), options.quick)?;
        for (case, comparison) in models::each(gpu, &cases)? {
            report.add(model.name, &case, &comparison);
        }
    }
    if wanted(chains::NAME) {
        progress(chains::NAME);
        for (case, comparison) in chains::random_chains(gpu, options.quick)? {
            report.add(chains::NAME, &case, &comparison);
        }
    }
    if report.lines.is_empty() {
        let filter = options.filter.clone().unwrap_or_default();
        return Err(Error::field(
            "filter",
            format!("'{filter}' matches no kernel family and no model"),
        ));
    }
    Ok(report)
}
