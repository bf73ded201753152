//! `metrics.jsonl`, the record of a training's figures: a line of JSON for each step that was logged.
//!
//! ```
//! use wgen::files::metrics;
//!
//! // The last line of a process that was killed while it wrote.
//! let text = "{\"step\":10,\"loss\":5.5}\n{\"step\":20,\"loss\":4.25}\n{\"step\":30,\"lo";
//! let records = metrics::records(text);
//! assert_eq!(records.len(), 2);
//! assert_eq!((records[1].step, records[1].values["loss"].as_f64()), (20, Some(4.25)));
//! ```

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::write_synced;
use crate::error::{Error, Result};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done.
    pub step: u64,
    /// Figures by name.
    #[serde(flatten)]
    pub values: serde_json::Map<String, serde_json::Value>,
}

/// The file, open for appending.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
    last: serde_json::Map<String, serde_json::Value>,
}

/// All records of a file.
///
/// # Errors
/// When it cannot be read. A last line that was cut short is passed over.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    Ok(records(&text))
}

/// The records of a file's text; lines that are none are passed over.
pub fn records(text: &str) -> Vec<Record> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

impl Metrics {
    /// Opens the file and cuts it back to records up to `step`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn open(path: &Path, step: u64) -> Result<Self> {
        let kept: Vec<Record> = read(path)?.into_iter().filter(|r| r.step <= step).collect();
        let mut text = String::new();
        for record in &kept {
            text.push_str(
                &serde_json::to_string(record).map_err(|e| Error::format(path, e.to_string()))?,
            );
            text.push('\n');
        }
        write_synced(path, text.as_bytes())?;
        let file = File::options()
            .append(true)
            .open(path)
            .map_err(|e| Error::io(path, e))?;
        let last = kept
            .into_iter()
            .next_back()
            .map(|r| r.values)
            .unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            file,
            last,
        })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn append(&mut self, record: &Record) -> Result<()> {
        let mut line =
            serde_json::to_string(record).map_err(|e| Error::format(&self.path, e.to_string()))?;
        line.push('\n');
        self.file
            .write_all(line.as_bytes())
            .map_err(|e| Error::io(&self.path, e))?;
        self.last = record.values.clone();
        Ok(())
    }

    /// Brings all lines to the disk.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.path, e))
    }

    /// The figures of the newest line.
    pub(crate) fn last(&self) -> serde_json::Map<String, serde_json::Value> {
        self.last.clone()
    }
}
