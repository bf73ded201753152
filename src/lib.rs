//! wgen trains and samples generative models with hand-written WGSL compute kernels on any GPU that wgpu reaches, and can prove
//! on that GPU that every kernel is right.

pub mod error;
pub mod graph;
pub mod kernels;
pub mod real;
pub mod reference;
pub mod tensor;

pub use error::{Error, Result};
