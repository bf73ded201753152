//! Pictures and pages, from plain numbers and shapes: image grids, animations, curves, a roofline. They come back as bytes or text;
//! whoever asked writes them.

#[cfg(feature = "cli")]
pub mod curves;
pub mod grid;
#[cfg(feature = "cli")]
pub mod roofline;
