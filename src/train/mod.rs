//! The training loop: batches, checkpoints, validation, stopping and resuming.
//!
//! [`Trainer::new`] prepares a run or the continuation of one, [`Trainer::run`] is the loop. Steps are submitted in chunks between which
//! nothing is waited for; their figures are read one readback behind.

mod fault;
pub mod metrics;
mod prepare;
pub mod recover;
mod run;
mod submit;
mod timetable;

pub use prepare::Trainer;
pub use run::{Event, Summary};
