//! Reports that were kept, and what changed from one to the other.

use std::path::Path;

use serde::Serialize;

use super::Report;
use crate::error::{Error, Result};

/// A line of two reports side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Seconds, best round, in the old report and the new.
    pub best: [f64; 2],
    /// Old over new: above 1 is faster.
    pub ratio: f64,
    /// The same of the shares of the ceilings: what changed beside the machine's own speed.
    pub share_ratio: f64,
}

/// Lines that are in both reports.
///
/// # Errors
/// When there is none.
pub fn compare(old: &Report, new: &Report) -> Result<Vec<Change>> {
    let changes: Vec<Change> = new
        .lines
        .iter()
        .filter_map(|line| {
            let before = old.lines.iter().find(|l| l.name == line.name)?;
            Some(Change {
                name: line.name.clone(),
                best: [before.best, line.best],
                ratio: before.best / line.best,
                share_ratio: line.share / before.share,
            })
        })
        .collect();
    if changes.is_empty() {
        return Err(Error::Usage(
            "the two reports have no line in common".to_owned(),
        ));
    }
    Ok(changes)
}

/// Reads a report that `wgen bench --json` wrote.
///
/// # Errors
/// When the file cannot be read or is none.
pub fn read(path: &Path) -> Result<Report> {
    // A shell may have redirected it into UTF-16.
    from_text(path, crate::files::read_text(path)?.as_bytes())
}

/// As [`read`], from memory; `path` is for messages alone.
///
/// # Errors
/// As [`read`].
pub fn from_text(path: &Path, bytes: &[u8]) -> Result<Report> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::format(path, format!("is no report of wgen bench: {e}")))
}
