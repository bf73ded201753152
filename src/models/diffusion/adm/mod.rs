//! The networks of Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", with guided-diffusion's names: lists of entries,
//! each a sequence of layers called `LIST.entry.layer`. Their U-Net and their classifier have the half from the image down in common.
//!
//! ```
//! use wgen::models::diffusion::adm::Config;
//! use wgen::tensor::ImageShape;
//!
//! // The published classifier of 512 x 512 pixels.
//! let config = Config { num_res_blocks: 2, channel_mult: vec![0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0], ..Config::of(128) };
//! assert_eq!(config.channels()?, [64, 128, 128, 256, 256, 512, 512]);
//! let image = ImageShape { height: 512, width: 512, channels: 3 };
//! assert!(config.check(image).is_ok());
//! // Six of its seven levels end in a halving.
//! let error = config.check(ImageShape { height: 500, ..image }).unwrap_err();
//! assert!(error.to_string().contains("500 x 512 RGB are not divided by 64"), "{error}");
//! # Ok::<(), wgen::Error>(())
//! ```

mod config;
mod half;
pub mod names;
mod shapes;
mod unet;

pub use config::Config;
pub(in crate::models) use half::{Down, EPSILON, InputHalf};
pub(in crate::models) use shapes::{Kind, Shapes};
pub use unet::{UNetConfig, UNetModel};
