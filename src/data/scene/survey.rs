//! A scene before its pictures are decoded: which of them are there, how large they are, by what camera each was taken.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::format::Format;
use super::lens;
use super::listed::{Frame, Listed};
use super::pose::Pose;
use super::views::{Views, key};
use crate::data::images::{self, Head};
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;
use crate::kernels::camera_rays::table;

/// The most by which pictures are made smaller.
const MOST_SMALLER: u32 = 64;

/// Views whose pictures are there.
#[derive(Debug)]
pub(super) struct Survey {
    /// What was listed, its frames taken out.
    pub(super) listed: Listed,
    /// How many those were.
    pub(super) count: usize,
    pub(super) kept: Vec<Kept>,
    /// Names of pictures that are not there.
    pub(super) missing: Vec<String>,
    /// What cannot be decoded.
    pub(super) broken: Vec<String>,
    /// How many pictures are turned as their cameras' tags say, and how many are left as they are stored though these say otherwise.
    pub(super) turned: [usize; 2],
    /// Sizes of all pictures, as they are stored, in pixels.
    pub(super) stored: u64,
}

/// A view whose picture is there.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) frame: Frame,
    pub(super) path: PathBuf,
    pub(super) turned: bool,
    /// Of pictures as they are stored, or turned.
    pub(super) size: (u32, u32),
    /// Of pictures as they are read: smaller where that is asked for.
    pub(super) camera: Camera,
    /// Whether its lens can be undone for some of its pixels alone.
    pub(super) partly: bool,
}

impl Survey {
    /// The poses in our world.
    pub(super) fn poses(&self) -> Vec<Pose> {
        let world = &self.listed.world;
        self.kept
            .iter()
            .map(|k| world.pose(&k.frame.pose))
            .collect()
    }

    /// Refuses a scene of which under half of the pictures can be read.
    pub(super) fn enough_left(&self) -> Result<()> {
        let list = &self.listed.list;
        enough(list, self.kept.len(), self.count, &self.missing, "whole")
    }

    /// The views, whatever their pictures show.
    pub(super) fn views(&self) -> Views {
        Views {
            cameras: self.kept.iter().map(|k| k.camera).collect(),
            poses: self.poses(),
            names: self.kept.iter().map(|k| k.frame.name.clone()).collect(),
            transparent: 0,
            world: self.listed.world,
        }
    }
}

/// How many times smaller pictures are made.
pub(super) fn smaller(given: Option<u32>) -> Result<u32> {
    let times = given.unwrap_or(1);
    if times == 0 || times > MOST_SMALLER {
        let message = format!(
            "{times} must be from 1 to {MOST_SMALLER}: how many times smaller pictures become along each side"
        );
        return Err(Error::field("scene_downscale", message));
    }
    Ok(times)
}

/// Looks at all pictures of `listed`, which are to be `times` times smaller along each side.
///
/// # Errors
/// When under half of the pictures are there, one's head cannot be read unless `skip_broken`, a picture has another shape than is said, or a
/// camera is none.
pub(super) fn survey(mut listed: Listed, times: u32, skip_broken: bool) -> Result<Survey> {
    let count = listed.listed();
    let mut missing = Vec::new();
    let mut there: Vec<(Frame, PathBuf)> = Vec::new();
    for frame in std::mem::take(&mut listed.frames) {
        match frame.picture.clone() {
            Some(path) => there.push((frame, path)),
            None => missing.push(frame.name),
        }
    }
    enough(&listed.list, there.len(), count, &missing, "there")?;
    let paths: Vec<&Path> = there.iter().map(|(_, path)| path.as_path()).collect();
    let heads = images::heads(&paths);
    let mut survey = Survey {
        listed,
        count,
        kept: Vec::new(),
        missing,
        broken: Vec::new(),
        turned: [0; 2],
        stored: 0,
    };
    for ((frame, path), head) in there.into_iter().zip(heads) {
        match head {
            Ok(head) => survey.keep(frame, path, head, times)?,
            Err(error) => survey.broken.extend(passed_over(error, skip_broken)?),
        }
    }
    survey.check_lenses()?;
    Ok(survey)
}

/// What is said of a picture that is passed over; it is an error where that is not asked for.
pub(super) fn passed_over(error: Error, skip_broken: bool) -> Result<Option<String>> {
    if skip_broken {
        return Ok(Some(error.to_string()));
    }
    Err(Error::Usage(format!(
        "{error}; `skip_broken` passes over what cannot be decoded"
    )))
}

impl Survey {
    fn keep(&mut self, frame: Frame, path: PathBuf, head: Head, times: u32) -> Result<()> {
        let list = &self.listed.list;
        // Programs that find cameras look at pictures as they are stored, but for Blender, which writes them upright.
        let usual = self.listed.format == Format::Blender;
        let ways = [usual, !usual];
        let fitting = ways
            .into_iter()
            .find(|&way| frame.sight.fits(head.size(way)));
        let Some(turned) = fitting else {
            let (width, height) = head.size(usual);
            let [w, h] = frame.sight.size().unwrap_or_default();
            let turned = if head.turns {
                ", as it is stored and as it is turned"
            } else {
                ""
            };
            return Err(Error::format(
                list,
                format!(
                    "{}: says that pictures are {w} x {h}, but {} is {width} x {height}, of another shape{turned}",
                    frame.name,
                    path.display()
                ),
            ));
        };
        let size = head.size(turned);
        let (width, height) = (size.0 / times, size.1 / times);
        if width == 0 || height == 0 {
            let message = format!(
                "{times}: nothing would be left of {}, which is {} x {}",
                path.display(),
                size.0,
                size.1
            );
            return Err(Error::field("scene_downscale", message));
        }
        let camera = smaller_camera(frame.sight.camera(list, size)?, times);
        let pose = self.listed.world.pose(&frame.pose);
        let pose = pose.0.iter().map(|&x| x as f32);
        let focal = [camera.fx as f32, camera.fy as f32];
        let of_focal = focal.into_iter().chain(focal.map(|f| 1.0 / f));
        let mut numbers = table(&[camera]).into_iter().chain(pose).chain(of_focal);
        if !numbers.all(f32::is_finite) {
            return Err(Error::format(
                list,
                format!(
                    "{}: its camera ({:e} x {:e} pixels of focal length, axis at ({:e}, {:e})) or place is beyond what f32 holds",
                    frame.name, camera.fx, camera.fy, camera.cx, camera.cy
                ),
            ));
        }
        if head.turns {
            self.turned[usize::from(!turned)] += 1;
        }
        self.stored += u64::from(size.0) * u64::from(size.1);
        self.kept.push(Kept {
            frame,
            path,
            turned,
            size,
            camera,
            partly: false,
        });
        Ok(())
    }

    /// Finds the pixels for which lenses can be undone, and refuses a lens for which these are under half.
    fn check_lenses(&mut self) -> Result<()> {
        // The share that is lost, by camera.
        let mut known: HashMap<Vec<u64>, f64> = HashMap::new();
        let mut of_lens = 0_usize;
        let mut worst = 0.0_f64;
        for kept in &mut self.kept {
            let camera = kept.camera;
            let share = *known
                .entry(key(&camera))
                .or_insert_with(|| lens::lost(&camera));
            if share > 0.5 {
                return Err(Error::format(
                    &self.listed.list,
                    format!(
                        "{}: its lens {:?} cannot be undone for {:.0} % of its picture, where its polynomial turns back: focal lengths of {:.1} \
                         and {:.1} pixels and these coefficients are not of one camera",
                        kept.frame.name,
                        camera.lens,
                        100.0 * share,
                        camera.fx,
                        camera.fy
                    ),
                ));
            }
            kept.partly = share > 0.0;
            of_lens += usize::from(kept.partly);
            worst = worst.max(share);
        }
        if of_lens > 0 {
            self.listed.notes.push(format!(
                "the lenses of {of_lens} pictures cannot be undone everywhere, of the worst for {:.2} % of its pixels: these are no rays",
                100.0 * worst
            ));
        }
        Ok(())
    }
}

/// The camera of pictures that are `times` times smaller, what fills no square at their ends left out.
fn smaller_camera(camera: Camera, times: u32) -> Camera {
    if times == 1 {
        return camera;
    }
    let by = f64::from(times);
    Camera {
        width: camera.width / times as usize,
        height: camera.height / times as usize,
        fx: camera.fx / by,
        fy: camera.fy / by,
        cx: camera.cx / by,
        cy: camera.cy / by,
        ..camera
    }
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
            "{found}{names}; names go from the folder of this file on, or of a model from the scene's folder images, with or without an ending"
        ),
    ))
}
