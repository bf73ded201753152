//! What the files of a scene list, whatever their format: pictures, where they were taken, by what camera, in what world.

use std::path::{Path, PathBuf};

use super::format::Format;
use super::pose::Pose;
use super::transforms::Intrinsics;
use super::world::World;
use crate::data::report::Used;
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;

/// Of the views of files that say nothing of parts every one of so many is kept away from training, the first among them: LLFF's custom.
pub(super) const HELD_OUT_OF: usize = 8;

/// Frames and the world that they are in.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) format: Format,
    /// The file that lists them, for messages.
    pub(super) list: PathBuf,
    /// Those of the part that was asked for.
    pub(super) frames: Vec<Frame>,
    /// Which part that is.
    pub(super) used: Used,
    /// Views that are kept away from this part, where the same list has both.
    pub(super) held_out: usize,
    /// From the files' world to ours.
    pub(super) world: World,
    /// Half the side of the box that the files suggest, in our world.
    pub(super) half_side: Option<f64>,
    /// Nearest and farthest depth that the files say, in our world.
    pub(super) bounds: Option<[f64; 2]>,
    /// Places that were found with the cameras, in the files' world.
    pub(super) points: Vec<[f64; 3]>,
    /// What is to be said of the files.
    pub(super) notes: Vec<String>,
}

/// A picture and where it was taken.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) name: String,
    /// The file, where it is there.
    pub(super) picture: Option<PathBuf>,
    /// What is not to be learned of it: black pixels.
    pub(super) mask: Option<PathBuf>,
    /// In the files' world.
    pub(super) pose: Pose,
    pub(super) sight: Sight,
    /// Which of the points are seen in it, and where, in pixels of the size that its camera is of.
    pub(super) seen: Vec<([f64; 2], usize)>,
}

/// What is known of a frame's camera before its picture's size is.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// All of it, of pictures of the camera's size.
    Camera(Camera),
    /// What a list of transforms says.
    Said(Box<Intrinsics>),
}

impl Sight {
    /// Width and height of the picture that it is of, where that is said.
    pub(super) fn size(&self) -> Option<[f64; 2]> {
        match self {
            Self::Camera(camera) => Some([camera.width as f64, camera.height as f64]),
            Self::Said(intrinsics) => intrinsics.size(),
        }
    }

    /// Whether pictures of this size may be those that it is of, made larger or smaller.
    pub(super) fn fits(&self, (width, height): (u32, u32)) -> bool {
        self.size().is_none_or(|[w, h]| {
            let ratio = f64::from(width) / w / (f64::from(height) / h);
            (ratio - 1.0).abs() <= 0.02
        })
    }

    /// The camera of pictures of this size, refused in the name of `list`.
    pub(super) fn camera(&self, list: &Path, (width, height): (u32, u32)) -> Result<Camera> {
        let (width, height) = (width as usize, height as usize);
        match self {
            Self::Camera(camera) if (camera.width, camera.height) == (width, height) => Ok(*camera),
            Self::Camera(camera) => Ok(camera.resized(width, height)),
            Self::Said(intrinsics) => intrinsics.camera(list, width, height),
        }
    }
}

/// Which views are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Training,
    Test,
    /// Both.
    All,
}

impl Listed {
    /// Keeps the part that is asked for, `held` being which of the frames are held out by what is called `name`.
    pub(super) fn part(&mut self, which: Which, held: &[bool], name: &str) {
        let count = held.iter().filter(|h| **h).count();
        if which == Which::All || count == 0 || count == held.len() {
            self.used = Used::All;
            return;
        }
        let wanted = which == Which::Test;
        let mut held = held.iter();
        self.frames.retain(|_| held.next() == Some(&wanted));
        self.used = if wanted {
            Used::Part(name.to_owned())
        } else {
            self.held_out = count;
            Used::Training
        };
    }

    /// The same where the files say nothing of parts. Of fewer than [`HELD_OUT_OF`] views none is kept away.
    pub(super) fn every_eighth(&mut self, which: Which) {
        let count = self.frames.len();
        let held = |i: usize| count >= HELD_OUT_OF && i.is_multiple_of(HELD_OUT_OF);
        let held: Vec<bool> = (0..count).map(held).collect();
        self.part(which, &held, "every 8th view");
    }

    /// Everything `by` times larger.
    pub(super) fn scale(&mut self, by: f64) -> Result<()> {
        if !(by.is_finite() && by > 0.0) {
            return Err(Error::field(
                "scene_scale",
                format!("{by} must be a number above 0: how many times larger the scene becomes"),
            ));
        }
        self.world = self.world.scaled(by);
        self.half_side = self.half_side.map(|half| half * by);
        self.bounds = self.bounds.map(|bounds| bounds.map(|x| x * by));
        Ok(())
    }

    /// How many frames are listed, of this part and of the one that it was split from.
    pub(super) fn listed(&self) -> usize {
        self.frames.len()
    }
}
