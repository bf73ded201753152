//! The doctor: what is wrong with a scene, said before hours are spent on it. Where its cameras are and look, what of it is in the box that is learned,
//! whether its points are seen where they should be, and what scale would fit.
//!
//! ```
//! use wgen::data::images::Options;
//! use wgen::data::scene::doctor::{Kind, examine};
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = |name: &str| dir.path().join(name);
//!
//! // Four cameras that look at the origin from 40 away, where 4 would do.
//! let frame = |i: usize, m: &str| format!(r#"{{"file_path": "{i}", "transform_matrix": [{m}, [0, 0, 0, 1]]}}"#);
//! let frames = [
//!     frame(0, "[1, 0, 0, 0], [0, 0, -1, -40], [0, 1, 0, 0]"), frame(1, "[0, 0, 1, 40], [1, 0, 0, 0], [0, 1, 0, 0]"),
//!     frame(2, "[-1, 0, 0, 0], [0, 0, 1, 40], [0, 1, 0, 0]"), frame(3, "[0, 0, -1, -40], [-1, 0, 0, 0], [0, 1, 0, 0]"),
//! ];
//! std::fs::write(path("transforms.json"), format!(r#"{{"camera_angle_x": 0.69, "frames": [{}]}}"#, frames.join(","))).unwrap();
//! for i in 0..4 {
//!     image::RgbImage::new(8, 8).save(path(&format!("{i}.png"))).unwrap();
//! }
//! let found = examine(dir.path(), &Options::default(), 1.5)?.report;
//! assert_eq!(found.warnings[0].kind, Kind::BoxTooSmall);
//! assert!((found.proposal.unwrap().scale - 0.1).abs() < 1e-6);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::path::Path;

use serde::Serialize;

use super::format::Format;
use super::listed::{Sight, Which};
use super::open;
use super::pose::{dot, minus};
use super::sight::{self, quantile};
use super::survey::{self, Survey};
use super::views::Views;
use super::world::World;
use crate::data::images::Options;
use crate::data::report::Posed;
use crate::error::{Error, Result};
use crate::kernels::camera::Lens;

mod advice;

pub use advice::{Kind, Warning};

/// Half the side of the box that fields learn, where nothing else is said: that of Blender's scenes.
pub const HALF_SIDE: f64 = 1.5;

/// How much of a scene's points is taken for its reach, so that a few that are wrong do not count.
const REACH: [f64; 2] = [0.01, 0.99];

/// A scene that was examined: what was found, and what it was found from.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What was found.
    pub report: Examination,
    /// All views, those that are held out too.
    pub views: Views,
    /// Points that were found with the cameras, in the views' world.
    pub points: Vec<[f64; 3]>,
}

/// What was found in a scene.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Examination {
    /// The format that it was read as.
    pub format: Format,
    /// Its views, as they are reported where it is read.
    pub posed: Posed,
    /// From the files' world to that of the views.
    pub world: World,
    /// The least box that holds all cameras: its lower and its upper corner.
    pub cameras: [[f64; 3]; 2],
    /// The mean of what is up in the pictures.
    pub up: [f64; 3],
    /// Where the cameras look; nothing where their axes are parallel.
    pub focus: Option<Focus>,
    /// Half the side of the box that was held against it.
    pub half_side: f64,
    /// The share of rays that meet that box.
    pub rays_in_box: f64,
    /// The share of cameras within it.
    pub cameras_in_box: f64,
    /// Its points, where files have any.
    pub points: Option<Points>,
    /// How far from where they should be these are seen.
    pub reprojection: Option<Reprojection>,
    /// What scale, or box, would fit.
    pub proposal: Option<Proposal>,
    /// What is wrong, the worst first.
    pub warnings: Vec<Warning>,
    /// What could not be found out, and what files say.
    pub notes: Vec<String>,
}

/// Where cameras look: the place that is nearest to all of their axes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Focus {
    /// The place.
    pub place: [f64; 3],
    /// How far half of the axes pass it at most.
    pub passed_by: f64,
    /// How far half of the cameras are from it at most.
    pub distance: f64,
    /// The share of cameras that have it before them.
    pub before: f64,
}

/// Points that were found with the cameras.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Points {
    /// How many there are.
    pub count: usize,
    /// The box of all but a hundredth at each of its sides: its lower and its upper corner.
    pub reach: [[f64; 3]; 2],
    /// The share that is in the box that was held against the scene.
    pub in_box: f64,
    /// The share of what pictures see of them that lies behind the camera.
    pub behind: f64,
}

/// How far points are seen from where they should be, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reprojection {
    /// Places in pictures.
    pub seen: usize,
    /// Half of them are at most so far off.
    pub median: f64,
    /// 95 of 100 are.
    pub percentile_95: f64,
    /// How many times longer the focal length would have to be, by the middle of the places.
    pub focal_ratio: f64,
}

/// What would make a scene and its box fit: either of the two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Proposal {
    /// How many times larger the scene would have to be for the box; what `scene_scale` would have to be multiplied by.
    pub scale: f64,
    /// Half the side of a box for the scene as it is.
    pub half_side: f64,
    /// What it was found from.
    pub by: &'static str,
}

/// Looks at the scene in `dir`, read with `options`, and holds a box round the origin of this half side against it. Pictures are not decoded.
///
/// # Errors
/// When the scene cannot be read at all, as [`read`](super::read), or the half side is none.
pub fn examine(dir: &Path, options: &Options, half_side: f64) -> Result<Examined> {
    if !(half_side.is_finite() && half_side > 0.0) {
        let message = format!("{half_side} must be above 0: half the side of the box");
        return Err(Error::field("half_side", message));
    }
    let times = survey::smaller(options.scene_downscale)?;
    let listed = open::list(dir, Which::All, options, true)?;
    let survey = survey::survey(listed, times, options.skip_broken)?;
    survey.enough_left()?;
    let views = survey.views();
    let world = survey.listed.world;
    let points: Vec<[f64; 3]> = survey
        .listed
        .points
        .iter()
        .map(|p| world.point(*p))
        .collect();
    let (reprojection, behind) = reprojected(&survey, &views, &points);
    let cubes = sight::cubes(&views);
    let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
    let within = |p: &[f64; 3]| p.iter().all(|x| x.abs() <= half_side);
    let positions: Vec<[f64; 3]> = views.poses.iter().map(|p| p.position()).collect();
    let mut report = Examination {
        format: survey.listed.format,
        posed: posed(&survey, &views, times),
        world,
        cameras: box_of(&positions, [0.0, 1.0]),
        up: sight::mean_up(&views.poses),
        focus: focus(&views),
        half_side,
        rays_in_box: share(cubes.partition_point(|&c| c < half_side), cubes.len()),
        cameras_in_box: share(
            positions.iter().filter(|p| within(p)).count(),
            positions.len(),
        ),
        points: (!points.is_empty()).then(|| Points {
            count: points.len(),
            reach: box_of(&points, REACH),
            in_box: share(points.iter().filter(|p| within(p)).count(), points.len()),
            behind,
        }),
        reprojection,
        proposal: None,
        warnings: Vec::new(),
        notes: survey.listed.notes.clone(),
    };
    report.proposal = report.proposed();
    if reprojection.is_none() {
        report.notes.push(
            "no points lie beside the cameras whose places in the pictures are known: whether focal lengths and poses are those of the pictures cannot be said"
                .to_owned(),
        );
    }
    report.warnings = advice::warnings(&report, &views);
    Ok(Examined {
        report,
        views,
        points,
    })
}

fn posed(survey: &Survey, views: &Views, times: u32) -> Posed {
    Posed {
        format: Some(survey.listed.format),
        listed: survey.count,
        missing: survey.missing.len(),
        missing_names: survey.missing.iter().take(3).cloned().collect(),
        masks: survey
            .kept
            .iter()
            .filter(|k| k.frame.mask.is_some())
            .count(),
        turned: survey.turned[0],
        not_turned: survey.turned[1],
        smaller: times,
        half_side: survey.listed.half_side,
        bounds: survey.listed.bounds,
        ..Posed::of(views)
    }
}

/// The box between two shares of places along each axis: its lower and its upper corner.
fn box_of(places: &[[f64; 3]], [low, high]: [f64; 2]) -> [[f64; 3]; 2] {
    let sorted = [0, 1, 2].map(|axis| {
        let mut all: Vec<f64> = places.iter().map(|p| p[axis]).collect();
        all.sort_unstable_by(f64::total_cmp);
        all
    });
    [low, high].map(|share| [0, 1, 2].map(|axis| quantile(&sorted[axis], share)))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_unstable_by(f64::total_cmp);
    all
}

fn focus(views: &Views) -> Option<Focus> {
    let poses = &views.poses;
    let place = sight::meeting(poses)?;
    let away = |pose: &super::Pose| {
        let d = minus(pose.position(), place);
        dot(d, d).sqrt()
    };
    let before = poses.iter().filter(|p| sight::ahead(p, place) > 0.0);
    Some(Focus {
        place,
        passed_by: quantile(&sorted(poses.iter().map(|p| sight::beside(p, place))), 0.5),
        distance: quantile(&sorted(poses.iter().map(away)), 0.5),
        before: before.count() as f64 / poses.len().max(1) as f64,
    })
}

/// How far points are seen from where views would see them, and the share of places that lie behind.
fn reprojected(survey: &Survey, views: &Views, points: &[[f64; 3]]) -> (Option<Reprojection>, f64) {
    let (mut errors, mut ratios, mut behind) = (Vec::new(), Vec::new(), 0_usize);
    for (i, kept) in survey.kept.iter().enumerate() {
        let Sight::Camera(said) = &kept.frame.sight else {
            continue;
        };
        let (camera, pose) = (&views.cameras[i], &views.poses[i]);
        // Places are in pixels of the size that is said, pictures may be smaller.
        let by = [camera.fx / said.fx, camera.fy / said.fy];
        for (at, point) in &kept.frame.seen {
            let d = minus(points[*point], pose.position());
            let local = [0, 1, 2].map(|axis| dot(pose.axis(axis), d));
            // A fisheye sees what is beside it and a little behind.
            let is_seen = local[2] < 0.0 || matches!(camera.lens, Lens::Fisheye { .. });
            let Some([x, y]) = camera.place(local).filter(|_| is_seen) else {
                behind += 1;
                continue;
            };
            let (u, v) = (at[0] * by[0], at[1] * by[1]);
            errors.push((x - u).hypot(y - v));
            let (ours, theirs) = (
                (x - camera.cx).hypot(y - camera.cy),
                (u - camera.cx).hypot(v - camera.cy),
            );
            if ours > 0.02 * camera.width as f64 {
                ratios.push(theirs / ours);
            }
        }
    }
    let all = errors.len() + behind;
    if all == 0 {
        return (None, 0.0);
    }
    let share = behind as f64 / all as f64;
    let (errors, ratios) = (sorted(errors.into_iter()), sorted(ratios.into_iter()));
    let found = Reprojection {
        seen: all,
        median: quantile(&errors, 0.5),
        percentile_95: quantile(&errors, 0.95),
        focal_ratio: if ratios.is_empty() {
            1.0
        } else {
            quantile(&ratios, 0.5)
        },
    };
    (Some(found), share)
}

impl Examination {
    /// A scale and a box: from points where there are any, else from depths, else from where cameras look, as far as those of Blender's scenes are
    /// from their boxes, else from where they are.
    fn proposed(&self) -> Option<Proposal> {
        let reach = |[low, high]: [[f64; 3]; 2]| {
            let all = low.into_iter().chain(high).map(f64::abs);
            all.fold(0.0, f64::max)
        };
        let (half_side, by) = match (&self.points, self.posed.bounds, &self.focus) {
            (Some(points), ..) => (1.05 * reach(points.reach), "points"),
            (None, Some([_, far]), _) => (far, "depths"),
            (None, None, Some(focus)) if focus.passed_by < 0.5 * focus.distance => {
                (HALF_SIDE / sight::DISTANCE * focus.distance, "focus")
            }
            _ => (2.0 * reach(self.cameras), "cameras"),
        };
        (half_side.is_normal() && half_side > 0.0).then(|| Proposal {
            scale: self.half_side / half_side,
            half_side,
            by,
        })
    }
}
