//! Files as `torch.save` writes them, put together by hand, so that what no PyTorch writes can be made too. Opcodes are those of Python's
//! pickletools.py.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;

use super::saved::Stored;

/// The number that a row of pickles begins with, as one.
pub(crate) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The bytes of a storage and its key.
pub(crate) type Blob = (String, Vec<u8>);

/// BINUNICODE.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

/// LONG1 of eight bytes.
pub(crate) fn int(n: i64) -> Vec<u8> {
    [&[0x8a, 8], &n.to_le_bytes()[..]].concat()
}

/// MARK, items, TUPLE.
pub(crate) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

/// GLOBAL.
pub(crate) fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// GLOBAL, arguments, REDUCE.
pub(crate) fn call(module: &str, name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    [&global(module, name)[..], &tuple(arguments), b"R"].concat()
}

/// A persistent id.
pub(crate) fn storage(dtype: Dtype, key: &str, count: i64) -> Vec<u8> {
    let class = match dtype {
        Dtype::F32 => "FloatStorage",
        Dtype::F64 => "DoubleStorage",
        Dtype::F16 => "HalfStorage",
        Dtype::BF16 => "BFloat16Storage",
        Dtype::I64 => "LongStorage",
        Dtype::I32 => "IntStorage",
        Dtype::I16 => "ShortStorage",
        Dtype::I8 => "CharStorage",
        Dtype::U8 => "ByteStorage",
        Dtype::BOOL => "BoolStorage",
        other => panic!("PyTorch has no storage of {other:?}"),
    };
    let id = tuple(&[
        text("storage"),
        global("torch", class),
        text(key),
        text("cuda:0"),
        int(count),
    ]);
    [&id[..], b"Q"].concat()
}

/// A view into a storage.
pub(crate) fn view(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let ints = |ints: &[i64]| tuple(&ints.iter().map(|n| int(*n)).collect::<Vec<_>>());
    let hooks = call("collections", "OrderedDict", &[]);
    let no = vec![0x89];
    let arguments = [storage, int(offset), ints(shape), ints(strides), no, hooks];
    call("torch._utils", "_rebuild_tensor_v2", &arguments)
}

/// Strides of values that lie one after another.
pub(crate) fn strides(shape: &[i64]) -> Vec<i64> {
    let after = |i: usize| shape[i + 1..].iter().product();
    (0..shape.len()).map(after).collect()
}

/// EMPTY_DICT, MARK, keys and values, SETITEMS.
pub(crate) fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs = pairs
        .iter()
        .flat_map(|(key, value)| [text(key), value.clone()]);
    [b"}(", &pairs.collect::<Vec<_>>().concat()[..], b"u"].concat()
}

/// PROTO 2, what makes the object, STOP.
pub(crate) fn pickle(object: &[u8]) -> Vec<u8> {
    [b"\x80\x02", object, b"."].concat()
}

/// A row of pickles and the storages, each with its count of elements of so many bytes.
pub(crate) fn legacy(object: &[u8], storages: &[(Blob, usize)]) -> Vec<u8> {
    let about = [&b"}"[..], &text("little_endian"), b"\x88s"].concat();
    let keys: Vec<u8> = storages
        .iter()
        .flat_map(|((key, _), _)| text(key))
        .collect();
    let keys = [b"](", &keys[..], b"e"].concat();
    let mut file = [
        MAGIC,
        &pickle(&int(1001)),
        &pickle(&about),
        &pickle(object),
        &pickle(&keys),
    ]
    .concat();
    for ((_, bytes), size) in storages {
        file.extend(((bytes.len() / size) as i64).to_le_bytes());
        file.extend(bytes);
    }
    file
}

/// A zip of an object and its storages.
pub(crate) fn zip(object: &[u8], storages: &[Blob]) -> Vec<u8> {
    let mut entries = vec![
        ("archive/data.pkl".to_owned(), pickle(object)),
        ("archive/byteorder".to_owned(), b"little".to_vec()),
    ];
    let own = storages
        .iter()
        .map(|(key, bytes)| (format!("archive/data/{key}"), bytes.clone()));
    entries.extend(own);
    entries.push(("archive/version".to_owned(), b"3\n".to_vec()));
    zip_of(&entries, false)
}

/// A zip of stored entries whose bytes lie at multiples of 64, as PyTorch has them; `wide` as those of more than 4 GiB are written.
pub(crate) fn zip_of(entries: &[Blob], wide: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let place = file.len() as u64;
        let head = directory_head(name, bytes.len() as u64, place, wide);
        directory.extend(head);
        file.extend(local_head(name, bytes.len() as u64, place));
        file.extend(bytes);
    }
    let start = file.len() as u64;
    file.extend(&directory);
    file.extend(end_of_zip(
        entries.len() as u64,
        start,
        directory.len() as u64,
        wide,
    ));
    file
}

/// What stands before an entry's bytes at `place`.
pub(crate) fn local_head(name: &str, size: u64, place: u64) -> Vec<u8> {
    let unpadded = place + 30 + name.len() as u64 + 4;
    let padding = unpadded.next_multiple_of(64) - unpadded;
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let mut head = b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend([size, size].iter().flat_map(|n| n.to_le_bytes()));
    head.extend((name.len() as u16).to_le_bytes());
    head.extend((padding as u16 + 4).to_le_bytes());
    head.extend(name.bytes().chain(*b"FB"));
    head.extend((padding as u16).to_le_bytes());
    head.resize(head.len() + padding as usize, b'Z');
    head
}

/// An entry of the directory.
pub(crate) fn directory_head(name: &str, size: u64, place: u64, wide: bool) -> Vec<u8> {
    let narrow = |n: u64| match wide {
        true => [0xff; 4],
        false => (n as u32).to_le_bytes(),
    };
    let mut extra = Vec::new();
    if wide {
        extra.extend([1, 0, 24, 0]);
        extra.extend([size, size, place].iter().flat_map(|n| n.to_le_bytes()));
    }
    let mut head = b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend([narrow(size), narrow(size)].concat());
    head.extend((name.len() as u16).to_le_bytes());
    head.extend((extra.len() as u16).to_le_bytes());
    head.extend([0; 10]);
    head.extend(narrow(place));
    head.extend(name.bytes().chain(extra));
    head
}

/// The end of a zip whose directory has `size` bytes from `start` on.
pub(crate) fn end_of_zip(count: u64, start: u64, size: u64, wide: bool) -> Vec<u8> {
    let mut end = Vec::new();
    if wide {
        end.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        let numbers = [count, count, size, start, start + size];
        end.extend(numbers[..4].iter().flat_map(|n| n.to_le_bytes()));
        end.extend(b"PK\x06\x07\0\0\0\0");
        end.extend(numbers[4].to_le_bytes());
        end.extend([1, 0, 0, 0]);
    }
    let count = if wide { u16::MAX } else { count as u16 };
    end.extend(b"PK\x05\x06\0\0\0\0");
    end.extend([count, count].iter().flat_map(|n| n.to_le_bytes()));
    for n in [size, start] {
        let n = if wide { u32::MAX } else { n as u32 };
        end.extend(n.to_le_bytes());
    }
    end.extend([0, 0]);
    end
}

/// The two containers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Container {
    Zip,
    Legacy,
}

pub(crate) const BOTH: [Container; 2] = [Container::Zip, Container::Legacy];

/// A name and the pickle of what it is of.
pub(crate) type Named<'a> = (&'a str, Vec<u8>);

/// The objects of tensors, a storage each, by name; and the storages.
pub(crate) fn objects(tensors: &BTreeMap<String, Stored>) -> (Vec<Named<'_>>, Vec<(Blob, usize)>) {
    let each = tensors
        .iter()
        .enumerate()
        .map(|(i, (name, (dtype, shape, bytes)))| {
            let key = i.to_string();
            let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
            let count = (bytes.len() / (dtype.bitsize() / 8)) as i64;
            let view = view(storage(*dtype, &key, count), 0, &shape, &strides(&shape));
            (
                (&name[..], view),
                ((key, bytes.clone()), (dtype.bitsize() / 8)),
            )
        });
    each.unzip()
}

/// A file of an object and its storages.
pub(crate) fn packed(container: Container, object: &[u8], storages: &[(Blob, usize)]) -> Vec<u8> {
    match container {
        Container::Zip => zip(
            object,
            &storages
                .iter()
                .map(|(blob, _)| blob.clone())
                .collect::<Vec<_>>(),
        ),
        Container::Legacy => legacy(object, storages),
    }
}

/// A state dict of tensors.
pub(crate) fn saved(container: Container, tensors: &BTreeMap<String, Stored>) -> Vec<u8> {
    let (pairs, storages) = objects(tensors);
    packed(container, &dict(&pairs), &storages)
}
