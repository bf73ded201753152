//! What all commands share: where words go, the device, and the arguments that name data and runs.

use std::io::Write;
use std::path::PathBuf;

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
}

impl Output {
    /// A line for a person: stdout, or stderr where stdout is for a machine. A closed pipe is no error.
    pub(super) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        if self.json {
            writeln!(std::io::stderr(), "{line}").ok();
        } else {
            writeln!(std::io::stdout(), "{line}").ok();
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
            writeln!(std::io::stdout(), "{text}").ok();
        }
        Ok(())
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

/// How data of a folder of images is read.
#[derive(Debug, Args)]
pub(super) struct DataArguments {
    /// digits[:COUNT], toy:ring8|moons|swissroll[:COUNT], idx:DIR or images:DIR
    #[arg(long, value_parser = spec)]
    pub(super) data: crate::data::Spec,
    /// Resize the images of a folder to squares of this many pixels
    #[arg(long)]
    pub(super) size: Option<u32>,
    /// Read the images of a folder as grey
    #[arg(long)]
    pub(super) grey: bool,
}

impl DataArguments {
    pub(super) fn load(&self, part: crate::data::idx::Part) -> Result<crate::data::Dataset> {
        let options = crate::data::images::Options {
            size: self.size,
            grey: self.grey,
        };
        self.data.load(part, &options)
    }
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
