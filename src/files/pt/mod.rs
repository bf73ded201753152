//! What `torch.save` wrote, read without Python: a table of tensors whose values stay on disk. A file is a pickle, which is a program, beside
//! the bytes of the tensors; it is run by a machine that knows how to put tables of tensors together and nothing else, so that no file can
//! make it do more. Both containers are read: zips, and the row of pickles from before PyTorch 1.6.
//!
//! ```
//! use std::path::Path;
//! use wgen::files::weights::tensors_from_bytes;
//!
//! // As torch.save({"w": torch.tensor([0.5, -0.5])}, _use_new_zipfile_serialization=False) writes it: a number by which the file is known,
//! // the format's version, the machine, the object, the order of the storages; then each storage's length and values.
//! let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\0\0\0little_endian\x88s.".to_vec();
//! file.extend(b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n");
//! file.extend(b"X\x01\0\0\00X\x03\0\0\0cpuK\x02NtQK\0K\x02\x85K\x01\x85\x89}tRs.\x80\x02]X\x01\0\0\00a.");
//! file.extend(2_i64.to_le_bytes());
//! file.extend([0.5_f32, -0.5].iter().flat_map(|x| x.to_le_bytes()));
//! let tensors = tensors_from_bytes(Path::new("w.pt"), &file)?;
//! assert_eq!(tensors["w"], (vec![2], vec![0.5, -0.5]));
//!
//! // What would run code is refused by its name.
//! let at = file.windows(18).position(|bytes| bytes == b"_rebuild_tensor_v2").unwrap();
//! file[at..at + 18].copy_from_slice(b"_run_anything_else");
//! let error = tensors_from_bytes(Path::new("w.pt"), &file).unwrap_err();
//! assert!(error.to_string().contains("'torch._utils._run_anything_else'"), "{error}");
//! # Ok::<(), wgen::Error>(())
//! ```
//!
//! The format is what torch/serialization.py writes (PyTorch 2.15) and Python's pickletools.py describes.

mod input;
mod legacy;
mod machine;
mod objects;
mod opcodes;
mod state;
mod zip;

use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::Path;

use super::entry::{Entry, Table};
use crate::error::{Error, Result};
use objects::{Objects, Tensor, Value};

/// Names of tensors and of storages have no more bytes.
const LONGEST_NAME: usize = 1024;

/// What is wrong with a file.
#[derive(Debug)]
enum Fault {
    /// It could not be read.
    Io(io::Error),
    /// It is not what it should be.
    Wrong(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Wrong(CUT.to_owned()),
            _ => Self::Io(error),
        }
    }
}

type Checked<T> = std::result::Result<T, Fault>;

const CUT: &str = "is no whole PyTorch file: it is cut short";

fn wrong<T>(why: impl Into<String>) -> Checked<T> {
    Err(Fault::Wrong(why.into()))
}

/// Bytes of memory that reading a file of `length` bytes may take, but for buffers of fixed sizes, for which 192 KiB are left to 1 MiB.
pub(super) fn allowance(length: u64) -> u64 {
    length.saturating_mul(4).saturating_add(832 << 10)
}

/// What is left of the [`allowance`]. A pickle's opcode of one byte can make an object of many, so that the file's length alone bounds nothing.
#[derive(Debug)]
struct Budget(u64);

impl Budget {
    /// Before `bytes` are allocated.
    fn charge(&mut self, bytes: usize) -> Checked<()> {
        match self.0.checked_sub(bytes as u64) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => wrong(
                "describes more objects than a table of tensors in a file of its size has; save a state_dict alone",
            ),
        }
    }

    /// Before a vector grows to hold `items` more of `T`: while it doubles, the old one and the new one are there.
    fn charge_items<T>(&mut self, items: usize) -> Checked<()> {
        self.charge(items.saturating_mul(3 * size_of::<T>()))
    }
}

/// A container, opened as far as the object that was saved.
trait Container {
    /// The bytes of a storage.
    fn locate(&mut self, key: &str) -> Checked<Range<u64>>;
}

/// The tensors of a PyTorch file of `length` bytes, and the memory that the table may have, in bytes. `path` is for messages alone.
///
/// # Errors
/// When the file is cut short or damaged, holds what is no table of tensors (the opcode, global or key is named), contains itself, or has a
/// tensor that ends beyond its storage, or whose values do not lie one after another.
pub(super) fn table<R: Read + Seek>(
    path: &Path,
    reader: &mut R,
    length: u64,
) -> Result<(Table, u64)> {
    read(path, reader, length).map_err(|fault| match fault {
        Fault::Io(error) => Error::io(path, error),
        Fault::Wrong(why) => Error::format(path, why),
    })
}

fn read<R: Read + Seek>(path: &Path, reader: &mut R, length: u64) -> Checked<(Table, u64)> {
    let mut budget = Budget(allowance(length));
    let mut head = [0; 2];
    reader.rewind()?;
    reader.read_exact(&mut head)?;
    if head == *b"PK" {
        let mut zip = zip::Zip::open(reader, length, &mut budget)?;
        let (objects, root) = zip.objects(&mut budget)?;
        entries(path, &objects, root, &mut zip, &mut budget)
    } else {
        let (mut storages, objects, root) = legacy::open(reader, length, &mut budget)?;
        entries(path, &objects, root, &mut storages, &mut budget)
    }
}

fn entries(
    path: &Path,
    objects: &Objects,
    root: Value,
    container: &mut dyn Container,
    budget: &mut Budget,
) -> Checked<(Table, u64)> {
    let mut table = Table::new();
    let dicts = state::dicts(path, objects, root, budget)?;
    let before = budget.0;
    for (prefix, dict) in dicts {
        for (key, value) in objects.dict(dict) {
            let (Value::Text(key), Value::Tensor(tensor)) = (key, value) else {
                continue;
            };
            let (key, tensor) = (objects.text(*key), &objects.tensors[*tensor as usize]);
            if key.len() > LONGEST_NAME {
                let (shown, n) = (shown(key), key.len());
                return wrong(format!("has a tensor '{shown}', whose name has {n} bytes"));
            }
            // Half-filled nodes of the tree, with a name and a shape that have their own allocations; the shape once more as strides.
            budget.charge(320 + 2 * key.len() + 16 * objects.tuple(tensor.size).len())?;
            let name = format!("{prefix}{key}");
            let entry = entry(&name, objects, tensor, container)?;
            // As in a dictionary, what comes last counts.
            table.insert(name, entry);
        }
    }
    Ok((table, before - budget.0))
}

/// A tensor as the table has it.
fn entry(
    name: &str,
    objects: &Objects,
    tensor: &Tensor,
    container: &mut dyn Container,
) -> Checked<Entry> {
    let of = |tuple| sizes(objects.tuple(tuple));
    let (Some(shape), Some(strides)) = (of(tensor.size), of(tensor.stride)) else {
        return wrong(format!(
            "tensor '{name}' has a shape or strides that are no sizes"
        ));
    };
    if shape.len() != strides.len() {
        let (axes, others) = (shape.len(), strides.len());
        return wrong(format!(
            "tensor '{name}' has {axes} axes, but strides of {others}"
        ));
    }
    let count = shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
    let storage = &objects.storages[tensor.storage as usize];
    let size = (storage.dtype.bitsize() / 8) as u64;
    let end = count.and_then(|count| tensor.offset.checked_add(count as u64));
    let (Some(count), Some(end)) = (count, end) else {
        return wrong(format!(
            "tensor '{name}' is larger than any file: {shape:?}"
        ));
    };
    if count > 0 && !contiguous(&shape, &strides) {
        return wrong(format!(
            "tensor '{name}' {shape:?} has strides {strides:?}: its values do not lie one after another; save its contiguous()"
        ));
    }
    if end > storage.count {
        return wrong(format!(
            "tensor '{name}' ends at element {end} of a storage that has {}",
            storage.count
        ));
    }
    let key = objects.text(storage.key);
    let bytes = container.locate(key)?;
    let there = bytes.end - bytes.start;
    if storage.count.checked_mul(size).is_none_or(|n| n > there) {
        let (key, count, dtype) = (shown(key), storage.count, storage.dtype);
        return wrong(format!(
            "tensor '{name}' is in storage '{key}' of {count} {dtype:?}, of which the file has {there} bytes"
        ));
    }
    let (start, end) = (tensor.offset * size, end * size);
    Ok(Entry {
        dtype: storage.dtype,
        shape,
        range: bytes.start + start..bytes.start + end,
    })
}

/// A tuple of sizes.
fn sizes(values: &[Value]) -> Option<Vec<usize>> {
    let size = |value: &Value| match value {
        Value::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    values.iter().map(size).collect()
}

/// Whether values lie one after another in row-major order; the stride of an axis of one element says nothing.
fn contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut wanted = 1;
    shape.iter().zip(strides).rev().all(|(size, stride)| {
        let fits = *size == 1 || *stride == wanted;
        wanted *= size;
        fits
    })
}

/// A text from a file as messages show it.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push_str("...");
    }
    shown
}
