//! Pictures: image grids, animations, curves.

#[cfg(feature = "cli")]
pub mod curves;
pub mod grid;
#[cfg(feature = "cli")]
pub mod roofline;
