//! What all commands share: where words go, the device, and the arguments that name data and runs.

use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Args;

use super::flags::{flags, message};
use crate::error::{Error, Result};
use crate::gpu::Choice;
use crate::run::Run;
use crate::session::Device;

/// Where a command's words go.
pub(super) struct Output {
    pub(super) json: bool,
    pub(super) quiet: bool,
    /// Standard output has a file: words go to stderr.
    streamed: bool,
}

impl Output {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            quiet,
            streamed: false,
        }
    }

    /// The same for people alone.
    pub(super) fn for_people(&self) -> Self {
        Self {
            json: false,
            ..*self
        }
    }

    /// The same, where a file goes to standard output if `streamed`.
    pub(super) fn beside_a_file(&self, streamed: bool) -> Self {
        Self {
            streamed: self.streamed || streamed,
            ..*self
        }
    }

    /// A line for a person: stdout, or stderr where stdout is for a machine.
    pub(super) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        let line = &plain(line);
        if self.json || self.streamed {
            writeln!(std::io::stderr(), "{line}").ok();
        } else {
            to_stdout(line);
        }
    }

    /// Columns of the terminal that lines go to; nothing where they go elsewhere.
    pub(super) fn width(&self) -> Option<usize> {
        let terminal = if self.json {
            console::Term::stderr()
        } else {
            console::Term::stdout()
        };
        terminal
            .size_checked()
            .map(|(_, columns)| usize::from(columns))
    }

    /// The result for a machine.
    pub(super) fn result(&self, value: &impl serde::Serialize) -> Result<()> {
        if self.json {
            let text =
                serde_json::to_string_pretty(value).map_err(|e| Error::Usage(e.to_string()))?;
            to_stdout(&text);
        }
        Ok(())
    }
}

/// A text without characters that steer a terminal: names of files and what files hold may have any.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

/// Why standard output did not take a line: the first reason. Work goes on; the command's end tells.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

fn to_stdout(line: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        LOST.set(error).ok();
    }
}

/// Whether all that was said arrived. A pipe whose reader has read enough is no loss.
///
/// # Errors
/// When it did not: a full disk.
pub(super) fn check_said() -> Result<()> {
    if let Err(error) = std::io::stdout().flush() {
        LOST.set(error).ok();
    }
    match LOST.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Usage(format!(
            "standard output: {error}; not all of the answer was written"
        ))),
        _ => Ok(()),
    }
}

/// A number of things: `1 picture`, `2 pictures`.
pub(super) fn counted(n: usize, thing: &str) -> String {
    match n {
        1 => format!("1 {thing}"),
        n => format!("{n} {thing}s"),
    }
}

/// Opens the device and says which it is.
pub(super) fn open(output: &Output, choice: &Choice) -> Result<Device> {
    let device = Device::open(choice)?;
    if let Device::Gpu(gpu) = &device {
        let s = gpu.summary();
        let software = if s.is_software() {
            ", a software adapter"
        } else {
            ""
        };
        output.say(&format!(
            "device: {} on {}{software}; {}",
            s.name,
            s.backend,
            flags(&s.reason)
        ));
    } else {
        output.say("device: the CPU interpreter");
    }
    Ok(device)
}

/// Reads a SPEC.
pub(super) fn spec(text: &str) -> Result<crate::data::Spec, String> {
    text.parse().map_err(|error| message(&error))
}

/// A trained model's folder.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The run folder
    pub(super) folder: PathBuf,
}

impl RunArguments {
    /// The run.
    pub(super) fn open(&self) -> Result<Run> {
        Run::open(&self.folder)
    }
}

/// The most pictures in one grid.
const MAX_PICTURES: usize = 10_000;

/// Refuses a number of pictures that no grid holds.
pub(super) fn check_count(n: usize) -> Result<usize> {
    if n == 0 || n > MAX_PICTURES {
        return Err(Error::Usage(format!(
            "--n {n} must be from 1 to {MAX_PICTURES}"
        )));
    }
    Ok(n)
}
