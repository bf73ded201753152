//! Views of a radiance field: colour, opacity and both kinds of depth of every pixel.
//!
//! ```
//! use wgen::data::idx::Part;
//! use wgen::data::{Spec, images::Options};
//! use wgen::evaluate::views::Renderer;
//! use wgen::models::Model;
//! use wgen::models::nerf::ngp::{Config, Ngp};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let scene = "analytic:2".parse::<Spec>()?.load(Part::Test, &Options::default())?;
//! let views = scene.views.as_ref().unwrap();
//! # let small = Config { log2_entries: 8, levels: 2, finest_resolution: 32, grid: 16, steps: 32, ..Config::blender(views.camera()) };
//! # let ngp = Ngp::new(small)?;
//! # let mut camera = views.camera().resized(8, 8);
//! let weights: Vec<_> = ngp.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained: haze
//! let mut renderer = Renderer::new(&Device::Cpu, &ngp, &weights, &camera)?;
//! let view = renderer.view(&views.poses[0])?;
//! assert_eq!((view.colour.len(), view.depth.len()), (3 * camera.pixels(), camera.pixels()));
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::data::scene::Pose;
use crate::error::Result;
use crate::graph::layout::Layout;
use crate::kernels::camera::Camera;
use crate::kernels::camera_rays::{CAMERA_FLOATS, POSE_FLOATS, table};
use crate::models::Model;
use crate::plan::{StoreOptions, check_size, further};
use crate::program::Flat;
use crate::session::{Device, Executable};
use crate::tensor::Value;

/// What is seen from one place, line after line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Red, green and blue over the model's background, `[pixels, 3]`: in [0, 1] but for rounding.
    pub colour: Vec<f32>,
    /// How much of the background is hidden, in [0, 1].
    pub opacity: Vec<f32>,
    /// The expected depth along the camera's axis, in the scene's units; 0 where nothing is seen.
    pub depth: Vec<f32>,
    /// The expected distance along the ray, likewise.
    pub distance: Vec<f32>,
}

/// A model on a device, ready for any number of views of one size.
#[derive(Debug)]
pub struct Renderer {
    camera: Camera,
    /// Rays at a time.
    count: usize,
    executable: Box<dyn Executable>,
}

impl Renderer {
    /// Compiles the views of `camera`, which may be another than the pictures'.
    ///
    /// # Errors
    /// When the model has no views, or the device refuses.
    pub fn new(
        device: &Device,
        model: &dyn Model,
        weights: &[Vec<f32>],
        camera: &Camera,
    ) -> Result<Self> {
        model.check_device(&device.caps())?;
        let layout = Layout::new(model.parameters(), device.caps().binding_bytes)?;
        let session = device.session(layout, StoreOptions::default())?;
        session.write(Flat::Parameters, weights)?;
        let count = model.rays_at_once(device.caps().binding_bytes);
        let count = count.min(camera.pixels());
        let mut executable = session.compile(&model.rendering(camera, count)?, &[])?;
        let nothing = vec![0.0; 6 * camera.pixels()];
        executable.write("picture", Value::f32([camera.pixels(), 6], nothing)?)?;
        let mut renderer = Self {
            camera: *camera,
            count,
            executable,
        };
        renderer.set_camera(camera)?;
        Ok(renderer)
    }

    /// Another camera, from the next view on: other focal lengths, another lens.
    ///
    /// # Errors
    /// When its pictures have another size.
    pub fn set_camera(&mut self, camera: &Camera) -> Result<()> {
        check_size(&self.camera, camera)?;
        self.camera = *camera;
        let camera = Value::f32([1, CAMERA_FLOATS], table(&[*camera]))?;
        self.executable.write("camera", camera)
    }

    /// The camera.
    pub fn camera(&self) -> &Camera {
        &self.camera
    }

    /// What is seen from `pose`.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn view(&mut self, pose: &Pose) -> Result<View> {
        let pose: Vec<f32> = pose.0.iter().map(|&x| x as f32).collect();
        let poses = Value::f32([1, POSE_FLOATS], pose)?;
        self.executable.write("poses", poses)?;
        self.executable
            .write("first", Value::f32([1], vec![0.0])?)?;
        let pixels = self.camera.pixels();
        let mut seen = 0;
        while seen < pixels {
            // No fewer will do; of a model that has no room for so many rays, more.
            self.executable.run((pixels - seen).div_ceil(self.count))?;
            let next = self.executable.read("next")?.data.to_f32()[0];
            seen = further(seen, next as usize)?;
        }
        let read =
            |name: &str| -> Result<Vec<f32>> { Ok(self.executable.read(name)?.data.to_f32()) };
        Ok(View {
            colour: read("colour")?,
            opacity: read("opacity")?,
            depth: read("depth")?,
            distance: read("distance")?,
        })
    }
}
