//! Text files of a model: a line a camera, two a picture, of which the second may be empty, one a place.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Image, Point, cameras::by_name, cameras::camera, pose};
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;

/// The lines of a file with their numbers, comments left out.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &str, &[u8])> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let all = (1..).zip(bytes.split(|b| *b == b'\n'));
    let shown = all.map(|(number, line)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Only names may be no UTF-8, and stand at a line's end.
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or(""),
        };
        (number, text, line)
    });
    shown.filter(|(_, text, _)| !text.trim_start().starts_with('#'))
}

/// The next word of a line as a value.
fn word<T: std::str::FromStr>(rest: &mut &str, what: &str) -> Result<T, String> {
    let line = rest.trim_start();
    let end = line.find(char::is_whitespace).unwrap_or(line.len());
    let (word, behind) = line.split_at(end);
    *rest = behind;
    word.parse().map_err(|_| match word {
        "" => format!("has no {what}"),
        word => format!("'{word}' is no {what}"),
    })
}

fn reals<const N: usize>(rest: &mut &str, what: &str) -> Result<[f64; N], String> {
    let mut values = [0.0; N];
    for value in &mut values {
        *value = word(rest, what)?;
    }
    Ok(values)
}

fn at_line(path: &Path, number: usize) -> impl Fn(String) -> Error {
    move |why| Error::format(path, format!("line {number}: {why}"))
}

pub(super) fn cameras(path: &Path, bytes: &[u8]) -> Result<BTreeMap<u32, Camera>> {
    let one = |mut rest: &str| {
        let number = word::<u32>(&mut rest, "camera's number")?;
        let model: String = word(&mut rest, "camera's model")?;
        let size = [(); 2].map(|()| word::<u64>(&mut rest, "picture's size"));
        let [Ok(width), Ok(height)] = size else {
            return Err("says no width and height of its pictures".to_owned());
        };
        let mut parameters = Vec::new();
        // One too many tells as well as all of a long line.
        while !rest.trim_start().is_empty() && parameters.len() <= by_name(&model)? {
            parameters.push(word(&mut rest, "parameter of a camera")?);
        }
        Ok((number, camera(&model, [width, height], &parameters)?))
    };
    let mut cameras = BTreeMap::new();
    for (number, line, _) in lines(bytes).filter(|(_, line, _)| !line.trim().is_empty()) {
        let (id, camera) = one(line).map_err(at_line(path, number))?;
        cameras.insert(id, camera);
    }
    Ok(cameras)
}

pub(super) fn images(path: &Path, bytes: &[u8], with_points: bool) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    let mut lines = lines(bytes);
    while let Some((number, line, raw)) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = at_line(path, number);
        let mut rest = line;
        let head = |rest: &mut &str| {
            word::<u32>(rest, "picture's number")?;
            let quaternion = reals(rest, "number of a picture's rotation")?;
            let shift = reals(rest, "number of a picture's shift")?;
            let camera = word(rest, "number of a picture's camera")?;
            Ok((pose(quaternion, shift)?, camera))
        };
        let (pose, camera) = head(&mut rest).map_err(&wrong)?;
        // A name may have spaces: it is all that is left of the line, of which its end may be no UTF-8.
        let begins = line.len() - rest.len();
        let name = String::from_utf8_lossy(&raw[begins..]).trim().to_owned();
        if name.is_empty() {
            return Err(wrong("has no picture's name".to_owned()));
        }
        let mut seen = Vec::new();
        if let Some((number, line, _)) = lines.next().filter(|_| with_points) {
            let mut rest = line;
            while !rest.trim_start().is_empty() {
                let place = || {
                    let at = reals(&mut rest, "place in a picture")?;
                    Ok((at, word::<i64>(&mut rest, "number of a place")?))
                };
                let found: Result<_, String> = { place }();
                let (at, point) = found.map_err(at_line(path, number))?;
                let is_place = at.iter().all(|x: &f64| x.is_finite());
                seen.extend(
                    u64::try_from(point)
                        .ok()
                        .filter(|_| is_place)
                        .map(|point| (at, point)),
                );
            }
        }
        images.push(Image {
            name,
            pose,
            camera,
            seen,
        });
    }
    Ok(images)
}

pub(super) fn points(path: &Path, bytes: &[u8]) -> Result<Vec<Point>> {
    let one = |mut rest: &str| {
        let number = word(&mut rest, "number of a place")?;
        let at: [f64; 3] = reals(&mut rest, "number of a place's position")?;
        if at.iter().any(|x| !x.is_finite()) {
            return Err(format!("place {number} is at {at:?}"));
        }
        Ok(Point { number, at })
    };
    lines(bytes)
        .filter(|(_, line, _)| !line.trim().is_empty())
        .map(|(number, line, _)| one(line).map_err(at_line(path, number)))
        .collect()
}
