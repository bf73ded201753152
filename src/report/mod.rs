//! Pictures, pages and meshes, from plain numbers and shapes: image grids, animations, curves, a roofline, cameras, surfaces of triangles. They come back as bytes or
//! text;
//! whoever asked writes them.
//!
//! ```
//! use wgen::report::grid;
//! use wgen::tensor::ImageShape;
//!
//! let shape = ImageShape { height: 2, width: 2, channels: 1 };
//! let frames = [0.0, 0.5, 1.0].map(|grey| grid::grid(&[grey; 4], shape, 1));
//! let bytes = grid::gif(&frames, 100)?;
//! assert!(bytes.starts_with(b"GIF89a"));
//! let bytes = grid::png(&frames[0])?;
//! assert!(bytes.starts_with(b"\x89PNG"));
//! # Ok::<(), wgen::Error>(())
//! ```

#[cfg(feature = "cli")]
pub mod cameras;
#[cfg(feature = "cli")]
pub mod curves;
pub mod depth;
pub mod grid;
pub mod mesh;
#[cfg(feature = "cli")]
pub mod roofline;
