//! The container of PyTorch 1.6 and later: a zip of `NAME/data.pkl`, the object, and `NAME/data/KEY`, a storage each, as they are, uncompressed.
//!
//! Only the directory at the file's end is kept in memory, as it is there, with a number an entry: what a hostile file can make of that is
//! bounded by its own length. (The crate zip 9.8.2, without its features, holds 7.2 times a directory of 4.1 MB and 80,000 entries when it opens it,
//! which is beyond what this reader allows itself; and of its 27,000 lines some 200 would be used.) Checksums are not looked at: PyTorch need not write them (`torch.serialization.set_crc32_options`).

use std::cmp::Ordering;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::input::Input;
use super::objects::{Objects, Value};
use super::{Budget, CUT, Checked, Container, machine, shown, wrong};

/// Bytes of the record at the end, of the longest comment after it, of what stands before it in large files, and of an entry.
const END: usize = 22;
const LONGEST_COMMENT: usize = 0xffff;
const LOCATOR: usize = 20;
const END_64: usize = 56;
const RECORD: usize = 46;
const LOCAL: usize = 30;

/// A zip that is open.
#[derive(Debug)]
pub(super) struct Zip<'r, R> {
    reader: &'r mut R,
    /// Where the directory begins: entries end before.
    end: u64,
    directory: Vec<u8>,
    /// Where in it each entry's record is, in the order of their names.
    records: Vec<u32>,
    /// What the names of the object's entries begin with: `archive/`.
    prefix: String,
}

/// An entry of the directory.
struct Record<'d> {
    name: &'d [u8],
    flags: u16,
    method: u16,
    packed: u64,
    size: u64,
    header: u64,
    /// Bytes of the record.
    length: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u64::from_le_bytes(*b))
}

fn damaged<T>(why: &str) -> Checked<T> {
    wrong(format!("is a damaged PyTorch file: {why}"))
}

/// Reads `N` bytes at `at`.
fn read_at<const N: usize, R: Read + Seek>(reader: &mut R, at: u64) -> Checked<[u8; N]> {
    let mut bytes = [0; N];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Where the directory begins and ends, and how many entries it has.
fn find_directory<R: Read + Seek>(reader: &mut R, length: u64) -> Checked<(Range<u64>, u64)> {
    let last = length.min((END + LONGEST_COMMENT) as u64) as usize;
    let mut tail = vec![0; last];
    reader.seek(SeekFrom::Start(length - last as u64))?;
    reader.read_exact(&mut tail)?;
    // What ends the file; a comment after it reaches to the file's end.
    let is_end = |at: &usize| {
        tail[*at..].starts_with(b"PK\x05\x06")
            && at + END + usize::from(u16_at(&tail, at + 20)) == last
    };
    let Some(at) = (0..=last.saturating_sub(END))
        .rev()
        .find(|at| tail.len() >= END && is_end(at))
    else {
        return wrong(format!("{CUT}, as the directory at its end is not there"));
    };
    let end = &tail[at..];
    let mut count = u64::from(u16_at(end, 10));
    let mut size = u64::from(u32_at(end, 12));
    let mut start = u64::from(u32_at(end, 16));
    let mut stop = length - (last - at) as u64;
    // Sizes that do not fit in here are in another record, to which a locator leads.
    let full = count == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff;
    if full && stop >= LOCATOR as u64 {
        let locator = read_at::<LOCATOR, _>(reader, stop - LOCATOR as u64)?;
        if locator.starts_with(b"PK\x06\x07") {
            let at = u64_at(&locator, 8);
            if at > stop - LOCATOR as u64 {
                return damaged("the directory's record is beyond its end");
            }
            let end = read_at::<END_64, _>(reader, at)?;
            if !end.starts_with(b"PK\x06\x06") {
                return damaged("the directory's record is not where it should be");
            }
            (count, size, start, stop) = (u64_at(&end, 32), u64_at(&end, 40), u64_at(&end, 48), at);
        }
    }
    match start.checked_add(size) {
        Some(end) if end <= stop => Ok((start..end, count)),
        _ => damaged("the directory ends beyond the file"),
    }
}

/// The record at the beginning of `bytes`.
fn record(bytes: &[u8]) -> Checked<Record<'_>> {
    const BROKEN: &str = "its directory is no row of entries";
    if bytes.len() < RECORD || !bytes.starts_with(b"PK\x01\x02") {
        return damaged(BROKEN);
    }
    let name = usize::from(u16_at(bytes, 28));
    let extra = usize::from(u16_at(bytes, 30));
    let length = RECORD + name + extra + usize::from(u16_at(bytes, 32));
    if bytes.len() < length {
        return damaged(BROKEN);
    }
    let mut sizes = [24, 20, 42].map(|at| u64::from(u32_at(bytes, at)));
    let mut fields = &bytes[RECORD + name..RECORD + name + extra];
    while fields.len() >= 4 {
        let (id, n) = (u16_at(fields, 0), usize::from(u16_at(fields, 2)));
        let Some(field) = fields.get(4..4 + n) else {
            break; // Padding, which PyTorch writes.
        };
        if id == 1 {
            // Those that do not fit in 32 bits, in this order.
            let mut wide = field.as_chunks().0.iter();
            for size in sizes.iter_mut().filter(|size| **size == 0xffff_ffff) {
                match wide.next() {
                    Some(bytes) => *size = u64::from_le_bytes(*bytes),
                    None => return damaged("an entry lacks its size"),
                }
            }
        }
        fields = &fields[4 + n..];
    }
    Ok(Record {
        name: &bytes[RECORD..RECORD + name],
        flags: u16_at(bytes, 8),
        method: u16_at(bytes, 10),
        packed: sizes[1],
        size: sizes[0],
        header: sizes[2],
        length,
    })
}

impl<'r, R: Read + Seek> Zip<'r, R> {
    /// Opens a file of `length` bytes.
    pub(super) fn open(reader: &'r mut R, length: u64, budget: &mut Budget) -> Checked<Self> {
        let (place, count) = find_directory(reader, length)?;
        let size = place.end - place.start;
        if count > size / RECORD as u64 {
            return damaged("its directory has fewer entries than it says");
        }
        let (Ok(size), Ok(count)) = (u32::try_from(size), usize::try_from(count)) else {
            return damaged("its directory has more than 4 GiB");
        };
        budget.charge(size as usize)?;
        budget.charge(2 * size_of::<u32>() * count)?;
        let mut directory = vec![0; size as usize];
        reader.seek(SeekFrom::Start(place.start))?;
        reader.read_exact(&mut directory)?;

        let mut records = Vec::with_capacity(count);
        let (mut at, mut prefix) = (0, None);
        while at < directory.len() && records.len() < count {
            let record = record(&directory[at..])?;
            if let Some(before) = record.name.strip_suffix(b"data.pkl")
                && (before.is_empty() || before.ends_with(b"/"))
                && prefix.replace(before.to_vec()).is_some()
            {
                return damaged("it has several data.pkl");
            }
            records.push(at as u32);
            at += record.length;
        }
        let Some(Ok(prefix)) = prefix.map(String::from_utf8) else {
            return wrong("is a zip without data.pkl, which torch.save does not write");
        };
        let name = |at: &u32| {
            &directory[*at as usize + RECORD..]
                [..usize::from(u16_at(&directory, *at as usize + 28))]
        };
        records.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        if records.is_sorted_by(|a, b| name(a) < name(b)) {
            Ok(Self {
                reader,
                end: place.start,
                directory,
                records,
                prefix,
            })
        } else {
            damaged("two of its entries have one name")
        }
    }

    /// Where the bytes of an entry lie.
    fn find(&mut self, name: &str) -> Checked<Option<Range<u64>>> {
        let compare = |at: &u32| match record(&self.directory[*at as usize..]) {
            Ok(record) => record.name.cmp(name.as_bytes()),
            Err(_) => Ordering::Less,
        };
        let Ok(i) = self.records.binary_search_by(compare) else {
            return Ok(None);
        };
        let record = record(&self.directory[self.records[i] as usize..])?;
        let shown = shown(name);
        if record.flags & 1 != 0 || record.method != 0 || record.packed != record.size {
            return wrong(format!(
                "has '{shown}' compressed or encrypted, which torch.save does not write; unpack it and zip it again without compression"
            ));
        }
        let (header, size) = (record.header, record.size);
        if header > self.end.saturating_sub(LOCAL as u64) {
            return damaged(&format!(
                "'{shown}' begins at byte {header}, beyond its end"
            ));
        }
        let local = read_at::<LOCAL, _>(self.reader, header)?;
        if !local.starts_with(b"PK\x03\x04") {
            return damaged(&format!("'{shown}' is not where its directory has it"));
        }
        let before = LOCAL + usize::from(u16_at(&local, 26)) + usize::from(u16_at(&local, 28));
        let start = header + before as u64;
        match start.checked_add(size) {
            Some(end) if end <= self.end => Ok(Some(start..end)),
            _ => damaged(&format!(
                "'{shown}' has {size} bytes from byte {start} on, which is beyond its end"
            )),
        }
    }

    /// The object that was saved, and what it is made of.
    pub(super) fn objects(&mut self, budget: &mut Budget) -> Checked<(Objects, Value)> {
        if let Some(place) = self.find(&format!("{}byteorder", self.prefix))? {
            let mut order = Vec::new();
            self.reader.seek(SeekFrom::Start(place.start))?;
            let place = (place.end - place.start).min(16);
            self.reader.by_ref().take(place).read_to_end(&mut order)?;
            if order.trim_ascii() != b"little" {
                return wrong(
                    "was saved on a machine whose numbers are big-endian; save it on another",
                );
            }
        }
        let Some(place) = self.find(&format!("{}data.pkl", self.prefix))? else {
            return damaged("data.pkl is not there");
        };
        self.reader.seek(SeekFrom::Start(place.start))?;
        machine::run(
            &mut Input::new(&mut *self.reader, place.end - place.start),
            budget,
        )
    }
}

impl<R: Read + Seek> Container for Zip<'_, R> {
    fn locate(&mut self, key: &str) -> Checked<Range<u64>> {
        match self.find(&format!("{}data/{key}", self.prefix))? {
            Some(place) => Ok(place),
            None => damaged(&format!("storage '{}' is not in it", shown(key))),
        }
    }
}
