//! Runs and weights in folders: configuration, checkpoints, safetensors, and the folders of diffusers.

pub mod config;
pub mod diffusers;
pub mod folder;
pub mod weights;

pub use config::{Config, Storage, Training};
