//! Layers, initial weights and the schedules of a training run.

pub mod init;
pub mod linear;
pub mod schedule;

pub use linear::Linear;
