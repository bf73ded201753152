//! A folder of images as a data set: brought to one size where that is asked for, in grey or RGB, subfolders as classes.
//!
//! ```
//! use wgen::data::images::{Options, load};
//! # let dir = tempfile::tempdir().unwrap();
//!
//! for (class, grey) in [("dark", 20), ("light", 230)] {
//!     let folder = dir.path().join(class);
//!     std::fs::create_dir(&folder).unwrap();
//!     image::GrayImage::from_pixel(8, 8, image::Luma([grey])).save(folder.join("0.png")).unwrap();
//! }
//! let data = load(dir.path(), &Options { size: Some(4), grey: true })?;
//! assert_eq!((data.rows(), data.shape.count()), (2, 4 * 4));
//! assert_eq!((data.classes, data.labels), (vec!["dark".to_owned(), "light".to_owned()], Some(vec![0, 1])));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Dataset, ImageShape};
use crate::error::{Error, Result};
use crate::tensor::Data;

/// How images are brought to one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Resize to a square of this many pixels; `None` wants all images to have one size already.
    pub size: Option<u32>,
    /// Grey instead of RGB.
    pub grey: bool,
}

const ENDINGS: &[&str] = &["png", "jpg", "jpeg", "gif", "bmp", "webp"];

fn is_image(path: &Path) -> bool {
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_lowercase);
    ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let mut paths = read
        .map(|e| e.map(|e| e.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|e| Error::io(dir, e))?;
    paths.sort();
    Ok(paths)
}

/// Reads a folder: images directly in it, or in subfolders that are its classes. Files with other endings are passed over.
///
/// # Errors
/// When there is no image, one cannot be decoded, or sizes are mixed and no `size` is given.
pub fn load(dir: &Path, options: &Options) -> Result<Dataset> {
    if options.size.is_some_and(|s| s == 0 || s > 4096) {
        let message = format!("{} must be from 1 to 4096", options.size.unwrap_or(0));
        return Err(Error::field("size", message));
    }
    let top = entries(dir)?;
    let folders: Vec<&PathBuf> = top.iter().filter(|p| p.is_dir()).collect();
    let mut files: Vec<(PathBuf, u32)> = Vec::new();
    let mut classes = Vec::new();
    for folder in folders {
        let inside: Vec<PathBuf> = entries(folder)?
            .into_iter()
            .filter(|p| is_image(p))
            .collect();
        if !inside.is_empty() {
            files.extend(inside.into_iter().map(|p| (p, classes.len() as u32)));
            classes.push(
                folder
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    let labelled = !classes.is_empty();
    if !labelled {
        files.extend(top.into_iter().filter(|p| is_image(p)).map(|p| (p, 0)));
    }
    let Some((first, _)) = files.first() else {
        return Err(Error::format(
            dir,
            format!(
                "has no images ({}), directly or in subfolders",
                ENDINGS.join(", ")
            ),
        ));
    };
    let decoded: Vec<(ImageShape, Vec<u8>)> = files
        .par_iter()
        .map(|(p, _)| decode(p, options))
        .collect::<Result<_>>()?;
    let shape = decoded[0].0;
    if let Some(i) = decoded.iter().position(|(s, _)| *s != shape) {
        let (other, name) = (decoded[i].0, files[i].0.display());
        return Err(Error::Usage(format!(
            "{}: images have mixed sizes: {} is {} x {}, {name} is {} x {}; give `size`",
            dir.display(),
            first.display(),
            shape.width,
            shape.height,
            other.width,
            other.height
        )));
    }
    Ok(Dataset {
        name: format!("images:{}", dir.display()),
        shape,
        values: Data::U8(decoded.into_iter().flat_map(|(_, bytes)| bytes).collect()),
        labels: labelled.then(|| files.iter().map(|(_, class)| *class).collect()),
        classes,
    })
}

fn decode(path: &Path, options: &Options) -> Result<(ImageShape, Vec<u8>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    from_bytes(path, &bytes, options)
}

/// Decodes one picture from memory to its shape and NHWC bytes; `path` is for messages alone.
///
/// # Errors
/// When it cannot be decoded, or claims to be larger than its bytes could make it.
pub fn from_bytes(path: &Path, bytes: &[u8], options: &Options) -> Result<(ImageShape, Vec<u8>)> {
    let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| Error::io(path, e))?;
    // A header may claim any size. The densest of the formats, a GIF of one colour, packs some 5,000 bytes of pixels into one; what
    // claims more is not decoded, and no picture gets more than 256 MiB.
    let believable = (bytes.len() as u64)
        .saturating_mul(5000)
        .saturating_add(1 << 20);
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(believable.min(256 << 20));
    limits.max_image_width = Some(1 << 14);
    limits.max_image_height = Some(1 << 14);
    reader.limits(limits);
    let mut picture = reader
        .decode()
        .map_err(|e| Error::format(path, format!("cannot be decoded: {e}")))?;
    if let Some(size) = options.size {
        picture = picture.resize_exact(size, size, image::imageops::FilterType::Triangle);
    }
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(if options.grey {
        (
            ImageShape {
                height,
                width,
                channels: 1,
            },
            picture.into_luma8().into_raw(),
        )
    } else {
        (
            ImageShape {
                height,
                width,
                channels: 3,
            },
            picture.into_rgb8().into_raw(),
        )
    })
}
