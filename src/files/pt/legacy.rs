//! The container from before PyTorch 1.6, which later ones still write when asked to: five pickles in a row (a number by which the file is
//! known, the version of the format, what the machine was like, the object, the keys of the storages), then of each storage its length, eight
//! bytes, and its values.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::input::Input;
use super::objects::{Objects, Value};
use super::{Budget, Checked, Container, LONGEST_NAME, machine, shown, wrong};

/// The only version of the format that there is.
const VERSION: i64 = 1001;

/// Where the storages lie, by key.
#[derive(Debug)]
pub(super) struct Storages(BTreeMap<String, Range<u64>>);

impl Container for Storages {
    fn locate(&mut self, key: &str) -> Checked<Range<u64>> {
        match self.0.get(key) {
            Some(place) => Ok(place.clone()),
            None => wrong(format!(
                "is a damaged PyTorch file: storage '{}' is not in it",
                shown(key)
            )),
        }
    }
}

/// Opens a file of `length` bytes.
pub(super) fn open<R: Read + Seek>(
    reader: &mut R,
    length: u64,
    budget: &mut Budget,
) -> Checked<(Storages, Objects, Value)> {
    reader.rewind()?;
    let mut input = Input::new(&mut *reader, length);
    let (_, magic) = machine::run(&mut input, budget)?;
    if magic != Value::Magic {
        return wrong(
            "is a pickle that torch.save did not write; from pickles only its tables of tensors are read",
        );
    }
    let (_, version) = machine::run(&mut input, budget)?;
    if version != Value::Int(VERSION) {
        return wrong(format!(
            "is of a version of the format that is not {VERSION}"
        ));
    }
    let (about, said) = machine::run(&mut input, budget)?;
    let little = match said {
        Value::Dict(dict) => about.get(dict, "little_endian"),
        _ => None,
    };
    if little != Some(Value::Bool(true)) {
        return wrong("was saved on a machine whose numbers are big-endian; save it on another");
    }
    let (objects, root) = machine::run(&mut input, budget)?;
    let (listed, keys) = machine::run(&mut input, budget)?;
    let at = input.taken();

    let mut sizes = BTreeMap::new();
    for storage in &objects.storages {
        // Half-filled nodes of this tree and of the next, with keys of its own.
        budget.charge(192 + 2 * objects.text(storage.key).len())?;
        sizes.insert(
            objects.text(storage.key),
            (storage.dtype.bitsize() / 8) as u64,
        );
    }
    let Value::List(keys) = keys else {
        return wrong("is a damaged PyTorch file: it has no list of its storages");
    };
    let keys = listed.lists[keys as usize].iter().map(|key| match key {
        Value::Text(key) if listed.text(*key).len() <= LONGEST_NAME => Some(listed.text(*key)),
        _ => None,
    });
    place(reader, at, length, keys, &sizes).map(|places| (Storages(places), objects, root))
}

/// Goes over the storages, which begin at byte `at`.
fn place<'k, R: Read + Seek>(
    reader: &mut R,
    mut at: u64,
    length: u64,
    keys: impl Iterator<Item = Option<&'k str>>,
    sizes: &BTreeMap<&str, u64>,
) -> Checked<BTreeMap<String, Range<u64>>> {
    let mut places = BTreeMap::new();
    for key in keys {
        let Some((key, size)) = key.and_then(|key| Some((key, *sizes.get(key)?))) else {
            return wrong("is a damaged PyTorch file: it lists a storage that nothing is in");
        };
        let mut count = [0; 8];
        reader.seek(SeekFrom::Start(at))?;
        reader.read_exact(&mut count)?;
        let count = i64::from_le_bytes(count);
        let start = at + 8;
        let end = u64::try_from(count)
            .ok()
            .and_then(|count| start.checked_add(count.checked_mul(size)?));
        match end {
            Some(end) if end <= length => at = end,
            _ => {
                return wrong(format!(
                    "is no whole PyTorch file: storage '{}' has {count} elements from byte {start} on, which is beyond its end; it is cut \
                     short or damaged",
                    shown(key)
                ));
            }
        }
        if places.insert(key.to_owned(), start..at).is_some() {
            return wrong("is a damaged PyTorch file: it lists a storage twice");
        }
    }
    Ok(places)
}
