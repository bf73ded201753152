//! Layers, initial weights and the schedules of a training run.

pub mod activation;
pub mod init;
pub mod linear;
pub mod pass;
pub mod schedule;
pub mod sequential;

pub use activation::Activation;
pub use linear::Linear;
pub use pass::Pass;
pub use sequential::{Layer, Sequential};
