//! Reads the IDX files that MNIST and its relatives are distributed in, gzip'd or not: four bytes of magic number, big-endian sizes,
//! elements.
//!
//! ```
//! use wgen::data::idx::{Part, load};
//! # let dir = tempfile::tempdir().unwrap();
//! # let write = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes).unwrap();
//!
//! let file = |sizes: &[u32], elements: &[u8]| {
//!     let magic = [0, 0, 8, sizes.len() as u8]; // 8: unsigned bytes
//!     let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
//!     [&magic[..], &sizes, elements].concat()
//! };
//! write("train-images-idx3-ubyte", file(&[2, 1, 3], &[0, 128, 255, 255, 128, 0]));
//! write("train-labels-idx1-ubyte", file(&[2], &[3, 7]));
//! let data = load(dir.path(), Part::Training)?;
//! assert_eq!((data.rows(), data.shape.width, data.labels), (2, 3, Some(vec![3, 7])));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::{Dataset, ImageShape};
use crate::error::{Error, Result};
use crate::tensor::Data;

/// The most bytes that a file may unpack to.
const MAX_BYTES: u64 = 2 << 30;

/// An IDX array of bytes: sizes and elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Sizes, outermost first.
    pub dims: Vec<usize>,
    /// Elements.
    pub bytes: Vec<u8>,
}

/// Reads an IDX file of bytes, unpacking it where it is gzip'd.
///
/// # Errors
/// When it is missing, empty, cut short, too long, of another magic number or element type, or its sizes are absurd.
pub fn read(path: &Path) -> Result<Idx> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
    let mut head = [0_u8; 2];
    let got = file.read(&mut head).map_err(|e| Error::io(path, e))?;
    unpack(path, &head[..got], file, size)
}

/// As [`read`], from memory; `path` is for messages alone.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Idx> {
    let (head, rest) = bytes.split_at(bytes.len().min(2));
    unpack(path, head, rest, bytes.len() as u64)
}

fn unpack(path: &Path, head: &[u8], rest: impl Read, packed_size: u64) -> Result<Idx> {
    if head.is_empty() {
        return Err(Error::format(path, "the file is empty"));
    }
    let source = head.chain(rest);
    // Deflate packs at most 1,032 to 1, so nothing is allocated beyond what the file can hold.
    if head == [0x1f, 0x8b] {
        let bound = packed_size.saturating_mul(1032).min(MAX_BYTES);
        parse(path, GzDecoder::new(source).take(MAX_BYTES + 1), bound)
    } else {
        let bound = packed_size.min(MAX_BYTES);
        parse(path, source.take(MAX_BYTES + 1), bound)
    }
}

/// Parses the stream of an IDX file that unpacks to at most `bound` bytes.
fn parse(path: &Path, mut source: impl Read, bound: u64) -> Result<Idx> {
    let fail = |message: String| Err(Error::format(path, message));
    let mut magic = [0_u8; 4];
    if let Err(error) = source.read_exact(&mut magic) {
        return fail(format!("cut short inside of the magic number ({error})"));
    }
    let [0, 0, kind, rank] = magic else {
        return fail(format!(
            "the magic number is {magic:02x?}; an IDX file begins with 00 00"
        ));
    };
    if kind != 8 {
        return fail(format!(
            "elements are of type {kind:#04x}; only unsigned bytes (0x08) are read"
        ));
    }
    if rank == 0 || rank > 4 {
        return fail(format!("has {rank} axes; 1 to 4 are read"));
    }
    let mut dims = Vec::new();
    for axis in 0..rank {
        let mut size = [0_u8; 4];
        if source.read_exact(&mut size).is_err() {
            return fail(format!("cut short inside of the size of axis {axis}"));
        }
        dims.push(u32::from_be_bytes(size) as usize);
    }
    let count = dims
        .iter()
        .try_fold(1_u64, |n, &d| n.checked_mul(d as u64))
        .unwrap_or(u64::MAX);
    if count > bound {
        return fail(format!(
            "sizes {dims:?} want {count} bytes, but the file can hold at most {bound}"
        ));
    }
    let mut bytes = Vec::new();
    if let Err(error) = source.by_ref().take(count).read_to_end(&mut bytes) {
        return fail(format!(
            "damaged after {} of {count} bytes ({error})",
            bytes.len()
        ));
    }
    if (bytes.len() as u64) < count {
        return fail(format!(
            "cut short: sizes {dims:?} want {count} bytes, there are {}",
            bytes.len()
        ));
    }
    let mut rest = [0_u8; 1];
    match source.read(&mut rest) {
        Ok(0) => Ok(Idx { dims, bytes }),
        Ok(_) => fail(format!(
            "has more than the {count} bytes that its sizes {dims:?} want"
        )),
        Err(error) => fail(format!("damaged after its elements ({error})")),
    }
}

/// Which half of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `train-*`
    Training,
    /// `t10k-*`
    Test,
}

fn find(dir: &Path, stem: &str) -> Result<PathBuf> {
    let names = [
        stem.to_owned(),
        format!("{stem}.gz"),
        stem.replace("-idx", ".idx"),
        stem.replace("-idx", ".idx") + ".gz",
    ];
    let found = names.iter().map(|n| dir.join(n)).find(|p| p.is_file());
    found.ok_or_else(|| Error::format(dir, format!("has neither {} nor {}", names[0], names[1])))
}

/// Reads the images and labels of one part from a folder with the four standard files.
///
/// # Errors
/// When a file is missing or malformed, or images and labels do not match.
pub fn load(dir: &Path, part: Part) -> Result<Dataset> {
    if !dir.is_dir() {
        return Err(Error::format(
            dir,
            "is not a folder; idx:DIR wants one with train-images-idx3-ubyte(.gz) and its fellows",
        ));
    }
    let prefix = if part == Part::Training {
        "train"
    } else {
        "t10k"
    };
    let images_path = find(dir, &format!("{prefix}-images-idx3-ubyte"))?;
    let images = read(&images_path)?;
    let [rows, height, width] = *images.dims.as_slice() else {
        return Err(Error::format(
            &images_path,
            format!("has sizes {:?}; images have three axes", images.dims),
        ));
    };
    if rows == 0 || height == 0 || width == 0 {
        return Err(Error::format(
            &images_path,
            format!("has no pixels: sizes {:?}", images.dims),
        ));
    }
    let labels_path = find(dir, &format!("{prefix}-labels-idx1-ubyte"))?;
    let labels = read(&labels_path)?;
    if labels.dims != [rows] {
        let sizes = labels.dims;
        return Err(Error::format(
            &labels_path,
            format!("has sizes {sizes:?}, but there are {rows} images"),
        ));
    }
    let classes = labels.bytes.iter().max().map_or(0, |&m| m as usize + 1);
    Ok(Dataset {
        name: format!("idx:{}", dir.display()),
        shape: ImageShape {
            height,
            width,
            channels: 1,
        },
        values: Data::U8(images.bytes),
        labels: Some(labels.bytes.into_iter().map(u32::from).collect()),
        classes: (0..classes).map(|c| c.to_string()).collect(),
    })
}
