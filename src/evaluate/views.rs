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
//! # let small = Config { log2_entries: 8, levels: 2, finest_resolution: 32, grid: 16, steps: 32, ..Config::blender(views.camera) };
//! # let ngp = Ngp::new(small)?;
//! # let mut camera = views.camera.resized(8, 8);
//! let weights: Vec<_> = ngp.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained: haze
//! let mut renderer = Renderer::new(&Device::Cpu, &ngp, &weights, &camera)?;
//! let view = renderer.view(&views.poses[0])?;
//! assert_eq!((view.colour.len(), view.depth.len()), (3 * camera.pixels(), camera.pixels()));
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::data::scene::{Pose, rows_of_view};
use crate::error::{Error, Result};
use crate::graph::layout::Layout;
use crate::kernels::camera_rays::{Camera, POSE_FLOATS, ROW_BYTES};
use crate::models::Model;
use crate::plan::StoreOptions;
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

/// A model on a device, ready for any number of views of one camera.
#[derive(Debug)]
pub struct Renderer {
    camera: Camera,
    /// Rays at a time.
    count: usize,
    /// Whether the model may take fewer of them, and says how many.
    ragged: bool,
    /// Those of all pixels and, behind them, of as many more as a last run may have too many.
    rows: Vec<u8>,
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
        let limit = device.caps().binding_bytes.min(1 << 27);
        model.check_device(&device.caps())?;
        let layout = Layout::new(model.parameters(), device.caps().binding_bytes)?;
        let session = device.session(layout, StoreOptions::default())?;
        session.write(Flat::Parameters, weights)?;
        let count = model.rays_at_once(limit).min(camera.pixels());
        let graph = model.rendering(camera, count)?;
        Ok(Self {
            camera: *camera,
            count,
            rows: [rows_of_view(camera, 0), vec![0; ROW_BYTES * count]].concat(),
            ragged: graph.find_output("rays").is_some(),
            executable: session.compile(&graph, &[])?,
        })
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
        let pixels = self.camera.pixels();
        let mut view = View::default();
        let mut first = 0;
        while first < pixels {
            let rows = &self.rows[ROW_BYTES * first..][..ROW_BYTES * self.count];
            let rows = rows.iter().map(|&byte| f32::from(byte)).collect();
            let rows = Value::f32([self.count, ROW_BYTES], rows)?;
            self.executable.write("rows", rows)?;
            self.executable.run(1)?;
            let taken = if self.ragged {
                self.executable.read("rays")?.data.to_f32()[0] as usize
            } else {
                self.count
            };
            if taken == 0 {
                return Err(Error::Usage(
                    "capacity has no room for the samples of one ray".to_owned(),
                ));
            }
            let taken = taken.min(pixels - first);
            let add = |name: &str, values: &mut Vec<f32>, width: usize| -> Result<()> {
                let all = self.executable.read(name)?.data.to_f32();
                values.extend(&all[..taken * width]);
                Ok(())
            };
            add("colour", &mut view.colour, 3)?;
            add("opacity", &mut view.opacity, 1)?;
            add("depth", &mut view.depth, 1)?;
            add("distance", &mut view.distance, 1)?;
            first += taken;
        }
        Ok(view)
    }
}
