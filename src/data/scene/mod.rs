//! Posed pictures as a data set of rays: what a radiance field learns from.
//!
//! An example is a ray, not a picture: a row of eight bytes, the pixel's colour and alpha as the file has them (straight, 8 bits) and its
//! number, counted view after view, line after line ([`camera_rays`](crate::kernels::camera_rays)). What turns numbers into rays, one
//! [`Camera`] and a [`Pose`] a view, stands in [`Dataset::views`].
//!
//! ```
//! use wgen::data::idx::Part;
//! use wgen::data::{Spec, images::Options, scene};
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = |name: &str| dir.path().join(name);
//!
//! let list = r#"{"camera_angle_x": 0.69, "frames": [{"file_path": "./front",
//!     "transform_matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]}]}"#;
//! std::fs::write(path("transforms_train.json"), list).unwrap();
//! image::RgbaImage::from_pixel(4, 2, image::Rgba([200, 100, 0, 128])).save(path("front.png")).unwrap();
//!
//! let read = Spec::Scene(dir.path().to_owned()).read(Part::Training, &Options::default())?;
//! let views = read.data.views.as_ref().unwrap();
//! assert_eq!((read.data.rows(), read.data.shape.count()), (4 * 2, scene::ROW_BYTES));
//! assert_eq!((views.poses[0].position(), views.has_alpha()), ([0.0, 0.0, 4.0], true));
//! assert!((views.camera.field_of_view()[0] - 0.69_f64.to_degrees()).abs() < 1e-9);
//! # Ok::<(), wgen::Error>(())
//! ```
//!
//! Scenes of Blender are read: `transforms_train.json`, `transforms_test.json`, `transforms_val.json`. [`analytic`] draws one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::idx::Part;
use super::images::{self, Options};
use super::report::{Loaded, Posed, Report, Used};
use super::{Dataset, ImageShape};
use crate::error::{Error, Result};
use crate::nn::init::{hash, hash_on};
use crate::tensor::Data;

pub mod analytic;
pub mod path;
mod pose;
mod transforms;

pub use crate::kernels::camera_rays::{Camera, POSE_FLOATS, ROW_BYTES, row};
pub use pose::Pose;

use transforms::{Frame, Listed};

/// What one example is: a row of a ray.
pub const RAY: ImageShape = ImageShape {
    height: 1,
    width: 1,
    channels: ROW_BYTES,
};

/// Pictures of one size and where they were taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// The camera of all of them.
    pub camera: Camera,
    /// Where it was, a view each.
    pub poses: Vec<Pose>,
    /// Their names.
    pub names: Vec<String>,
    /// How many of them are transparent anywhere.
    pub transparent: usize,
}

/// What graphs have to know of views.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cameras {
    /// The camera of all views.
    pub camera: Camera,
    /// How many views there are.
    pub count: usize,
    /// Whether anything in them is transparent.
    pub alpha: bool,
}

impl Cameras {
    /// Refuses pictures without alpha where what is behind them is to be random: nothing is behind them, and the field would learn the
    /// background of the pictures as a wall.
    ///
    /// # Errors
    /// When nothing is transparent.
    pub fn check_random_background(&self) -> Result<()> {
        if self.alpha {
            return Ok(());
        }
        Err(Error::field(
            "scene_background",
            "random needs pictures that are transparent where there is nothing, and none of these is: give white or black, or pictures with alpha (PNG)",
        ))
    }
}

impl Views {
    /// Whether anything is transparent.
    pub fn has_alpha(&self) -> bool {
        self.transparent > 0
    }

    /// What graphs have to know.
    pub fn cameras(&self) -> Cameras {
        Cameras {
            camera: self.camera,
            count: self.poses.len(),
            alpha: self.has_alpha(),
        }
    }

    /// All poses, `[views, 12]` row-major.
    pub fn matrix(&self) -> Vec<f32> {
        let all = self.poses.iter().flat_map(|pose| pose.0);
        all.map(|x| x as f32).collect()
    }

    /// Least, mean and greatest distance of the cameras from the world's origin.
    pub fn distances(&self) -> [f64; 3] {
        let all: Vec<f64> = self.poses.iter().map(Pose::distance).collect();
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = all.iter().copied().fold(0.0, f64::max);
        [
            least,
            all.iter().sum::<f64>() / all.len().max(1) as f64,
            greatest,
        ]
    }

    /// Goes on with a hash over what training depends on: camera and poses.
    pub(super) fn hashed_on(&self, start: u64) -> u64 {
        let c = &self.camera;
        let sizes = [c.width as f64, c.height as f64];
        let camera = [c.fx, c.fy, c.cx, c.cy, c.pixel_offset];
        let poses = self.poses.iter().flat_map(|pose| pose.0);
        let all = sizes.into_iter().chain(camera).chain(poses);
        hash_on(start, all.flat_map(f64::to_le_bytes))
    }
}

/// Rows of pictures, view after view.
#[derive(Debug, Default)]
struct Rows {
    bytes: Vec<u8>,
    transparent: usize,
}

impl Rows {
    /// Room for the rows of so many pixels.
    fn of(pixels: u64) -> Result<Self> {
        if pixels > 1 << 32 {
            return Err(Error::Usage(format!(
                "{pixels} pixels in all are more than 2^32: take fewer or smaller pictures"
            )));
        }
        let wanted = ROW_BYTES as u64 * pixels;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(wanted as usize).map_err(|e| {
            Error::Usage(format!(
                "{pixels} pixels need {} MiB of memory ({e}): take fewer or smaller pictures",
                wanted >> 20
            ))
        })?;
        Ok(Self {
            bytes,
            transparent: 0,
        })
    }

    /// Adds the pixels of the next view.
    fn add(&mut self, rgba: &[u8]) {
        let (pixels, _) = rgba.as_chunks::<4>();
        let first = (self.bytes.len() / ROW_BYTES) as u32;
        self.transparent += usize::from(pixels.iter().any(|p| p[3] < 255));
        let rows = (first..).zip(pixels).map(|(number, &p)| row(p, number));
        self.bytes.extend(rows.flatten());
    }

    fn dataset(
        self,
        name: String,
        camera: Camera,
        poses: Vec<Pose>,
        names: Vec<String>,
    ) -> Dataset {
        Dataset {
            name,
            shape: RAY,
            values: Data::U8(self.bytes),
            labels: None,
            classes: Vec::new(),
            views: Some(Arc::new(Views {
                camera,
                poses,
                names,
                transparent: self.transparent,
            })),
        }
    }
}

/// The views `chosen` of a data set of rays as pictures over `background`, RGB in [0, 1], and their shape; `None` of other data. Pixels whose
/// rays are not among the rows are of the background's colour.
pub fn pictures(
    data: &Dataset,
    chosen: &[usize],
    background: [u8; 3],
) -> Option<(Vec<f32>, ImageShape)> {
    let (Some(views), Data::U8(rows)) = (&data.views, &data.values) else {
        return None;
    };
    let pixels = views.camera.pixels();
    let mut places = vec![None; views.poses.len()];
    for (place, &view) in chosen.iter().enumerate() {
        *places.get_mut(view)? = Some(place);
    }
    let background = background.map(|x| f32::from(x) / 255.0);
    let mut values = background.repeat(chosen.len() * pixels);
    for r in rows.as_chunks::<ROW_BYTES>().0 {
        let number = u32::from_le_bytes([r[4], r[5], r[6], r[7]]) as usize;
        let Some(place) = places.get(number / pixels).copied().flatten() else {
            continue;
        };
        let alpha = f32::from(r[3]) / 255.0;
        let pixel = &mut values[3 * (place * pixels + number % pixels)..][..3];
        for (c, value) in pixel.iter_mut().enumerate() {
            *value = f32::from(r[c]) / 255.0 * alpha + background[c] * (1.0 - alpha);
        }
    }
    let shape = ImageShape {
        height: views.camera.height,
        width: views.camera.width,
        channels: 3,
    };
    Some((values, shape))
}

/// The list of a part, and what part that is. The part to test on is `test`, else `val`; where there is neither, it is what is trained on.
fn list_of(dir: &Path, part: Part) -> Result<(PathBuf, Used)> {
    let file = |part: &str| dir.join(format!("transforms_{part}.json"));
    if dir.is_file() {
        return Err(Error::format(
            dir,
            "is a file; scene:DIR wants the folder that transforms_train.json lies in",
        ));
    }
    std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let held_out = ["test", "val"].into_iter().find(|p| file(p).is_file());
    let train = file("train");
    match (part, held_out) {
        (Part::Test, Some(name)) => Ok((file(name), Used::Part(name.to_owned()))),
        (Part::Training, Some(_)) if train.is_file() => Ok((train, Used::Training)),
        (_, None) if train.is_file() => Ok((train, Used::All)),
        _ => {
            let others = [
                ("transforms.json", "instant-ngp or nerfstudio"),
                ("poses_bounds.npy", "LLFF"),
                ("sparse", "COLMAP"),
                ("cameras.bin", "COLMAP"),
                ("cameras.txt", "COLMAP"),
            ];
            let found = others.iter().find(|(name, _)| dir.join(name).exists());
            let found = found.map_or(String::new(), |(name, whose)| {
                format!("; it has {name} ({whose}), which is not read yet")
            });
            Err(Error::format(
                dir,
                format!(
                    "has no transforms_train.json, by which a scene of Blender is known{found}"
                ),
            ))
        }
    }
}

/// Reads one part of a scene. Pictures that are not there are passed over and reported; `skip_broken` does the same with those that cannot be
/// decoded. Nothing else of `options` counts.
///
/// # Errors
/// When the list is malformed, a pose in it no rigid motion, its camera none; when none or under half of the pictures are left, or they are of
/// different sizes.
pub fn read(dir: &Path, part: Part, options: &Options) -> Result<Loaded> {
    let (list, used) = list_of(dir, part)?;
    let Listed { frames, intrinsics } = transforms::read(&list)?;
    let listed = frames.len();
    let mut missing = Vec::new();
    let mut there: Vec<(Frame, PathBuf)> = Vec::new();
    for frame in frames {
        match transforms::find(dir, &frame.name) {
            Some(path) => there.push((frame, path)),
            None => missing.push(frame.name),
        }
    }
    enough(&list, there.len(), listed, &missing, "there")?;
    let mut broken = Vec::new();
    let mut kept: Vec<Frame> = Vec::new();
    let mut first: Option<(PathBuf, (u32, u32))> = None;
    let mut rows = Rows::default();
    for some in there.chunks(images::AT_A_TIME) {
        let paths: Vec<&Path> = some.iter().map(|(_, path)| path.as_path()).collect();
        for ((frame, path), picture) in some.iter().zip(images::straight(&paths)) {
            let (size, rgba) = match picture {
                Ok(picture) => picture,
                Err(error) if options.skip_broken => {
                    broken.push(error.to_string());
                    continue;
                }
                Err(error) => {
                    return Err(Error::Usage(format!(
                        "{error}; `skip_broken` passes over what cannot be decoded"
                    )));
                }
            };
            match &first {
                None => {
                    rows = Rows::of(u64::from(size.0) * u64::from(size.1) * there.len() as u64)?;
                    first = Some((path.clone(), size));
                }
                Some((name, other)) if *other != size => {
                    return Err(Error::Usage(format!(
                        "{}: pictures have different sizes: {} is {} x {}, {} is {} x {}; those of a scene must have one for now",
                        dir.display(),
                        name.display(),
                        other.0,
                        other.1,
                        path.display(),
                        size.0,
                        size.1
                    )));
                }
                Some(_) => {}
            }
            rows.add(&rgba);
            kept.push(Frame {
                name: frame.name.clone(),
                pose: frame.pose,
            });
        }
    }
    enough(&list, kept.len(), listed, &missing, "whole")?;
    let (_, (width, height)) = first.unwrap_or_default();
    let camera = intrinsics.camera(&list, width as usize, height as usize)?;
    let (names, poses) = kept.into_iter().map(|f| (f.name, f.pose)).unzip();
    let data = rows.dataset(format!("scene:{}", dir.display()), camera, poses, names);
    let mut report = Report::of(&data, used);
    report.broken = broken;
    report.folder = Some(fingerprint(dir)?);
    if let Some(posed) = &mut report.posed {
        posed.listed = listed;
        posed.missing = missing.len();
        posed.missing_names = missing.into_iter().take(3).collect();
    }
    Ok(Loaded { data, report })
}

/// Refuses a scene of which under half is left.
fn enough(list: &Path, left: usize, listed: usize, missing: &[String], what: &str) -> Result<()> {
    if left > 0 && 2 * left >= listed {
        return Ok(());
    }
    let names = match missing {
        [] => String::new(),
        [first, ..] if missing.len() == 1 => format!("; {first} is missing"),
        _ => format!(
            "; {} are missing, the first of them {}",
            missing.len(),
            missing[..missing.len().min(3)].join(", ")
        ),
    };
    let found = match left {
        0 => format!("none of its {listed} pictures is {what}"),
        left => format!("only {left} of its {listed} pictures are {what}, under half"),
    };
    Err(Error::format(
        list,
        format!(
            "{found}{names}; names go from the folder of this file on, with or without an ending"
        ),
    ))
}

/// A hash of the list that training draws on and of the names and sizes of its pictures, by which a scene is known again wherever it lies.
///
/// # Errors
/// When there is no such list, or it is malformed.
pub fn fingerprint(dir: &Path) -> Result<String> {
    let (list, _) = list_of(dir, Part::Training).or_else(|_| list_of(dir, Part::Test))?;
    let mut bytes = transforms::text_of(&list)?.into_bytes();
    for frame in transforms::read(&list)?.frames {
        let size = transforms::find(dir, &frame.name).and_then(|path| path.metadata().ok());
        bytes.extend(size.map_or(0, |m| m.len()).to_le_bytes());
    }
    Ok(format!("{:016x}", hash(&bytes)))
}

impl Posed {
    /// Of views all of which are there.
    pub(super) fn of(views: &Views) -> Self {
        let Views {
            camera,
            poses,
            transparent,
            ..
        } = views;
        Self {
            views: poses.len(),
            listed: poses.len(),
            width: camera.width,
            height: camera.height,
            focal: [camera.fx, camera.fy],
            centre: [camera.cx, camera.cy],
            field_of_view: camera.field_of_view(),
            transparent: *transparent,
            distances: views.distances(),
            missing: 0,
            missing_names: Vec::new(),
        }
    }
}
