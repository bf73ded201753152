//! Binary files of a model: little-endian, counts before what they count. What a count claims is held against what is left of the file before
//! anything is made room for.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Image, Point, cameras::by_number, cameras::camera, pose};
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;

/// A file and how far it has been read.
struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, why: impl Into<String>) -> Error {
        Error::format(self.path, why)
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.wrong(format!(
                "cut short: its {} bytes end inside of {what}, which begins at byte {}",
                self.bytes.len(),
                self.at
            )));
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn int(&mut self, what: &str) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array(what)?))
    }

    fn long(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn reals<const N: usize>(&mut self, what: &str) -> Result<[f64; N]> {
        let bytes = self.take(8 * N, what)?;
        let (words, _) = bytes.as_chunks::<8>();
        let mut values = [0.0; N];
        for (value, word) in values.iter_mut().zip(words) {
            *value = f64::from_le_bytes(*word);
        }
        Ok(values)
    }

    /// A count of things of at least `least` bytes each, which the rest of the file must be able to hold.
    fn count(&mut self, least: usize, things: &str) -> Result<usize> {
        let count = self.long(things)?;
        let most = (self.bytes.len() - self.at) / least;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(self.wrong(format!(
                "claims {count} {things}, at byte {}, where the rest of the file holds at most {most}: it is damaged or cut short",
                self.at - 8
            ))),
        }
    }

    /// A text that ends at a zero.
    fn text(&mut self, what: &str) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|b| *b == 0) else {
            return Err(self.wrong(format!(
                "cut short: {what}, which begins at byte {}, has no end",
                self.at
            )));
        };
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }
}

pub(super) fn cameras(path: &Path, bytes: &[u8]) -> Result<BTreeMap<u32, Camera>> {
    let mut reader = Reader { path, bytes, at: 0 };
    let mut cameras = BTreeMap::new();
    for _ in 0..reader.count(24 + 3 * 8, "cameras")? {
        let number = reader.int("a camera")? as u32;
        let model = reader.int("a camera")?;
        let size = [reader.long("a camera")?, reader.long("a camera")?];
        let (name, count) = by_number(model).map_err(|why| reader.wrong(why))?;
        let (words, _) = reader.take(8 * count, "a camera")?.as_chunks::<8>();
        let parameters: Vec<f64> = words.iter().map(|w| f64::from_le_bytes(*w)).collect();
        let camera = camera(name, size, &parameters).map_err(|why| reader.wrong(why))?;
        cameras.insert(number, camera);
    }
    Ok(cameras)
}

pub(super) fn images(path: &Path, bytes: &[u8], with_points: bool) -> Result<Vec<Image>> {
    let mut reader = Reader { path, bytes, at: 0 };
    let count = reader.count(4 + 7 * 8 + 4 + 1 + 8, "pictures")?;
    let mut images = Vec::with_capacity(count);
    for _ in 0..count {
        reader.int("a picture")?;
        let quaternion = reader.reals("a picture's rotation")?;
        let shift = reader.reals("a picture's shift")?;
        let camera = reader.int("a picture's camera")? as u32;
        let name = reader.text("a picture's name")?;
        let pose = pose(quaternion, shift)
            .map_err(|why| reader.wrong(format!("picture {name}: {why}")))?;
        let places = reader.count(24, "places in a picture")?;
        let (rows, _) = reader
            .take(24 * places, "a picture's places")?
            .as_chunks::<24>();
        let real = |row: &[u8; 24], at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&row[at..at + 8]);
            u64::from_le_bytes(word)
        };
        // -1 is what belongs to no place.
        let seen = rows
            .iter()
            .filter(|row| with_points && real(row, 16) != u64::MAX);
        let one = |row: &[u8; 24]| {
            let at = [0, 8].map(|at| f64::from_bits(real(row, at)));
            (at, real(row, 16))
        };
        images.push(Image {
            name,
            pose,
            camera,
            seen: seen
                .map(one)
                .filter(|(at, _)| at.iter().all(|x: &f64| x.is_finite()))
                .collect(),
        });
    }
    Ok(images)
}

pub(super) fn points(path: &Path, bytes: &[u8]) -> Result<Vec<Point>> {
    let mut reader = Reader { path, bytes, at: 0 };
    let count = reader.count(8 + 3 * 8 + 3 + 8 + 8, "places")?;
    let mut points = Vec::with_capacity(count);
    for _ in 0..count {
        let number = reader.long("a place")?;
        let at: [f64; 3] = reader.reals("a place")?;
        if at.iter().any(|x| !x.is_finite()) {
            return Err(reader.wrong(format!("place {number} is at {at:?}")));
        }
        reader.take(3 + 8, "a place's colour")?;
        let seen = reader.count(8, "pictures of a place")?;
        reader.take(8 * seen, "a place's pictures")?;
        points.push(Point { number, at });
    }
    Ok(points)
}
