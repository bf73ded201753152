//! Runs and weights in folders: configuration, checkpoints, safetensors, and the folders of diffusers.

pub(crate) mod config;
pub(crate) mod diffusers;
pub mod folder;
mod synced;
pub mod weights;

pub use config::{Config, Storage, Training};
pub(crate) use synced::write_synced;
