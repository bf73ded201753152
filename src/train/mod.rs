//! The training loop: batches, checkpoints, validation, stopping and resuming.
//!
//! [`Trainer::new`] prepares a run or the continuation of one, [`Trainer::run`] is the loop. Steps are submitted in chunks between which
//! nothing is waited for; their figures are read one readback behind.
//!
//! ```
//! use std::sync::{Arc, atomic::AtomicBool};
//! use wgen::files::{Config, Training};
//! use wgen::models::vae::{self, Vae};
//! use wgen::session::Device;
//! use wgen::files::metrics;
//! use wgen::train::Trainer;
//! # let dir = tempfile::tempdir().unwrap();
//! # let folder = dir.path();
//!
//! let data = wgen::data::digits::digits(32, 1);
//! let model = Arc::new(Vae::new(vae::Config { hidden: vec![16], latent: 2, ..vae::Config::mnist() })?);
//! let training = Training { steps: Some(10), epochs: None, batch: 16, log_steps: 1, ..Training::default() };
//! let config = Config::new(model, data.shape, "digits", training);
//! let mut trainer = Trainer::new(&Device::Cpu, config, data, folder, false)?;
//! let stop = AtomicBool::new(false);
//! let summary = trainer.run(&stop, |_, _event| Ok(()))?;
//! assert_eq!((summary.steps, summary.ended), (10, "done"));
//!
//! let figures = metrics::read(&folder.join("metrics.jsonl"))?;
//! let loss = |i: usize| figures[i].values["loss"].as_f64().unwrap();
//! assert!(loss(9) < loss(0));
//! # Ok::<(), wgen::Error>(())
//! ```

mod fault;
mod prepare;
pub mod recover;
mod run;
mod spent;
mod submit;
pub(crate) mod timetable;

pub use prepare::Trainer;
pub use run::{Event, Summary};
pub use spent::Spent;
