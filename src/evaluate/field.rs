//! A radiance field on a device, asked for its densities and colours at any places.
//!
//! ```
//! use wgen::data::scene::analytic;
//! use wgen::evaluate::field::Field;
//! use wgen::models::Model;
//! use wgen::models::nerf::ngp::{Config, Ngp};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! # let small = Config { log2_entries: 8, levels: 2, finest_resolution: 32, grid: 16, steps: 32, ..Config::blender(analytic::camera()) };
//! # let ngp = Ngp::new(small)?;
//! let weights: Vec<_> = ngp.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained: haze
//! let mut field = Field::new(&Device::Cpu, &ngp, &weights, 100)?;
//! let found = field.densities(&[[0.0; 3], [1.0, -1.0, 0.5], [9.0, 0.0, 0.0]])?;
//! // About e^0 on the way through the box of side 3; outside of the box nothing.
//! assert!((found[1] - 1.0 / 3.0).abs() < 0.01 && found[2] == 0.0);
//! let colours = field.colours(&[[0.0; 3]], &[[0.0, 0.0, -1.0]])?;
//! assert_eq!(colours.len(), 1);
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::layout::Layout;
use crate::models::Model;
use crate::plan::StoreOptions;
use crate::program::Flat;
use crate::report::mesh::Mesh;
use crate::session::{Device, Executable, Session};
use crate::tensor::Value;

/// A radiance field on a device.
#[derive(Debug)]
pub struct Field {
    session: Box<dyn Session>,
    densities: Asked,
    colours: Graph,
    count: usize,
}

/// A graph that is asked about `count` places at a time.
#[derive(Debug)]
struct Asked {
    executable: Box<dyn Executable>,
    count: usize,
    directions: bool,
    output: &'static str,
}

impl Asked {
    fn new(
        session: &dyn Session,
        graph: &Graph,
        count: usize,
        output: &'static str,
    ) -> Result<Self> {
        Ok(Self {
            executable: session.compile(graph, &[])?,
            count,
            directions: graph.has_input("directions"),
            output,
        })
    }

    /// What it says of places and, where it takes them, directions.
    fn ask(&mut self, places: &[[f32; 3]], directions: &[[f32; 3]]) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for first in (0..places.len()).step_by(self.count) {
            let end = (first + self.count).min(places.len());
            let filled = |from: &[[f32; 3]]| {
                let mut values = from[first..end].as_flattened().to_vec();
                values.resize(3 * self.count, 0.0);
                Value::f32([self.count, 3], values)
            };
            self.executable.write("places", filled(places)?)?;
            if self.directions {
                self.executable.write("directions", filled(directions)?)?;
            }
            self.executable.run(1)?;
            let mut found = self.executable.read(self.output)?.data.to_f32();
            found.truncate(found.len() / self.count * (end - first));
            all.append(&mut found);
        }
        Ok(all)
    }
}

impl Field {
    /// Compiles the field of a model, `places` of which are asked about at once if the device has room for so many.
    ///
    /// # Errors
    /// When the model is no radiance field, or the device refuses.
    pub fn new(
        device: &Device,
        model: &dyn Model,
        weights: &[Vec<f32>],
        places: usize,
    ) -> Result<Self> {
        model.extent()?;
        let caps = device.caps();
        model.check_device(&caps)?;
        let count = model.places_at_once(caps.binding_bytes).min(places.max(1));
        let layout = Layout::new(model.parameters(), caps.binding_bytes)?;
        let session = device.session(layout, StoreOptions::default())?;
        session.write(Flat::Parameters, weights)?;
        let densities = model.densities(count)?;
        Ok(Self {
            densities: Asked::new(session.as_ref(), &densities, count, "density")?,
            colours: model.colours(count)?,
            session,
            count,
        })
    }

    /// The densities at places in the scene's coordinates.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn densities(&mut self, places: &[[f64; 3]]) -> Result<Vec<f32>> {
        let places: Vec<[f32; 3]> = places.iter().map(|p| p.map(|x| x as f32)).collect();
        self.densities.ask(&places, &[])
    }

    /// The colours of places, as seen by who looks along `directions`, one a place.
    ///
    /// # Errors
    /// When there are not as many directions as places, or the device is lost.
    pub fn colours(&self, places: &[[f32; 3]], directions: &[[f32; 3]]) -> Result<Vec<[u8; 3]>> {
        if places.len() != directions.len() {
            let why = format!("{} directions of {} places", directions.len(), places.len());
            return Err(Error::shape("colours", why));
        }
        let mut asked = Asked::new(self.session.as_ref(), &self.colours, self.count, "colour")?;
        let found = asked.ask(places, directions)?;
        let (found, _) = found.as_chunks::<3>();
        // A conversion saturates.
        let byte = |x: f32| (255.0 * x).round() as u8;
        Ok(found.iter().map(|c| c.map(byte)).collect())
    }

    /// Gives a mesh its normals, and the colours that its vertices have for who looks straight at them.
    ///
    /// # Errors
    /// As [`Field::colours`].
    pub fn paint(&self, mesh: &mut Mesh) -> Result<()> {
        let normals = mesh.vertex_normals();
        let inwards: Vec<[f32; 3]> = normals.iter().map(|n| n.map(|x| -x)).collect();
        mesh.colours = self.colours(&mesh.positions, &inwards)?;
        mesh.normals = normals;
        Ok(())
    }
}
