//! wgen trains and samples generative models with hand-written WGSL compute kernels on any GPU that wgpu reaches, and can prove
//! on that GPU that every kernel is right.

pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod files;
pub mod gpu;
pub mod graph;
pub mod kernels;
pub mod models;
pub mod nn;
pub mod plan;
pub mod program;
pub mod real;
pub mod reference;
pub mod report;
pub mod run;
pub mod session;
pub mod tensor;

pub mod train;
pub mod verify;

pub use error::{Error, Result};

/// The README's example is compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeDoctests;
