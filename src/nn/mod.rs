//! Layers, initial weights and the schedules of a training run.

pub mod activation;
pub mod batch_norm;
pub mod conv;
pub mod group_norm;
pub mod init;
pub mod linear;
pub mod pass;
pub mod schedule;
pub mod sequential;
pub mod spectral_norm;

pub use activation::Activation;
pub use batch_norm::BatchNorm;
pub use conv::Conv2d;
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use pass::Pass;
pub use sequential::{Layer, Sequential};
pub use spectral_norm::SpectralNorm;
