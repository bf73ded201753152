//! Pictures of files, for what a sampler is given.

use std::path::{Path, PathBuf};

use crate::data::images::{self, Options};
use crate::error::{Error, Result};
use crate::tensor::ImageShape;

/// A file's picture, as bytes.
pub(super) fn read(path: &Path, options: &Options) -> Result<(ImageShape, Vec<u8>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    images::from_bytes(path, &bytes, options)
}

/// Files' pictures in the range of models, in turn for `n` samples; `taken` says what is made of one, given its size.
pub(super) fn in_turn(
    files: &[PathBuf],
    n: usize,
    options: &Options,
    taken: impl Fn(&Path, ImageShape, Vec<f32>) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    let mut each = Vec::new();
    for path in files.iter().take(n) {
        let (shape, bytes) = read(path, options)?;
        let values = bytes.into_iter().map(|b| f32::from(b) * (1.0 / 255.0));
        each.push(taken(path, shape, values.collect())?);
    }
    Ok(each.iter().cycle().take(n).flatten().copied().collect())
}
