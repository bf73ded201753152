//! The table of a safetensors file, and what else was taken for one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensorError;
use safetensors::tensor::SafeTensors;
use serde::Deserialize;

use super::entry::{Entry, Table};
use crate::error::{Error, Result};

/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// The tensors of a file; `path` is for messages alone.
///
/// # Errors
/// When it is no safetensors file, saying what it is, is cut short or damaged.
pub(super) fn table(path: &Path, data: &[u8]) -> Result<Table> {
    recognise(data).map_err(|why| Error::format(path, why))?;
    let (header, metadata) = SafeTensors::read_metadata(data)
        .map_err(|e| Error::format(path, format!("{NOT_WHOLE}: {}", damage(data, &e))))?;
    let first = header as u64 + 8;
    let tensors = metadata.tensors().into_iter();
    let entries = tensors.map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let entry = Entry {
            dtype: info.dtype,
            shape: info.shape.clone(),
            range: first + start as u64..first + end as u64,
        };
        (name, entry)
    });
    Ok(entries.collect())
}

/// Whether a file that begins so is one of PyTorch's: a zip, or a pickle of a protocol that PyTorch has had. Eight bytes that are the length
/// of a safetensors header may be either.
pub(super) fn is_pickle(data: &[u8]) -> bool {
    header(data).is_none() && matches!(data, [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..])
}

/// The length of the header of a file that begins as the format has it: within bounds, and with the brace that a header begins with.
fn header(data: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(*data.first_chunk()?);
    (length <= LONGEST_HEADER && data.get(8) == Some(&b'{')).then_some(length)
}

const NOT_WHOLE: &str = "is no whole safetensors file";

/// Whether the file begins as the format has it. Only what does not is looked at for being something else: the length's own bytes may be any.
fn recognise(data: &[u8]) -> Result<(), String> {
    if let Some(length) = header(data) {
        let rest = data.len() as u64 - 8;
        return if length <= rest {
            Ok(())
        } else {
            Err(format!(
                "{NOT_WHOLE}: it is cut short: of a header of {length} bytes there are {rest}"
            ))
        };
    }
    let text = data.trim_ascii_start();
    Err(match data {
        [] => format!("{NOT_WHOLE}: it is empty"),
        _ if data.starts_with(b"version https://git-lfs") => {
            format!(
                "{NOT_WHOLE}: it is a Git LFS pointer, which stands for it; run `git lfs pull`, or download the file itself"
            )
        }
        _ if text.starts_with(b"<") => {
            format!("{NOT_WHOLE}: it is a web page; download the file itself")
        }
        _ if data.len() < 9 => format!(
            "{NOT_WHOLE}: it is cut short after {} bytes, before its header",
            data.len()
        ),
        _ => format!("{NOT_WHOLE}: it does not begin with a header"),
    })
}

/// What an error of the crate means to who has the file.
fn damage(data: &[u8], error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            let Some(end) = promised(data) else {
                return format!("it is damaged: {error}");
            };
            let length = data.len() as u64;
            if length < end {
                format!(
                    "it is cut short: of {end} bytes {} are missing",
                    end - length
                )
            } else {
                format!("it has {} bytes after its last tensor", length - end)
            }
        }
        SafeTensorError::InvalidOffset(name) => {
            format!(
                "its header is damaged: tensor '{name}' does not begin where the one before it ends"
            )
        }
        other => format!("its header is damaged: {other}"),
    }
}

#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    data_offsets: Option<(u64, u64)>,
}

/// The length of the file by its header.
fn promised(data: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(*data.first_chunk()?);
    let end = usize::try_from(length).ok()?.checked_add(8)?;
    let places: BTreeMap<Cow<str>, Place> = serde_json::from_slice(data.get(8..end)?).ok()?;
    let last = places
        .values()
        .filter_map(|p| Some(p.data_offsets?.1))
        .max();
    last.unwrap_or(0).checked_add(end as u64)
}
