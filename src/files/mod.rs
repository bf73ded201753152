//! What a run leaves on disk, diffusers' folders and PyTorch's files: configuration, checkpoints, weights. A [`Config`] says what is
//! trained and how, and is a run's `config.json`:
//!
//! ```
//! use std::sync::Arc;
//! use wgen::files::{Config, Training};
//! use wgen::models::vae::{self, Vae};
//! use wgen::tensor::ImageShape;
//!
//! let model = Arc::new(Vae::new(vae::Config::mnist())?);
//! let training = Training { epochs: Some(5), ..Training::default() };
//! let image = ImageShape { height: 28, width: 28, channels: 1 };
//! let config = Config::new(model, image, "digits", training);
//! let text = serde_json::to_string_pretty(&config).unwrap();
//!
//! let again = Config::from_text(&text)?;
//! assert_eq!((again.model.name(), &again.training), ("vae", &config.training));
//! let error = Config::from_text(&text.replace("784", "785")).unwrap_err();
//! assert!(error.to_string().contains("not the model's 785 values"), "{error}");
//! # Ok::<(), wgen::Error>(())
//! ```

pub(crate) mod config;
pub(crate) mod diffusers;
mod entry;
pub mod folder;
mod format;
mod found;
pub mod guided_diffusion;
mod layouts;
pub mod metrics;
pub mod pace;
mod pt;
mod scheduler;
mod scheduler_classes;
mod scheduler_continuous;
pub mod stored;
mod synced;
pub mod weights;

pub use config::{Config, Storage, Training};
#[cfg(feature = "cli")]
pub(crate) use synced::{check_writable, remove_temporaries, same_file_key};
pub(crate) use synced::{read_text, write_synced};
