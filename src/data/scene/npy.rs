//! NumPy's arrays of real numbers, as far as scenes have them: two axes, f32 or f64, either byte order, rows or columns first.

use std::path::Path;

use crate::error::{Error, Result};

/// The numbers of a table, row after row, and its rows and columns.
#[derive(Debug, PartialEq)]
pub(super) struct Table {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) values: Vec<f64>,
}

/// Reads a table; `path` is for messages alone.
pub(super) fn table(path: &Path, bytes: &[u8]) -> Result<Table> {
    parse(bytes).map_err(|why| Error::format(path, why))
}

fn parse(bytes: &[u8]) -> Result<Table, String> {
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
        return Err("is no array of NumPy (it begins with other bytes)".to_owned());
    };
    let cut = || {
        format!(
            "cut short: its {} bytes end inside of the header",
            bytes.len()
        )
    };
    let (length, rest) = match *rest {
        [1, _, a, b, ref rest @ ..] => (u32::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, _, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]), rest),
        [0 | 4.., ..] => {
            return Err(format!(
                "is of NumPy's format {}; 1, 2 and 3 are read",
                rest[0]
            ));
        }
        _ => return Err(cut()),
    };
    let (header, data) = rest.split_at_checked(length as usize).ok_or_else(cut)?;
    let header = String::from_utf8_lossy(header);
    let kind = quoted(&header, "descr")
        .ok_or_else(|| format!("has the header {header:?}, which says no plain type (descr)"))?;
    let (size, little) = match kind {
        "<f8" => (8, true),
        ">f8" => (8, false),
        "<f4" => (4, true),
        ">f4" => (4, false),
        other => {
            return Err(format!(
                "has numbers of type {other}; real ones are wanted (<f8, <f4): save it as array.astype(float)"
            ));
        }
    };
    let by_columns = match behind(&header, "fortran_order").map(str::trim_start) {
        Some(rest) if rest.starts_with("False") => false,
        Some(rest) if rest.starts_with("True") => true,
        _ => {
            return Err(format!(
                "has the header {header:?}, which says no fortran_order"
            ));
        }
    };
    let shape = shape(&header).ok_or_else(|| {
        format!("has the header {header:?}, which says no shape of whole numbers")
    })?;
    let &[rows, columns] = &shape[..] else {
        return Err(format!(
            "has the shape {shape:?}, where rows and columns are wanted"
        ));
    };
    let wanted = rows.checked_mul(columns).and_then(|n| n.checked_mul(size));
    if wanted != Some(data.len()) {
        return Err(format!(
            "claims {rows} x {columns} numbers of {size} bytes, and has {} bytes of them: it is damaged or cut short",
            data.len()
        ));
    }
    let stored: Vec<f64> = data
        .chunks_exact(size)
        .map(|word| number(word, little))
        .collect();
    let place = |i: usize| {
        if by_columns {
            i % columns * rows + i / columns
        } else {
            i
        }
    };
    Ok(Table {
        rows,
        columns,
        values: (0..stored.len()).map(|i| stored[place(i)]).collect(),
    })
}

fn number(word: &[u8], little: bool) -> f64 {
    let mut bytes = [0; 8];
    for (i, byte) in word.iter().enumerate() {
        bytes[if little { i } else { word.len() - 1 - i }] = *byte;
    }
    match word.len() {
        4 => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        _ => f64::from_le_bytes(bytes),
    }
}

/// What stands behind a key of the header, which is a dictionary as Python writes it.
fn behind<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}'"))?;
    rest.trim_start().strip_prefix(':')
}

fn quoted<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let rest = behind(header, key)?.trim_start().strip_prefix('\'')?;
    Some(rest.split_once('\'')?.0)
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let rest = behind(header, "shape")?.trim_start().strip_prefix('(')?;
    let (sizes, _) = rest.split_once(')')?;
    let sizes = sizes.split(',').map(str::trim).filter(|s| !s.is_empty());
    sizes.map(|size| size.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    #[test]
    fn tables_are_read_in_every_order_and_refused_with_their_reason() {
        let values = [1.0_f64, 2.0, 3.0, 4.5, 5.0, -6.0];
        let bytes = |of: fn(f64) -> Vec<u8>| values.map(of).concat();
        let little = bytes(|x| x.to_le_bytes().to_vec());
        let read = |bytes: &[u8]| parse(bytes).map(|t| t.values);
        assert_eq!(
            read(&file("<f8", "False", "(2, 3)", &little)).unwrap(),
            values
        );
        let by_columns = read(&file("<f8", "True", "(2, 3)", &little)).unwrap();
        assert_eq!(by_columns, [1.0, 3.0, 5.0, 2.0, 4.5, -6.0]);
        let big = bytes(|x| (x as f32).to_be_bytes().to_vec());
        assert_eq!(read(&file(">f4", "False", "(3, 2)", &big)).unwrap(), values);
        for (file, words) in [
            (file("<i8", "False", "(2, 3)", &little), "type <i8"),
            (file("|O", "False", "(2, 3)", &little), "type |O"),
            (file("<f8", "False", "(6,)", &little), "shape [6]"),
            (file("<f8", "False", "(2, 4)", &little), "48 bytes of them"),
            (file("<f8", "Maybe", "(2, 3)", &little), "no fortran_order"),
            (file("<f8", "False", "(2, x)", &little), "no shape"),
            (
                file("<f8", "False", "(4294967296, 4294967296)", &little),
                "claims",
            ),
            (b"PK".to_vec(), "no array"),
            (b"\x93NUMPY\x01".to_vec(), "cut short"),
            (b"\x93NUMPY\x07\x00\x00\x00".to_vec(), "format 7"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec(), "cut short"),
        ] {
            let message = read(&file).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
