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
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

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

/// Types of elements.
const BYTE: u8 = 8;
const INT: u8 = 0x0c;

/// Reads an IDX file of bytes, unpacking it where it is gzip'd.
///
/// # Errors
/// When it is missing, empty, cut short, too long, of another magic number or element type, or its sizes are absurd.
pub fn read(path: &Path) -> Result<Idx> {
    Ok(read_of(path, &[BYTE])?.1)
}

/// Reads a file of elements of one of these types: which, and the array with the bytes of its elements.
fn read_of(path: &Path, kinds: &[u8]) -> Result<(u8, Idx)> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
    let mut head = [0_u8; 2];
    let got = file.read(&mut head).map_err(|e| Error::io(path, e))?;
    unpack(path, &head[..got], BufReader::new(file), size, kinds)
}

/// As [`read`], from memory; `path` is for messages alone.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Idx> {
    let (head, rest) = bytes.split_at(bytes.len().min(2));
    Ok(unpack(path, head, rest, bytes.len() as u64, &[BYTE])?.1)
}

/// A gzip'd file: one member after the other, as `gzip` and `bgzip` write them. What follows the last is no part of it, as `gzip` has it.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let mut rest = self.0.take().map(GzDecoder::into_inner);
            let more = rest.as_mut().map(BufRead::fill_buf).transpose()?;
            if more.and_then(<[u8]>::first) == Some(&0x1f) {
                self.0 = rest.map(GzDecoder::new);
            }
        }
        Ok(0)
    }
}

fn unpack(
    path: &Path,
    head: &[u8],
    rest: impl BufRead,
    packed_size: u64,
    kinds: &[u8],
) -> Result<(u8, Idx)> {
    if head.is_empty() {
        return Err(Error::format(path, "the file is empty"));
    }
    let source = head.chain(rest);
    // Deflate packs at most 1,032 to 1, so nothing is allocated beyond what the file can hold.
    if head == [0x1f, 0x8b] {
        let bound = packed_size.saturating_mul(1032).min(MAX_BYTES);
        let members = Members(Some(GzDecoder::new(source)));
        parse(path, members.take(MAX_BYTES + 1), bound, kinds)
    } else {
        let bound = packed_size.min(MAX_BYTES);
        parse(path, source.take(MAX_BYTES + 1), bound, kinds)
    }
}

/// Parses the stream of an IDX file that unpacks to at most `bound` bytes.
fn parse(path: &Path, mut source: impl Read, bound: u64, kinds: &[u8]) -> Result<(u8, Idx)> {
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
    if !kinds.contains(&kind) {
        return fail(format!(
            "elements are of type {kind:#04x}; only unsigned bytes (0x08) are read{}",
            if kinds.contains(&INT) {
                ", and of labels integers of 32 bits (0x0c)"
            } else {
                ""
            }
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
        .try_fold(if kind == INT { 4_u64 } else { 1 }, |n, &d| {
            n.checked_mul(d as u64)
        })
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
        Ok(0) => Ok((kind, Idx { dims, bytes })),
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

/// Files that may be a part's: images or labels of an IDX set.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    /// What stands before the part's name: `emnist-letters-`, or nothing.
    set: String,
    part: Part,
    labels: bool,
}

/// What a file's name says: `SET-train-images-idx3-ubyte.gz` and the like.
fn named(path: &Path) -> Option<Named> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let stem = name
        .strip_suffix(".gz")
        .unwrap_or(&name)
        .replace(['.', '_'], "-");
    let stem = stem.strip_suffix("-ubyte").unwrap_or(&stem);
    let (stem, labels) = [
        ("-images-idx3", false),
        ("-images-idx4", false),
        ("-labels-idx1", true),
        // QMNIST's.
        ("-labels-idx2-int", true),
    ]
    .into_iter()
    .find_map(|(end, labels)| Some((stem.strip_suffix(end)?, labels)))?;
    let (set, part) = [
        ("train", Part::Training),
        ("t10k", Part::Test),
        ("test", Part::Test),
    ]
    .into_iter()
    .find_map(|(end, part)| Some((stem.strip_suffix(end)?, part)))?;
    (set.is_empty() || set.ends_with('-')).then(|| Named {
        set: set.to_owned(),
        path: path.to_owned(),
        part,
        labels,
    })
}

/// How deep files are looked for: `MNIST/raw/` of torchvision, a folder for each file as Kaggle has them.
const DEPTH: usize = 3;

/// The folder of the set that a file belongs to: where each file has a folder of its own name (Kaggle), the one around these.
fn place(file: &Path) -> PathBuf {
    let parent = file.parent().unwrap_or(file);
    match (named(parent), parent.parent()) {
        (Some(_), Some(around)) => around.to_owned(),
        _ => parent.to_owned(),
    }
}

/// Leaves of one part what lies in one place: images never get the labels of another set. What lies in the folder itself is what was meant.
fn in_one_place(found: &mut Vec<Named>, folder: &Path, part: Part) -> Result<(), String> {
    let places_of = |found: &[Named], labels: bool| {
        let of = found
            .iter()
            .filter(|n| n.part == part && n.labels == labels);
        let mut places: Vec<PathBuf> = of.map(|n| place(&n.path)).collect();
        places.sort_unstable();
        places.dedup();
        places
    };
    let (images, labels) = (places_of(found, false), places_of(found, true));
    let Some(first) = images.first() else {
        return Ok(());
    };
    let here = images.iter().any(|p| p == folder);
    if images.len() > 1 && !here {
        let forms: Vec<String> = images
            .iter()
            .map(|p| format!("idx:{}", p.display()))
            .collect();
        return Err(format!(
            "has sets in several folders; name one: {}",
            forms.join(", ")
        ));
    }
    let chosen = if here { folder } else { first }.to_owned();
    // Images and labels may have a folder each.
    let apart = images.len() == 1 && labels.len() == 1;
    found.retain(|n| n.part != part || (n.labels && apart) || place(&n.path) == chosen);
    Ok(())
}

/// All files of a folder, hidden ones left out, those nearest first.
fn files(dir: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let mut entries: Vec<PathBuf> = read.flatten().map(|e| e.path()).collect();
    entries.sort();
    let hidden = |p: &PathBuf| {
        p.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'))
    };
    entries.retain(|p| !hidden(p));
    let (folders, mut found): (Vec<_>, Vec<_>) = entries.into_iter().partition(|p| p.is_dir());
    for folder in folders.iter().filter(|_| depth > 0) {
        found.extend(files(folder, depth - 1)?);
    }
    Ok(found)
}

/// The files of one part: images, and labels where there are any.
fn find(dir: &Path, part: Part) -> Result<(PathBuf, Option<PathBuf>)> {
    // What is no folder may be one and the beginning of its files' names.
    let (folder, prefix) = if dir.is_dir() {
        (dir, None)
    } else {
        let prefix = dir.file_name().map(|n| n.to_string_lossy().to_lowercase());
        (dir.parent().unwrap_or(dir), prefix)
    };
    let wrong = |message: String| Error::format(dir, message);
    if !folder.is_dir() || dir.is_file() {
        return Err(wrong(
            "is not a folder; idx:DIR wants one with train-images-idx3-ubyte(.gz) and its fellows"
                .to_owned(),
        ));
    }
    let all = files(folder, DEPTH)?;
    let mut found: Vec<Named> = all.iter().filter_map(|p| named(p)).collect();
    if let Some(prefix) = &prefix {
        found.retain(|n| n.set.trim_end_matches('-') == prefix.trim_end_matches('-'));
        if found.is_empty() {
            return Err(wrong(
                "is not a folder; idx:DIR wants one with train-images-idx3-ubyte(.gz) and its fellows".to_owned(),
            ));
        }
    }
    in_one_place(&mut found, folder, part).map_err(wrong)?;
    let mut sets: Vec<&str> = found.iter().map(|n| n.set.as_str()).collect();
    sets.sort_unstable();
    sets.dedup();
    if sets.len() > 1 && !sets.contains(&"") {
        let forms: Vec<String> = sets
            .iter()
            .map(|s| format!("idx:{}", folder.join(s.trim_end_matches('-')).display()))
            .collect();
        return Err(wrong(format!(
            "has several sets; name one: {}",
            forms.join(", ")
        )));
    }
    let set = sets.first().copied().unwrap_or("").to_owned();
    let of = |labels: bool| {
        let fits = |n: &&Named| n.set == set && n.part == part && n.labels == labels;
        found.iter().find(fits).map(|n| n.path.clone())
    };
    match of(false) {
        Some(images) => Ok((images, of(true))),
        None => {
            let stem = if part == Part::Training {
                "train"
            } else {
                "t10k"
            };
            let there: Vec<String> = all
                .iter()
                .take(8)
                .map(|p| p.strip_prefix(folder).unwrap_or(p).display().to_string())
                .collect();
            let there = if there.is_empty() {
                "it has no files".to_owned()
            } else {
                let more = if all.len() > 8 { ", ..." } else { "" };
                format!("what lies there: {}{more}", there.join(", "))
            };
            Err(wrong(format!(
                "has neither {stem}-images-idx3-ubyte nor {stem}-images-idx3-ubyte.gz, nor one of another set's name before that; {there}"
            )))
        }
    }
}

/// The most classes that labels name.
const MAX_CLASSES: u32 = 4096;

/// Labels of `rows` images: bytes, or the first of each row of integers (QMNIST: the class, then who wrote it and when).
fn labels(path: &Path, rows: usize) -> Result<Vec<u32>> {
    let (kind, labels) = read_of(path, &[BYTE, INT])?;
    let columns = match *labels.dims.as_slice() {
        [all] if all == rows => 1,
        [all, columns] if kind == INT && all == rows && columns > 0 => columns,
        _ => {
            return Err(Error::format(
                path,
                format!("has sizes {:?}, but there are {rows} images", labels.dims),
            ));
        }
    };
    if kind == BYTE {
        return Ok(labels.bytes.into_iter().map(u32::from).collect());
    }
    let (integers, _) = labels.bytes.as_chunks::<4>();
    let first = integers
        .iter()
        .step_by(columns)
        .map(|b| u32::from_be_bytes(*b));
    let classes: Vec<u32> = first.collect();
    match classes.iter().find(|&&c| c >= MAX_CLASSES) {
        Some(class) => Err(Error::format(
            path,
            format!(
                "has the label {}, which is no class from 0 to {}",
                class.cast_signed(),
                MAX_CLASSES - 1
            ),
        )),
        None => Ok(classes),
    }
}

/// Reads the images and labels of one part from a folder of IDX files: under MNIST's names, with a set's name before them
/// (`emnist-letters-`), in folders of their own. Where a folder has several sets, `DIR/SET` names one. Images without labels are read as
/// such.
///
/// # Errors
/// When there are no images of that part, a file is malformed, or images and labels do not match.
pub fn load(dir: &Path, part: Part) -> Result<Dataset> {
    let (images_path, labels_path) = find(dir, part)?;
    let images = read(&images_path)?;
    let (rows, height, width, channels) = match *images.dims.as_slice() {
        [rows, height, width] => (rows, height, width, 1),
        [rows, height, width, channels @ (1 | 3)] => (rows, height, width, channels),
        _ => {
            let message = format!(
                "has sizes {:?}; images have three axes, or four with 1 or 3 channels last",
                images.dims
            );
            return Err(Error::format(&images_path, message));
        }
    };
    if rows == 0 || height == 0 || width == 0 {
        return Err(Error::format(
            &images_path,
            format!("has no pixels: sizes {:?}", images.dims),
        ));
    }
    let labels = match labels_path {
        None => None,
        Some(path) => Some(labels(&path, rows)?),
    };
    let classes = labels.iter().flatten().max().map_or(0, |&m| m as usize + 1);
    Ok(Dataset {
        name: format!("idx:{}", dir.display()),
        shape: ImageShape {
            height,
            width,
            channels,
        },
        values: Data::U8(images.bytes),
        labels,
        classes: (0..classes).map(|c| c.to_string()).collect(),
        views: None,
    })
}
