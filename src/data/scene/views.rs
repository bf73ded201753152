//! Pictures by which cameras and where they were taken, and what graphs have to know of them.

use std::collections::HashSet;

use super::pose::Pose;
use super::world::World;
use crate::data::report::Posed;
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;
use crate::kernels::camera_rays::table;
use crate::nn::init::hash_on;

/// Pictures, by which cameras and where they were taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// The camera of each.
    pub cameras: Vec<Camera>,
    /// Where it was, a view each.
    pub poses: Vec<Pose>,
    /// Their names.
    pub names: Vec<String>,
    /// How many of them are transparent anywhere.
    pub transparent: usize,
    /// From the world of the files that they came from to theirs.
    pub world: World,
}

/// What graphs have to know of views.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cameras {
    /// The camera of all views, without a lens, where they have one.
    pub common: Option<Camera>,
    /// How many views there are.
    pub count: usize,
    /// Pixels of all of them.
    pub pixels: u64,
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

    /// The camera of all views, where they have one.
    pub fn common(&self) -> Option<Camera> {
        let (first, others) = self.cameras.split_first()?;
        others.iter().all(|c| c == first).then_some(*first)
    }

    /// The camera of the first view without its lens: what new pictures of the scene are drawn by, unless another is given.
    pub fn camera(&self) -> Camera {
        let first = self.cameras.first();
        first.map_or_else(|| Camera::centred(1, 1, 1.0), Camera::pinhole)
    }

    /// Pixels of all views.
    pub fn pixels(&self) -> u64 {
        self.cameras.iter().map(|c| c.pixels() as u64).sum()
    }

    /// What graphs have to know.
    pub fn cameras(&self) -> Cameras {
        Cameras {
            common: self.common().filter(|c| c.lens.is_pinhole()),
            count: self.poses.len(),
            pixels: self.pixels(),
            alpha: self.has_alpha(),
        }
    }

    /// The cameras as kernels read them, [`CAMERA_FLOATS`](crate::kernels::camera_rays::CAMERA_FLOATS) each: `[views, 16]`.
    pub fn table(&self) -> Vec<f32> {
        table(&self.cameras)
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
    pub(in crate::data) fn hashed_on(&self, start: u64) -> u64 {
        // One camera of all counts once.
        let different = match self.common() {
            Some(_) => &self.cameras[..1],
            None => &self.cameras[..],
        };
        let of = |c: &Camera| {
            let sizes = [c.width as f64, c.height as f64];
            let numbers = [c.fx, c.fy, c.cx, c.cy, c.pixel_offset];
            let (kind, coefficients) = c.lens.coefficients();
            let lens = (kind > 0).then_some([f64::from(kind)].into_iter().chain(coefficients));
            let all = sizes.into_iter().chain(numbers);
            all.chain(lens.into_iter().flatten()).collect::<Vec<_>>()
        };
        let poses = self.poses.iter().flat_map(|pose| pose.0);
        let all = different.iter().flat_map(of).chain(poses);
        hash_on(start, all.flat_map(f64::to_le_bytes))
    }
}

/// All numbers of a camera, by which it is found again.
pub(super) fn key(camera: &Camera) -> Vec<u64> {
    let (kind, coefficients) = camera.lens.coefficients();
    let sizes = [camera.width, camera.height, kind as usize].map(|n| n as u64);
    let numbers = [
        camera.fx,
        camera.fy,
        camera.cx,
        camera.cy,
        camera.pixel_offset,
    ];
    let all = numbers.into_iter().chain(coefficients);
    sizes.into_iter().chain(all.map(f64::to_bits)).collect()
}

impl Posed {
    /// The names of missing pictures that are said, and that there are more.
    pub(crate) fn missing_shown(&self) -> String {
        let more = self.missing > self.missing_names.len();
        self.missing_names.join(", ") + if more { ", ..." } else { "" }
    }

    /// Of views all of which are there.
    pub(in crate::data) fn of(views: &Views) -> Self {
        let camera = views.camera();
        let seen = views.cameras.first().copied().unwrap_or(camera);
        let mut known = HashSet::new();
        let cameras = views.cameras.iter();
        let different: Vec<&Camera> = cameras.filter(|c| known.insert(key(c))).collect();
        let range = |of: &dyn Fn(&Camera) -> f64| {
            let all = different.iter().map(|c| of(c));
            let least = all.clone().fold(f64::INFINITY, f64::min);
            [least, all.fold(f64::NEG_INFINITY, f64::max)]
        };
        let [widths, heights] = [range(&|c| c.width as f64), range(&|c| c.height as f64)]
            .map(|r| r.map(|x| x as usize));
        let kinds = |least: u32| {
            let of_kind = |c: &&Camera| c.lens.coefficients().0 >= least;
            views.cameras.iter().filter(of_kind).count()
        };
        Self {
            format: None,
            views: views.poses.len(),
            listed: views.poses.len(),
            held_out: 0,
            width: camera.width,
            height: camera.height,
            focal: [camera.fx, camera.fy],
            centre: [camera.cx, camera.cy],
            field_of_view: seen.field_of_view(),
            cameras: different.len(),
            sizes: [[widths[0], heights[0]], [widths[1], heights[1]]],
            focal_lengths: range(&|c| c.fx),
            fields_of_view: range(&|c| c.field_of_view()[0]),
            lenses: [kinds(1), kinds(2)],
            transparent: views.transparent,
            masks: 0,
            left_out: 0,
            turned: 0,
            not_turned: 0,
            smaller: 1,
            distances: views.distances(),
            world: views.world,
            half_side: None,
            bounds: None,
            missing: 0,
            missing_names: Vec::new(),
            notes: Vec::new(),
        }
    }
}
