//! Layers, initial weights and the schedules of a training run.

pub(crate) mod activation;
pub(crate) mod batch_norm;
pub(crate) mod conv;
pub(crate) mod group_norm;
pub mod init;
pub(crate) mod linear;
pub(crate) mod pass;
pub mod schedule;
pub(crate) mod sequential;
pub(crate) mod spectral_norm;

pub use activation::Activation;
pub use batch_norm::BatchNorm;
pub use conv::Conv2d;
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use pass::Pass;
pub use sequential::{Layer, Sequential};
pub use spectral_norm::SpectralNorm;
