//! Views of a radiance field on a device: a plan that is run until all of a picture is seen, in anybody's encoder.

use super::{Plan, Store};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::kernels::camera::Camera;
use crate::kernels::camera_rays::{POSE_FLOATS, table};
use crate::program::PlanOptions;
use crate::tensor::Data;

/// A radiance field compiled for a store and a camera. [`Renderer::begin`] says where the camera stands, each [`Renderer::record`] sees some
/// more pixels; outputs `colour` `[pixels, 3]`, over the model's background, `opacity`, `depth` and `distance` `[pixels]` are the picture as
/// far as it is seen, behind it the last one.
#[derive(Debug)]
pub struct Renderer {
    plan: Plan,
    camera: Camera,
    count: usize,
    recorded: usize,
}

impl Renderer {
    /// Compiles `graph`, as `Model::rendering` makes it for `camera` and `count` pixels a run, for the store's device.
    ///
    /// # Errors
    /// As [`Plan::compile`].
    pub fn new(
        graph: &Graph,
        store: &Store,
        camera: &Camera,
        count: usize,
        options: PlanOptions,
    ) -> Result<Self> {
        let mut renderer = Self {
            plan: Plan::compile(graph, store, &[], options)?,
            camera: *camera,
            count: count.max(1),
            recorded: 0,
        };
        let nothing = Data::F32(vec![0.0; 6 * camera.pixels()]);
        renderer.plan.write("picture", &nothing)?;
        renderer.plan.write("first", &Data::F32(vec![0.0]))?;
        renderer.set_camera(camera)?;
        Ok(renderer)
    }

    /// Another camera, from the next picture on: other focal lengths, another lens. Takes effect before the next submission, and so belongs before
    /// [`Renderer::begin`].
    ///
    /// # Errors
    /// When its pictures have another size, or the device is lost.
    pub fn set_camera(&mut self, camera: &Camera) -> Result<()> {
        check_size(&self.camera, camera)?;
        self.camera = *camera;
        self.plan.write("camera", &Data::F32(table(&[*camera])))
    }

    /// Begins a new picture, seen from `pose`: the rows of the 3x4 matrix from the camera's axes to the world, row after row, the camera looking
    /// along its -z. Takes effect before the next submission.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn begin(&mut self, pose: &[f64; POSE_FLOATS]) -> Result<()> {
        let pose = pose.iter().map(|&x| x as f32).collect();
        self.plan.write("poses", &Data::F32(pose))?;
        self.plan.write("first", &Data::F32(vec![0.0]))?;
        self.recorded = 0;
        Ok(())
    }

    /// Records one run into the caller's encoder: one compute pass, nothing else made. Says how many more are needed at least; whether they
    /// are enough, [`Renderer::seen`] says. A run after all is seen changes nothing.
    pub fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> usize {
        self.plan.record(encoder);
        self.recorded += 1;
        self.runs().saturating_sub(self.recorded)
    }

    /// The fewest runs that see a picture: of a hash grid, which has room for so many samples, there may be more.
    pub fn runs(&self) -> usize {
        self.camera.pixels().div_ceil(self.count)
    }

    /// Pixels that are seen since [`Renderer::begin`] by all that was submitted, waiting for it.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn seen(&self) -> Result<usize> {
        match self.recorded {
            0 => Ok(0),
            _ => Ok(self.plan.read("next")?.data.to_f32()[0] as usize),
        }
    }

    /// Runs what is left of the picture and waits for it. What was recorded must have been submitted.
    ///
    /// # Errors
    /// When the model has no room for the samples of one ray, or the device is lost.
    pub fn finish(&mut self) -> Result<()> {
        let mut seen = self.seen()?;
        while seen < self.camera.pixels() {
            let runs = (self.camera.pixels() - seen).div_ceil(self.count);
            self.plan.run(runs)?;
            self.recorded += runs;
            seen = further(seen, self.seen()?)?;
        }
        Ok(())
    }

    /// The camera.
    pub fn camera(&self) -> &Camera {
        &self.camera
    }

    /// Its plan, to read its outputs and to bind what is the caller's.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }
}

/// Refuses a camera whose pictures have another size than those of the one that a graph was compiled for.
pub(crate) fn check_size(compiled: &Camera, camera: &Camera) -> Result<()> {
    let [of, wanted] = [compiled, camera].map(|c| [c.width, c.height]);
    if of == wanted {
        return Ok(());
    }
    Err(Error::field(
        "camera",
        format!(
            "has pictures of {} x {}; this renderer draws pictures of {} x {}",
            wanted[0], wanted[1], of[0], of[1]
        ),
    ))
}

/// The pixels that are seen `now`.
///
/// # Errors
/// When they are no more than `before`: a picture would never be seen.
pub(crate) fn further(before: usize, now: usize) -> Result<usize> {
    if now > before {
        return Ok(now);
    }
    Err(Error::Usage(
        "capacity has no room for the samples of one ray".to_owned(),
    ))
}
