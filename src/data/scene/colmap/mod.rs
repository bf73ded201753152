//! Sparse models of COLMAP, text and binary: cameras with their lenses, where pictures were taken, and the places that were found with them.
//!
//! ```
//! use std::path::Path;
//! use wgen::data::scene::colmap::{Encoding, Files, from_bytes};
//!
//! let files = Files {
//!     cameras: b"# a comment\n1 SIMPLE_RADIAL 640 480 500 320 240 -0.1\n",
//!     // Looking along the world's +z, 5 before its origin; of the second picture no place is known.
//!     images: b"1 1 0 0 0 0 0 5 1 with a space.jpg\n320 240 7 1 2 -1\n2 1 0 0 0 1 0 5 1 b.jpg\n\n",
//!     points: Some(b"7 0 0 0 255 255 255 0.5 1 0\n"),
//! };
//! let model = from_bytes(Path::new("sparse/0"), Encoding::Text, &files)?;
//! let image = &model.images[0];
//! assert_eq!((image.name.as_str(), image.pose.position()), ("with a space.jpg", [0.0, 0.0, -5.0]));
//! assert_eq!((image.seen.as_slice(), model.points[0].at), (&[([320.0, 240.0], 7)][..], [0.0; 3]));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::format::Format;
use super::listed::{Frame, Listed, Sight, Which};
use super::pose::Pose;
use super::{sight, transforms};
use crate::data::report::Used;
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;

mod binary;
mod cameras;
mod text;

/// The largest file of a model that is read.
const MAX_BYTES: u64 = 8 << 30;

/// A sparse model, in its own world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Cameras by their numbers.
    pub cameras: BTreeMap<u32, Camera>,
    /// Pictures, in the order of the file.
    pub images: Vec<Image>,
    /// Places, in the order of the file.
    pub points: Vec<Point>,
}

/// A picture of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its name, from the folder of pictures on.
    pub name: String,
    /// Where it was taken, from camera to world; as everywhere here the camera looks along its -z.
    pub pose: Pose,
    /// The number of its camera.
    pub camera: u32,
    /// Places that are seen in it: where, in pixels from the left and the top, and their numbers.
    pub seen: Vec<([f64; 2], u64)>,
}

/// A place that was found with the cameras.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub at: [f64; 3],
}

/// How a model is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `cameras.txt`, `images.txt`, `points3D.txt`.
    Text,
    /// `cameras.bin`, `images.bin`, `points3D.bin`.
    Binary,
}

impl Encoding {
    fn ending(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Binary => "bin",
        }
    }
}

/// What is in a model's files.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// Of `cameras`.
    pub cameras: &'a [u8],
    /// Of `images`.
    pub images: &'a [u8],
    /// Of `points3D`; without it no place is read, neither those that pictures see.
    pub points: Option<&'a [u8]>,
}

/// Reads a model; `folder` is for messages alone.
///
/// # Errors
/// When a file is cut short or malformed, a camera's model is not known, or a picture's camera is none of them.
pub fn from_bytes(folder: &Path, encoding: Encoding, files: &Files<'_>) -> Result<Model> {
    let path = |name: &str| folder.join(format!("{name}.{}", encoding.ending()));
    let with_points = files.points.is_some();
    let (cameras, images, points) = match encoding {
        Encoding::Text => (
            text::cameras(&path("cameras"), files.cameras)?,
            text::images(&path("images"), files.images, with_points)?,
            files
                .points
                .map(|bytes| text::points(&path("points3D"), bytes)),
        ),
        Encoding::Binary => (
            binary::cameras(&path("cameras"), files.cameras)?,
            binary::images(&path("images"), files.images, with_points)?,
            files
                .points
                .map(|bytes| binary::points(&path("points3D"), bytes)),
        ),
    };
    if let Some(image) = images.iter().find(|i| !cameras.contains_key(&i.camera)) {
        let message = format!(
            "picture {} is of camera {}, which is none of {}",
            image.name,
            image.camera,
            path("cameras").display()
        );
        return Err(Error::format(path("images"), message));
    }
    Ok(Model {
        cameras,
        images,
        points: points.transpose()?.unwrap_or_default(),
    })
}

/// Reads the model in a folder, binary where it is there in both ways; places only where they are wanted and there.
///
/// # Errors
/// As [`from_bytes`], and when a file is not there.
pub fn read(folder: &Path, with_points: bool) -> Result<Model> {
    let encoding = encoding_of(folder).ok_or_else(|| {
        Error::format(
            folder,
            "has no cameras.bin and images.bin, nor these as .txt",
        )
    })?;
    let path = |name: &str| folder.join(format!("{name}.{}", encoding.ending()));
    let cameras = bytes_of(&path("cameras"))?;
    let images = bytes_of(&path("images"))?;
    let there = with_points && path("points3D").is_file();
    let points = there.then(|| bytes_of(&path("points3D"))).transpose()?;
    let files = Files {
        cameras: &cameras,
        images: &images,
        points: points.as_deref(),
    };
    from_bytes(folder, encoding, &files)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let size = path.metadata().map_err(|e| Error::io(path, e))?.len();
    if size > MAX_BYTES {
        let message = format!("has {size} bytes; models of at most {MAX_BYTES} a file are read");
        return Err(Error::format(path, message));
    }
    std::fs::read(path).map_err(|e| Error::io(path, e))
}

fn encoding_of(folder: &Path) -> Option<Encoding> {
    let is_there = |encoding: &Encoding| {
        let file = |name: &str| folder.join(format!("{name}.{}", encoding.ending()));
        file("cameras").is_file() && file("images").is_file()
    };
    [Encoding::Binary, Encoding::Text]
        .into_iter()
        .find(is_there)
}

/// The folders in a scene's folder that have a model.
pub(super) fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for base in ["", "sparse", "colmap/sparse"] {
        let folder = if base.is_empty() {
            dir.to_owned()
        } else {
            dir.join(base)
        };
        // Models that did not come together are numbered.
        let mut numbered: Vec<(u64, PathBuf)> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
            .collect();
        numbered.sort();
        if base.is_empty() {
            numbered.clear();
        }
        let all = std::iter::once(folder).chain(numbered.into_iter().map(|(_, path)| path));
        found.extend(all.filter(|path| encoding_of(path).is_some()));
    }
    found
}

/// A part of the scene whose model lies in a folder of `dir`: of several models the one with most pictures.
pub(super) fn list(dir: &Path, which: Which, with_points: bool) -> Result<Listed> {
    let mut notes = Vec::new();
    let mut chosen: Option<(PathBuf, Model)> = None;
    let folders = folders(dir);
    let mut failed = None;
    for folder in &folders {
        let model = match read(folder, with_points) {
            Ok(model) => model,
            Err(error) if folders.len() > 1 => {
                notes.push(format!("a model is passed over: {error}"));
                failed = failed.or(Some(error));
                continue;
            }
            Err(error) => return Err(error),
        };
        let most = chosen.as_ref().map_or(0, |(_, m)| m.images.len());
        if chosen.is_none() || model.images.len() > most {
            chosen = Some((folder.clone(), model));
        }
    }
    let Some((folder, model)) = chosen else {
        return Err(failed.unwrap_or_else(|| Error::format(dir, "has no model of COLMAP")));
    };
    if folders.len() > 1 {
        notes.push(format!(
            "{} models lie in it; {} has most pictures and is read",
            folders.len(),
            folder.display()
        ));
    }
    let encoding = encoding_of(&folder).unwrap_or(Encoding::Binary);
    let list = folder.join(format!("images.{}", encoding.ending()));
    if model.images.is_empty() {
        return Err(Error::format(list, "lists no pictures"));
    }
    let Model {
        cameras,
        mut images,
        points,
    } = model;
    images.sort_by(|a, b| a.name.cmp(&b.name));
    let places: BTreeMap<u64, usize> = points.iter().map(|p| p.number).zip(0..).collect();
    let pictures = pictures_folder(dir, &folder);
    let one = |image: Image| {
        let mask = |name: &str| transforms::find(&dir.join("masks"), name);
        // COLMAP's name has the picture's with its ending; tools write it without, too.
        let stem = Path::new(&image.name).with_extension("png");
        let seen = image.seen.iter();
        Ok(Frame {
            picture: transforms::find(&pictures, &image.name),
            mask: mask(&format!("{}.png", image.name)).or_else(|| mask(stem.to_str()?)),
            pose: image.pose,
            sight: Sight::Camera(cameras[&image.camera]),
            seen: seen
                .filter_map(|(at, number)| Some((*at, *places.get(number)?)))
                .collect(),
            name: image.name,
        })
    };
    let frames: Vec<Frame> = images.into_iter().map(one).collect::<Result<_>>()?;
    let poses: Vec<Pose> = frames.iter().map(|f| f.pose).collect();
    let mut listed = Listed {
        format: Format::Colmap,
        list,
        frames,
        used: Used::All,
        held_out: 0,
        world: sight::upright(&poses),
        half_side: None,
        bounds: None,
        points: points.iter().map(|p| p.at).collect(),
        notes,
    };
    listed.every_eighth(which);
    Ok(listed)
}

/// The folder that pictures' names go from: `images` of the scene, or of where its model lies, else the scene's.
fn pictures_folder(dir: &Path, model: &Path) -> PathBuf {
    let real = std::fs::canonicalize(model).unwrap_or_else(|_| model.to_owned());
    let above = real.ancestors().take(4).map(|folder| folder.join("images"));
    let all = std::iter::once(dir.join("images")).chain(above);
    let mut there = all.filter(|folder| folder.is_dir());
    there.next().unwrap_or_else(|| dir.to_owned())
}

/// The pose of a picture by what a model says: the quaternion (w, x, y, z) and the shift from the world to the camera, which looks along +z, y down.
fn pose(quaternion: [f64; 4], shift: [f64; 3]) -> Result<Pose, String> {
    let length = quaternion.iter().map(|x| x * x).sum::<f64>().sqrt();
    if !(length.is_normal() && shift.iter().all(|x| x.is_finite())) {
        return Err(format!(
            "its rotation {quaternion:?} and shift {shift:?} are no pose"
        ));
    }
    let [w, x, y, z] = quaternion.map(|q| q / length);
    let rotation = [
        [
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y - w * z),
            2.0 * (x * z + w * y),
        ],
        [
            2.0 * (x * y + w * z),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (y * z - w * x),
        ],
        [
            2.0 * (x * z - w * y),
            2.0 * (y * z + w * x),
            1.0 - 2.0 * (x * x + y * y),
        ],
    ];
    let [right, down, forwards] = rotation;
    let place = [0, 1, 2].map(|i| -(0..3).map(|row| rotation[row][i] * shift[row]).sum::<f64>());
    let pose = Pose::from_axes(right, down.map(|d| -d), forwards.map(|f| -f), place);
    if place.iter().any(|x| !(*x as f32).is_finite()) {
        return Err(format!("its shift {shift:?} is too far"));
    }
    Ok(pose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pose_is_turned_round_and_looks_along_its_minus_z() {
        let pose = pose([0.5; 4], [1.0, 2.0, 3.0]).unwrap();
        let expected = [
            [0.0, -1.0, 0.0, -2.0],
            [0.0, 0.0, -1.0, -3.0],
            [1.0, 0.0, 0.0, -1.0],
        ];
        let pairs = pose.0.iter().zip(expected.as_flattened());
        assert!(
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12),
            "{pose:?}"
        );
        assert!(pose.check().is_ok());
        for wrong in [[0.0; 4], [f64::NAN, 0.0, 0.0, 1.0]] {
            assert!(super::pose(wrong, [0.0; 3]).is_err());
        }
        assert!(super::pose([1.0, 0.0, 0.0, 0.0], [f64::INFINITY, 0.0, 0.0]).is_err());
        assert!(super::pose([1.0, 0.0, 0.0, 0.0], [1e39, 0.0, 0.0]).is_err());
    }
}
