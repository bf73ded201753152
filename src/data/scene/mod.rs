//! Posed pictures as a data set of rays: what a radiance field learns from.
//!
//! An example is a ray, not a picture: a row of eight bytes, the pixel's colour and alpha as the file has them (straight, 8 bits) and its
//! number, counted view after view, line after line ([`camera_rays`](crate::kernels::camera_rays)). What turns numbers into rays, one
//! [`Camera`] and a [`Pose`] a view, stands in [`Dataset::views`](crate::data::Dataset::views).
//!
//! ```
//! use wgen::data::idx::Part;
//! use wgen::data::{Spec, images::Options, scene};
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = |name: &str| dir.path().join(name);
//!
//! let list = r#"{"camera_angle_x": 0.69, "frames": [{"file_path": "./front",
//!     "transform_matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]}]}"#;
//! std::fs::write(path("transforms_train.json"), list).unwrap();
//! image::RgbaImage::from_pixel(4, 2, image::Rgba([200, 100, 0, 128])).save(path("front.png")).unwrap();
//!
//! let read = Spec::Scene(dir.path().to_owned()).read(Part::Training, &Options::default())?;
//! let views = read.data.views.as_ref().unwrap();
//! assert_eq!((read.data.rows(), read.data.shape.count()), (4 * 2, scene::ROW_BYTES));
//! assert_eq!((views.poses[0].position(), views.has_alpha()), ([0.0, 0.0, 4.0], true));
//! assert!((views.camera().field_of_view()[0] - 0.69_f64.to_degrees()).abs() < 1e-9);
//! # Ok::<(), wgen::Error>(())
//! ```
//!
//! Scenes have one of four formats ([`Format`]): Blender's lists, `transforms.json` of instant-ngp and nerfstudio, a model of [COLMAP](colmap), or
//! [LLFF](llff)'s table. Each has its own world; from it to that of the views leads [`Views::world`]. [`doctor`] looks at a scene before it is trained
//! on, [`analytic`] draws one.

pub mod analytic;
pub mod colmap;
pub mod doctor;
mod format;
pub mod landscape;
mod lens;
mod listed;
pub mod llff;
mod memory;
mod npy;
mod open;
pub mod path;
mod pose;
mod reading;
mod rows;
mod sight;
mod survey;
pub mod transforms;
mod views;
pub mod world;

pub use crate::kernels::camera::{Camera, Lens};
pub use crate::kernels::camera_rays::{CAMERA_FLOATS, POSE_FLOATS, ROW_BYTES, row, table};
pub use format::Format;
pub use pose::Pose;
#[cfg(feature = "cli")]
pub(crate) use reading::fingerprint_of;
pub use reading::{fingerprint, read};
pub use rows::{RAY, picture, seen};
pub(crate) use sight::cubes;
pub use views::{Cameras, Views};
pub use world::World;
