//! The one error type of the library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What went wrong, said so that the reader knows what was expected, what was found and what to do.
///
/// Messages name fields of configurations, never the flags of the command line: a field that begins the message is [`Error::Field`]'s, one
/// that is mentioned on the way stands in backquotes (``resize with `size` ``). The command line prints its flags in their place.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operator was given shapes, types or options that do not fit.
    #[error("{op}: {message}")]
    Shape {
        /// The operator or model that refused.
        op: String,
        /// Expected, found, and a hint.
        message: String,
    },
    /// No adapter answers to the request.
    #[error("no adapter: {0}")]
    NoAdapter(String),
    /// A size is above what the device allows.
    #[error("{what}: needs {needed}, but {limit_name} of this device is {limit}; {hint}")]
    Limit {
        /// What was to be made.
        what: String,
        /// How much it needs.
        needed: u64,
        /// The name of the limit, as wgpu calls it.
        limit_name: &'static str,
        /// Its value.
        limit: u64,
        /// What to lower.
        hint: String,
    },
    /// The device ran out of memory.
    #[error(
        "out of GPU memory: asked for {bytes} bytes for {what}, with {} held on this device already ({detail}); lower the batch or the \
         model's sizes, or close what else uses the GPU",
        .held.map_or("an unknown number".to_owned(), |b| format!("{b} bytes"))
    )]
    OutOfMemory {
        /// What was to be allocated.
        what: String,
        /// Its size.
        bytes: u64,
        /// Bytes that this device holds already, where its backend can say.
        held: Option<u64>,
        /// The driver's or wgpu's own words.
        detail: String,
    },
    /// The device is gone; everything on it is lost, files are not.
    #[error("the GPU device was lost ({0}); make a new one and resume from the last checkpoint")]
    DeviceLost(String),
    /// wgpu or the driver refused something that should have been right.
    #[error("GPU: {0}")]
    Gpu(String),
    /// A shader template that does not expand, or whose result is not valid.
    #[error("shader {name}: {message}")]
    Shader {
        /// The template.
        name: String,
        /// The compiler's message.
        message: String,
    },
    /// A file or folder could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: Arc<std::io::Error>,
    },
    /// A file was read and is not what it should be.
    #[error("{path}: {message}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// What was asked for cannot be done as it was asked for.
    #[error("{0}")]
    Usage(String),
    /// A field of a configuration, or an argument, whose value cannot be used. The message goes on from the field's name.
    #[error("{field} {message}")]
    Field {
        /// Its name, as in the configuration: `batch`, `learning_rate`.
        field: &'static str,
        /// The value, and what it may be.
        message: String,
    },
    /// A loss or gradient stopped being finite.
    #[error("training broke down at step {step}: {tensor} is not finite ({detail}); {remedy}")]
    NotFinite {
        /// The training step, from 0.
        step: u64,
        /// The first tensor that went bad.
        tensor: String,
        /// How it was found.
        detail: String,
        /// What is likely the cause, and what to do.
        remedy: String,
    },
    /// A check failed: numbers differ by more than their tolerance.
    #[error("{0}")]
    CheckFailed(String),
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A shape error of `op`.
    pub fn shape(op: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Shape {
            op: op.into(),
            message: message.into(),
        }
    }

    /// A value of `field` that cannot be used; `message` goes on from the field's name.
    pub fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::Field {
            field,
            message: message.into(),
        }
    }

    /// An error of the file system at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_owned(),
            source: Arc::new(source),
        }
    }

    /// A malformed file at `path`.
    pub fn format(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Format {
            path: path.as_ref().to_owned(),
            message: message.into(),
        }
    }

    /// The exit status of the command line for this error: 1 where a check failed, 2 for bad usage or input.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::CheckFailed(_) => 1,
            _ => 2,
        }
    }
}
