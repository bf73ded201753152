//! A file of tensors whose values are read one tensor at a time: safetensors, or what `torch.save` wrote. Which of them it is its content
//! says, never its name.
//!
//! ```
//! use wgen::files::stored::Stored;
//! use wgen::files::weights::write_tensors;
//! # let dir = tempfile::tempdir().unwrap();
//!
//! let path = dir.path().join("model.safetensors");
//! let tensors = [("fc1.bias".to_owned(), (vec![2], vec![0.5, -0.5]))];
//! write_tensors(&path, &tensors.into_iter().collect())?;
//!
//! let mut file = Stored::open(&path)?;
//! assert_eq!(file.table()["fc1.bias"].shape, [2]);
//! assert_eq!(file.floats("fc1.bias")?, [0.5, -0.5]);
//! assert!(file.floats("fc2.bias").is_err());
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub use super::entry::{Dtype, Entry, Table};
use super::{entry, format, pt};
use crate::error::{Error, Result};

/// A name, a shape and its values.
type Tensor = (String, Vec<usize>, Vec<f32>);

/// Values are read and widened so many bytes at a time: a multiple of every type's size.
const PIECE: usize = 64 << 10;

/// What bytes are read from here and there.
trait Input: Read + Seek {}

impl<T: Read + Seek> Input for T {}

/// A file of tensors; see the [module's documentation](self).
pub struct Stored<'a> {
    path: PathBuf,
    reader: Box<dyn Input + 'a>,
    /// Bytes of the file.
    length: u64,
    table: Table,
    /// Bytes of memory that the table may have.
    held: u64,
}

impl fmt::Debug for Stored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("path", &self.path)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl Stored<'static> {
    /// Opens a file and reads its table. Values of a PyTorch file stay on disk, those of a safetensors file are in memory as they are there.
    ///
    /// # Errors
    /// When it is missing, of neither kind, cut short or damaged; of a PyTorch file also when it holds more than tables of tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let mut file = File::open(path).map_err(io)?;
        let mut data = Vec::new();
        (&mut file).take(16).read_to_end(&mut data).map_err(io)?;
        if format::is_pickle(&data) {
            let length = file.seek(SeekFrom::End(0)).map_err(io)?;
            return Self::pickled(path, Box::new(file), length);
        }
        file.read_to_end(&mut data).map_err(io)?;
        let table = format::table(path, &data)?;
        Ok(Self::new(path, Box::new(Cursor::new(data)), table))
    }
}

impl<'a> Stored<'a> {
    /// As [`Stored::open`], from memory; `path` is for messages alone.
    ///
    /// # Errors
    /// As [`Stored::open`].
    pub fn from_bytes(path: &Path, data: &'a [u8]) -> Result<Self> {
        let reader = Box::new(Cursor::new(data));
        if format::is_pickle(data) {
            return Self::pickled(path, reader, data.len() as u64);
        }
        let table = format::table(path, data)?;
        Ok(Self::new(path, reader, table))
    }

    fn new(path: &Path, reader: Box<dyn Input + 'a>, table: Table) -> Self {
        Self {
            path: path.to_owned(),
            reader,
            length: u64::MAX,
            table,
            held: 0,
        }
    }

    fn pickled(path: &Path, mut reader: Box<dyn Input + 'a>, length: u64) -> Result<Self> {
        let (table, held) = pt::table(path, &mut reader, length)?;
        Ok(Self {
            length,
            held,
            ..Self::new(path, reader, table)
        })
    }

    /// The tensors by name.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The values of tensor `name`, in the order of its shape: F32, or F16 and BF16 widened and F64 rounded.
    ///
    /// # Errors
    /// When there is no such tensor, it is of another type, has a value beyond f32, or the file cannot be read.
    pub fn floats(&mut self, name: &str) -> Result<Vec<f32>> {
        match self.table.get(name) {
            Some(entry) => values(&self.path, &mut self.reader, name, entry),
            None => Err(Error::format(
                &self.path,
                format!("has no tensor '{name}'; it has {} others", self.table.len()),
            )),
        }
    }

    /// All of it: each tensor's name, shape and values.
    ///
    /// # Errors
    /// When a tensor is of another type than [`Stored::floats`] reads, or they share so much memory that together they are many times as
    /// large as the file.
    pub(super) fn all(mut self) -> Result<impl Iterator<Item = Result<Tensor>>> {
        let counts = self.table.values().map(|entry| entry.count() as u64);
        let values_held = counts.fold(0_u64, |sum, n| sum.saturating_add(n.saturating_mul(4)));
        // The table's names and shapes go into what is made of it.
        let needed = values_held.saturating_add(self.held.saturating_mul(2));
        if needed > pt::allowance(self.length) {
            return Err(Error::format(
                &self.path,
                format!(
                    "has {} tensors that together have {values_held} bytes as f32, though the file has {}: they are views of each other; \
                     read them one by one",
                    self.table.len(),
                    self.length
                ),
            ));
        }
        let each = self.table.into_iter().map(move |(name, entry)| {
            let values = values(&self.path, &mut self.reader, &name, &entry)?;
            Ok((name, entry.shape, values))
        });
        Ok(each)
    }
}

/// The values of tensor `name`.
fn values(path: &Path, reader: &mut dyn Input, name: &str, entry: &Entry) -> Result<Vec<f32>> {
    let wrong = |why| Error::format(path, why);
    let io = |e| Error::io(path, e);
    if !entry.holds_floats(name) {
        return Err(wrong(entry.no_floats(name)));
    }
    // Its extent was checked against the file's when the table was made.
    let mut values = Vec::with_capacity(entry.count());
    reader
        .seek(SeekFrom::Start(entry.range.start))
        .map_err(io)?;
    let mut left = entry.range.end - entry.range.start;
    let mut piece = vec![0; left.min(PIECE as u64) as usize];
    while left > 0 {
        let n = left.min(piece.len() as u64) as usize;
        reader.read_exact(&mut piece[..n]).map_err(io)?;
        entry::append(name, entry.dtype, &piece[..n], &mut values).map_err(wrong)?;
        left -= n as u64;
    }
    Ok(values)
}
