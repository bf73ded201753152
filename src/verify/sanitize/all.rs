//! The cases of all kernel families in the sanitizer.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use serde::Serialize;

use super::{Sanitized, Sanitizer};
use crate::error::{Error, Result};
use crate::kernels::Caps;
use crate::sanitize::{Counts, Finding};
use crate::verify::cases::{self, Case};
use crate::verify::{Options, beside};

/// Operations and bytes of the largest case that is run: some seconds.
const LARGEST: f64 = 4e7;

/// What was found in one case.
#[derive(Clone, Debug, Serialize)]
pub struct SanitizedCase {
    /// Its name.
    pub case: String,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Where results are not the twin's.
    pub differences: Vec<String>,
}

/// One line of a report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SanitizedLine {
    /// The kernel family.
    pub name: String,
    /// Cases that were run.
    pub cases: usize,
    /// Variants among them.
    pub variants: usize,
    /// Runs: orders times sizes of subgroups.
    pub runs: usize,
    /// Cases that were too large, by name.
    pub not_run: Vec<String>,
    /// Cases in which something was found.
    pub found: Vec<SanitizedCase>,
    /// Floating point operations that were counted, over all cases, and those that the kernels say they must do.
    pub flops: (f64, f64),
    /// Bytes of buffers that were touched, each once, and those that the kernels say they must.
    pub bytes: (f64, f64),
    /// Bytes that were loaded and stored, however often.
    pub moved: f64,
}

impl SanitizedLine {
    /// Whether nothing was found.
    pub fn passed(&self) -> bool {
        self.found.is_empty()
    }
}

/// What the sanitizer does next, or has done.
#[derive(Clone, Copy, Debug)]
pub enum Sanitizing<'a> {
    /// A case begins.
    Case {
        /// Its kernel family.
        line: &'a str,
        /// Its name.
        case: &'a str,
        /// How much of all work is done: a share, by estimates.
        done: f64,
    },
    /// A case is done.
    Done {
        /// Its kernel family.
        line: &'a str,
        /// Its name.
        case: &'a str,
        /// What was found, and counted.
        sanitized: &'a Sanitized,
    },
    /// All cases of a line are done.
    Line(&'a SanitizedLine),
}

/// Examines the cases of all kernel families as they are for each of some devices, each once, telling `progress` of each case and each line. None of
/// these devices is needed: what they can do chooses variants.
///
/// # Errors
/// When a kernel cannot be examined at all, or the filter matches nothing. Findings are in the lines.
pub fn sanitize_all(
    devices: &[Caps],
    options: &Options,
    mut progress: impl FnMut(Sanitizing<'_>),
) -> Result<Vec<SanitizedLine>> {
    let work = list(devices, options);
    if work.is_empty() {
        let filter = options.filter.clone().unwrap_or_default();
        return Err(Error::field(
            "filter",
            format!("'{filter}' matches no kernel family"),
        ));
    }
    let weight = |case: &Case| {
        let cost = case.kernel.cost();
        2e4 + cost.flops + cost.bytes
    };
    let total: f64 = work.iter().map(weight).sum();
    let sanitizer = Sanitizer::default();
    let progress = RefCell::new(&mut progress);
    let done = Cell::new(0.0);
    let mut lines: Vec<SanitizedLine> = Vec::new();
    let mut variants = HashSet::new();
    let run = |index: usize| {
        let case = &work[index];
        let cost = case.kernel.cost();
        if cost.flops + cost.bytes > LARGEST {
            return Ok(None);
        }
        log::trace!("{}: {}", case.kernel.family(), case.name);
        sanitizer
            .kernel(case.kernel.as_ref(), &case.inputs())
            .map(Some)
    };
    let begin = |index: usize| {
        let case = &work[index];
        progress.borrow_mut()(Sanitizing::Case {
            line: case.kernel.family(),
            case: &case.name,
            done: done.replace(done.get() + weight(case)) / total,
        });
    };
    let take = |index: usize, sanitized: Result<Option<Sanitized>>| -> Result<()> {
        let case = &work[index];
        let family = case.kernel.family();
        if lines.last().is_none_or(|l| l.name != family) {
            variants.clear();
            lines.push(SanitizedLine {
                name: family.to_owned(),
                ..SanitizedLine::default()
            });
        }
        let count = lines.len() - 1;
        let line = &mut lines[count];
        match sanitized? {
            None => line.not_run.push(case.name.clone()),
            Some(sanitized) => {
                variants.insert(case.kernel.variant());
                line.variants = variants.len();
                line.add(case, &sanitized);
                progress.borrow_mut()(Sanitizing::Done {
                    line: family,
                    case: &case.name,
                    sanitized: &sanitized,
                });
            }
        }
        let next = work.get(index + 1);
        if next.is_none_or(|next| next.kernel.family() != family) {
            progress.borrow_mut()(Sanitizing::Line(line));
        }
        Ok(())
    };
    beside::each(work.len(), run, begin, take)?;
    Ok(lines)
}

impl SanitizedLine {
    fn add(&mut self, case: &Case, sanitized: &Sanitized) {
        let Counts {
            flops,
            bytes_loaded,
            bytes_stored,
            distinct_read,
            distinct_written,
            ..
        } = sanitized.counts;
        self.cases += 1;
        self.runs += sanitized.runs;
        self.flops.0 += flops as f64;
        self.flops.1 += sanitized.cost.flops;
        self.bytes.0 += (distinct_read + distinct_written) as f64;
        self.bytes.1 += sanitized.cost.bytes;
        self.moved += (bytes_loaded + bytes_stored) as f64;
        if !sanitized.passed() {
            self.found.push(SanitizedCase {
                case: case.name.clone(),
                findings: sanitized.findings.clone(),
                differences: sanitized.comparison.failures.clone(),
            });
        }
    }
}

/// All cases that are wanted, family by family; a case that is the same on several devices once.
fn list(devices: &[Caps], options: &Options) -> Vec<Case> {
    let wanted = |case: &Case| {
        let filter = options.filter.as_ref();
        filter.is_none_or(|f| case.kernel.family().contains(f.as_str()))
    };
    let mut seen = HashSet::new();
    let mut work: Vec<Case> = devices
        .iter()
        .flat_map(|caps| cases::all(caps, options.quick))
        .filter(wanted)
        .filter(|case| seen.insert(format!("{} {:?}", case.name, case.kernel)))
        .collect();
    work.sort_by_key(|case| case.kernel.family());
    work
}
