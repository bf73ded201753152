//! How a run's data was read, as its configuration keeps it, so that whatever is later done with the run reads data the same way.
//!
//! ```
//! use wgen::data::{Reading, Spec, idx::Part, images::Options};
//!
//! let spec: Spec = "digits:100".parse()?;
//! let options = Options::default();
//! let read = spec.read(Part::Training, &options)?;
//! let reading = Reading::of(&read.report, &options);
//! assert_eq!(reading.class("7")?, 7);
//! assert!(reading.class("cat").unwrap_err().to_string().contains("0, 1, 2"));
//! assert!(reading.turns().is_empty()); // every class has examples
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::images::Options;
use super::report::Report;
use crate::error::{Error, Result};

/// How data was read, and what it had. What a run of before did not write is as it was then: nothing held out, no names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// How pictures were read.
    pub images: Options,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Examples of each class that there were to train on.
    pub examples: Vec<usize>,
    /// All examples, held-out ones included.
    pub of: usize,
    /// The folder that they came from, as [`Report::folder`] has it.
    pub folder: Option<String>,
}

impl Reading {
    /// Of what was read with `options`.
    pub fn of(report: &Report, options: &Options) -> Self {
        Self {
            images: *options,
            classes: report.classes.iter().map(|c| c.name.clone()).collect(),
            examples: report.classes.iter().map(|c| c.examples).collect(),
            of: report.of,
            folder: report.folder.clone(),
        }
    }

    /// The number of the class that `text` names: by its name, or by its number.
    ///
    /// # Errors
    /// When it is neither, or there were no examples of it.
    pub fn class(&self, text: &str) -> Result<usize> {
        let named = self.classes.iter().position(|c| c == text);
        let number = named.or_else(|| text.parse().ok());
        let Some(number) = number else {
            let known = if self.classes.is_empty() {
                "the run has no names of classes; give a number from 0".to_owned()
            } else {
                format!("is none of {}", shown(&self.classes))
            };
            return Err(Error::field("class", format!("'{text}': {known}")));
        };
        if self.examples.get(number) == Some(&0) {
            let message = format!(
                "'{text}': there were no examples of it to learn from, only of {}",
                shown(
                    &self
                        .turns()
                        .iter()
                        .filter_map(|&c| self.classes.get(c).cloned())
                        .collect::<Vec<_>>()
                )
            );
            return Err(Error::field("class", message));
        }
        Ok(number)
    }

    /// The classes that take turns where none is asked for: those with examples, or nothing where these are all.
    pub fn turns(&self) -> Vec<usize> {
        let with: Vec<usize> = (0..self.examples.len())
            .filter(|&c| self.examples[c] > 0)
            .collect();
        if with.len() == self.examples.len() {
            Vec::new()
        } else {
            with
        }
    }
}

/// Names, the first of them where they are many.
fn shown(names: &[String]) -> String {
    const MOST: usize = 20;
    let first = names[..names.len().min(MOST)].join(", ");
    if names.len() > MOST {
        format!("{first} and {} more", names.len() - MOST)
    } else {
        first
    }
}
