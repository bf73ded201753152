//! Scenes of LLFF (Mildenhall et al. 2019): `poses_bounds.npy`, a row a picture, and the pictures in the order of their names.
//!
//! ```
//! use std::path::Path;
//! use wgen::data::scene::llff;
//! use wgen::report::depth::npy;
//!
//! // [down, right, back, position, (height, width, focal length)] row after row, nearest and farthest depth.
//! let row = [0., 1., 0., 7., 480., -1., 0., 0., 8., 640., 0., 0., 1., 9., 500., 2., 30.];
//! let views = llff::from_bytes(Path::new("poses_bounds.npy"), &npy(&row, &[1, 17])?)?;
//! assert_eq!((views[0].camera.width, views[0].camera.fx, views[0].bounds), (640, 500.0, [2.0, 30.0]));
//! assert_eq!(views[0].pose.0, [1., 0., 0., 7., 0., 1., 0., 8., 0., 0., 1., 9.]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::path::{Path, PathBuf};

use super::format::Format;
use super::listed::{Frame, Listed, Sight, Which};
use super::npy;
use super::path::mean;
use super::pose::{Pose, dot};
use super::world::World;
use crate::data::images;
use crate::data::report::Used;
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;

/// nerf-pytorch's `bd_factor`: the nearest depth of all becomes its inverse.
const NEAREST: f64 = 0.75;

/// The largest file that is read.
const MAX_BYTES: u64 = 256 << 20;

/// A row of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Its camera, of pictures of the size that the row says.
    pub camera: Camera,
    /// Where it was taken, in axes as everywhere here.
    pub pose: Pose,
    /// Nearest and farthest depth of what is seen in it.
    pub bounds: [f64; 2],
}

/// The rows of a `poses_bounds.npy`; `path` is for messages alone.
///
/// # Errors
/// When it is no table of 17 real columns, or a row has no pose, no camera or no depths.
pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Vec<View>> {
    let table = npy::table(path, bytes)?;
    if table.columns != 17 || table.rows == 0 {
        return Err(Error::format(
            path,
            format!(
                "has {} rows of {} numbers; each picture has 17: a 3 x 5 matrix of pose, height, width and focal length, and two depths",
                table.rows, table.columns
            ),
        ));
    }
    let (rows, _) = table.values.as_chunks::<17>();
    let one = |(i, row): (usize, &[f64; 17])| {
        view(row).map_err(|why| Error::format(path, format!("row {i}: {why}")))
    };
    rows.iter().enumerate().map(one).collect()
}

fn view(row: &[f64; 17]) -> Result<View, String> {
    let matrix = |r: usize, c: usize| row[5 * r + c];
    let column = |c: usize| [0, 1, 2].map(|r| matrix(r, c));
    let [down, right, back, position, [height, width, focal]] = [0, 1, 2, 3, 4].map(column);
    let pose = Pose::from_axes(right, down.map(|d| -d), back, position);
    if pose.0.iter().any(|x| !(*x as f32).is_finite()) {
        return Err("its pose has what is not a finite number".to_owned());
    }
    pose.check().map_err(|why| format!("its pose {why}"))?;
    let sides = 1.0..=1e6;
    if !(sides.contains(&height) && sides.contains(&width) && focal > 0.0 && focal.is_finite()) {
        return Err(format!(
            "pictures of {width} x {height} with a focal length of {focal} pixels are none"
        ));
    }
    let bounds = [row[15], row[16]];
    if !(bounds[0] > 0.0 && bounds[0] < bounds[1] && bounds[1].is_finite()) {
        return Err(format!(
            "its depths from {} to {} must be above 0, the nearest first",
            bounds[0], bounds[1]
        ));
    }
    Ok(View {
        camera: Camera::centred(width.round() as usize, height.round() as usize, focal),
        pose,
        bounds,
    })
}

/// A part of the scene in `dir`.
pub(super) fn list(dir: &Path, which: Which) -> Result<Listed> {
    let list = dir.join("poses_bounds.npy");
    let size = list.metadata().map_err(|e| Error::io(&list, e))?.len();
    if size > MAX_BYTES {
        let message = format!("has {size} bytes; at most {MAX_BYTES} are read");
        return Err(Error::format(&list, message));
    }
    let bytes = std::fs::read(&list).map_err(|e| Error::io(&list, e))?;
    let views = from_bytes(&list, &bytes)?;
    let pictures = pictures(dir)?;
    if pictures.len() != views.len() {
        let folder = pictures.first().and_then(|p| p.parent()).unwrap_or(dir);
        return Err(Error::format(
            &list,
            format!(
                "has {} rows, and there are {} pictures in {}: rows have no names, so that each must have its picture, in the order of names",
                views.len(),
                pictures.len(),
                folder.display()
            ),
        ));
    }
    let mut notes = Vec::new();
    let world = world_of(&views, &mut notes);
    let depths = |of: fn(f64, f64) -> f64, which: usize| {
        views
            .iter()
            .map(|v| v.bounds[which])
            .reduce(of)
            .unwrap_or(1.0)
    };
    let bounds = [depths(f64::min, 0), depths(f64::max, 1)].map(|x| x * world.scale);
    let one = |(view, picture): (&View, PathBuf)| Frame {
        name: picture
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        picture: Some(picture),
        mask: None,
        pose: view.pose,
        sight: Sight::Camera(view.camera),
        seen: Vec::new(),
    };
    let mut listed = Listed {
        format: Format::Llff,
        list,
        frames: views.iter().zip(pictures).map(one).collect(),
        used: Used::All,
        held_out: 0,
        world,
        half_side: None,
        bounds: Some(bounds),
        points: Vec::new(),
        notes,
    };
    listed.every_eighth(which);
    Ok(listed)
}

/// nerf-pytorch's world: the nearest depth is 1 / 0.75, and the mean of the cameras stands at the origin and looks along -z.
fn world_of(views: &[View], notes: &mut Vec<String>) -> World {
    let nearest = views
        .iter()
        .map(|v| v.bounds[0])
        .fold(f64::INFINITY, f64::min);
    let scale = 1.0 / (NEAREST * nearest);
    let poses: Vec<Pose> = views.iter().map(|v| v.pose).collect();
    let mean = mean(&poses).unwrap_or_else(|_| {
        notes.push(
            "its cameras look all ways, so that they have no mean to look along: the world is not turned"
                .to_owned(),
        );
        let count = poses.len().max(1) as f64;
        let place = poses.iter().fold([0.0; 3], |sum, pose| {
            let p = pose.position();
            [0, 1, 2].map(|i| sum[i] + p[i] / count)
        });
        let [x, y, z] = World::default().rotation;
        Pose::from_axes(x, y, z, place)
    });
    let rotation = [0, 1, 2].map(|axis| mean.axis(axis));
    World {
        scale,
        rotation,
        shift: rotation.map(|row| -scale * dot(row, mean.position())),
    }
}

/// The pictures of a scene in the order of their names: those in `images`, else those beside the list.
fn pictures(dir: &Path) -> Result<Vec<PathBuf>> {
    let folder = Some(dir.join("images")).filter(|folder| folder.is_dir());
    let folder = folder.unwrap_or_else(|| dir.to_owned());
    let mut pictures = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
        let path = entry.map_err(|e| Error::io(&folder, e))?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.is_file() && images::has_ending(&path) {
            pictures.push(path);
        }
    }
    pictures.sort();
    Ok(pictures)
}
