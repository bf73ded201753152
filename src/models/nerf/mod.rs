//! Radiance fields: from posed pictures to views and depth. [`vanilla`] is the network of Mildenhall et al. 2020, [`ngp`] the hash grid of
//! Müller et al. 2022.
//!
//! ```
//! use wgen::data::idx::Part;
//! use wgen::data::{Spec, images::Options};
//! use wgen::models::Model;
//! use wgen::models::nerf::ngp;
//!
//! let scene = "analytic:4".parse::<Spec>()?.load(Part::Training, &Options::default())?;
//! let camera = scene.views.as_ref().unwrap().camera();
//! let model = ngp::Ngp::new(ngp::Config { log2_entries: 10, ..ngp::Config::blender(camera) })?;
//! assert_eq!(model.camera(), Some(camera));
//! # Ok::<(), wgen::Error>(())
//! ```

mod fit;
pub mod ngp;
mod rays;
pub mod vanilla;

pub use rays::Background;
