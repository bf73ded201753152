//! The surface on which a radiance field is as dense as a threshold, as a mesh: marching cubes on the device, slab after slab.
//!
//! ```
//! use wgen::evaluate::mesh::{Lattice, Settings, surface};
//! use wgen::session::Device;
//!
//! // A ball of radius 0.3 in the unit cube, which gets denser inwards.
//! let lattice = Lattice::new([0.0; 3], [1.0; 3], 32)?;
//! let density = |places: &[[f64; 3]]| {
//!     let r = |p: &[f64; 3]| p.iter().map(|x| (x - 0.5) * (x - 0.5)).sum::<f64>().sqrt();
//!     Ok(places.iter().map(|p| (50.0 + 500.0 * (0.3 - r(p))).max(0.0) as f32).collect())
//! };
//! let found = surface(&Device::Cpu, &lattice, &Settings::at(50.0), density)?;
//! let mesh = &found.mesh;
//! assert_eq!((mesh.euler(), mesh.open_edges()), (2, 0)); // one closed part without handles
//! let (area, volume) = (1.130973, 0.113097); // 4 pi r^2, 4/3 pi r^3
//! assert!((mesh.area() - area).abs() < 0.01 * area && (mesh.volume() - volume).abs() < 0.01 * volume);
//!
//! // Nothing is so dense: the error says how dense it is.
//! let error = surface(&Device::Cpu, &lattice, &Settings::at(500.0), density).unwrap_err();
//! assert!(error.to_string().contains("from 0 to 200"), "{error}");
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::graph::layout::Layout;
use crate::graph::{Graph, Var};
use crate::kernels::philox::Domain;
use crate::kernels::scan::MOST_CAPACITY;
use crate::plan::StoreOptions;
use crate::report::mesh::Mesh;
use crate::session::{Device, Executable, Session};
use crate::tensor::{TensorType, Value};

mod fill;
mod lattice;

use lattice::BYTES_A_POINT;
pub use lattice::{BUDGET, Lattice};

/// Places whose densities are asked for at a time, at most.
pub const PLACES: usize = 1 << 18;

/// Points of a slab, where layers are not so large that three of them have more.
const SLAB: usize = 1 << 20;

/// Bytes of a cube's triangles, at most.
const BYTES_OF_TRIANGLES: u64 = 60;

/// Bytes of two triangles, which a surface has for each of its vertices, about.
const BYTES_A_VERTEX: u64 = 24;

/// How a surface is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The density of the surface: what is denser lies inside.
    pub threshold: f64,
    /// What a ball of so many cells' radius cannot reach from the box's walls counts as inside, dense or not; `None` leaves the density as it is.
    pub fill: Option<f64>,
    /// Layers of points at a time, at least 3; as many as make a million points where `None`, and never more than the device has room for. It changes no bit of the mesh.
    pub layers: Option<usize>,
}

impl Settings {
    /// At a density, as many layers at a time as is good.
    pub fn at(threshold: f64) -> Self {
        Self {
            threshold,
            fill: None,
            layers: None,
        }
    }

    /// The density at which a step of the field's own views hides half of what is behind it: 1 - exp(-threshold step) = 1/2. It does not depend on the
    /// mesh's resolution, so that finer meshes come nearer to one surface.
    pub fn default_threshold(step: f64) -> f64 {
        std::f64::consts::LN_2 / step
    }

    /// Refuses what is none.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let threshold = self.threshold as f32;
        // Twice as dense is what is filled.
        if !(threshold > 0.0 && threshold < f32::MAX / 2.0) {
            let why = format!("{} must be a density above 0", self.threshold);
            return Err(Error::field("threshold", why));
        }
        if let Some(radius) = self.fill {
            fill::check(radius)?;
        }
        if let Some(layers) = self.layers.filter(|n| *n < 3) {
            return Err(Error::field(
                "layers",
                format!("{layers} must be at least 3"),
            ));
        }
        Ok(())
    }

    /// Refuses a lattice that is too large: [`Lattice::check`], and what is filled must be held as a whole.
    ///
    /// # Errors
    /// With the numbers, and the resolution that fits.
    pub fn check_memory(&self, lattice: &Lattice, bound: u64) -> Result<()> {
        if self.fill.is_some() {
            fill::check_memory(lattice)?;
        }
        lattice.check(bound)
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Surface {
    /// Its positions are in the scene's coordinates; it has no normals or colours yet.
    pub mesh: Mesh,
    /// The least and the greatest density at points of the lattice that are not on the box's walls.
    pub densities: [f32; 2],
}

/// What the plan of a slab gives beside vertices and triangles.
const TOTALS: &str = "totals";

/// A slab's surface as a graph: inputs `density` `[layers, rows, columns]`, `threshold` `[1]` and `first_layer` `[1]`, outputs `vertices` `[room, 3]`,
/// `triangles` `[2 room, 3]`, and `totals`: how many vertices and triangles those layers have that are the slab's own, and all of them.
///
/// The last two layers are the next slab's, too. The first of them, because triangles of the layer of cubes before it have vertices in it, and the
/// second, because vertices of the first lie on edges to it: all that comes before a vertex in the order of points and axes is there, so that both
/// slabs give it the same number, counted from where the next one begins.
fn slab(lattice: &Lattice, layers: usize, room: usize) -> Graph {
    let graph = Graph::new(Domain::Sampling);
    let [columns, rows, _] = lattice.points();
    let density = graph.input("density", TensorType::f32([layers, rows, columns]));
    let threshold = graph.input("threshold", TensorType::f32([1]));
    let first_layer = graph.input("first_layer", TensorType::f32([1]));
    let base = density.cube_vertex_counts(threshold).scan(MOST_CAPACITY);
    let triangle_base = density.cube_triangle_counts(threshold).scan(MOST_CAPACITY);
    let vertices = density.cube_vertices(threshold, base, first_layer, room);
    let triangles = density.cube_triangles(threshold, base, triangle_base, 2 * room);
    let own = rows * columns * (layers - 2);
    let all = rows * columns * layers;
    let totals = [
        element(base, own),
        element(triangle_base, own),
        element(base, all),
        element(triangle_base, all),
    ];
    graph.output(TOTALS, graph.concat(0, &totals));
    graph.output("vertices", vertices);
    graph.output("triangles", triangles);
    graph
}

fn element(x: Var<'_>, at: usize) -> Var<'_> {
    x.slice(0, at, at + 1)
}

/// The plan of a slab, made anew with more room where a surface has more vertices than before.
#[derive(Debug)]
struct Slabs {
    session: Box<dyn Session>,
    lattice: Lattice,
    layers: usize,
    room: usize,
    executable: Box<dyn Executable>,
    threshold: f32,
    /// Bytes that the device binds at once.
    most: u64,
}

impl Slabs {
    fn new(device: &Device, lattice: &Lattice, layers: usize, threshold: f32) -> Result<Self> {
        let caps = device.caps();
        let session = device.session(
            Layout::new(Vec::new(), caps.binding_bytes)?,
            StoreOptions::default(),
        )?;
        // A surface goes through few of a slab's cubes.
        let room = (lattice.layer() * layers / 16).max(1024);
        let executable = session.compile(&slab(lattice, layers, room), &[])?;
        let mut slabs = Self {
            session,
            lattice: *lattice,
            layers,
            room,
            executable,
            threshold,
            most: caps.binding_bytes,
        };
        slabs
            .executable
            .write("threshold", Value::f32([1], vec![threshold])?)?;
        Ok(slabs)
    }

    /// The surface of a slab: how many vertices and triangles are its own, and all of them.
    fn run(&mut self, first: usize, density: &[f32]) -> Result<([usize; 2], Value, Value)> {
        let [columns, rows, _] = self.lattice.points();
        loop {
            let value = Value::f32([self.layers, rows, columns], density.to_vec())?;
            self.executable.write("density", value)?;
            let first = Value::f32([1], vec![first as f32])?;
            self.executable.write("first_layer", first)?;
            self.executable.run(1)?;
            let totals = self.executable.read(TOTALS)?;
            let &[vertices, triangles, all_vertices, all_triangles] = totals.data.as_u32() else {
                return Err(Error::shape(
                    "mesh",
                    format!("{:?} are no totals", totals.shape),
                ));
            };
            let needed = all_vertices.max(all_triangles.div_ceil(2)) as usize;
            if needed <= self.room {
                return Ok((
                    [vertices, triangles].map(|n| n as usize),
                    self.executable.read("vertices")?,
                    self.executable.read("triangles")?,
                ));
            }
            let most = (self.most / BYTES_A_VERTEX) as usize;
            if needed > most {
                return Err(Error::field(
                    "resolution",
                    format!(
                        "is too fine for so rough a surface: {} layers have {all_vertices} vertices and {all_triangles} triangles, which do not \
                         fit the {} MiB that this device binds at once; lower it, or take a higher `threshold`",
                        self.layers,
                        self.most >> 20
                    ),
                ));
            }
            self.room = needed.next_power_of_two().min(most);
            let graph = slab(&self.lattice, self.layers, self.room);
            self.executable = self.session.compile(&graph, &[])?;
            let threshold = Value::f32([1], vec![self.threshold])?;
            self.executable.write("threshold", threshold)?;
        }
    }
}

/// Densities of consecutive layers, and their range.
struct Layers<'a, F> {
    lattice: &'a Lattice,
    density: F,
    range: [f32; 2],
    /// Those of the whole lattice, where they had to be known together.
    filled: Option<Vec<f32>>,
}

impl<F: FnMut(&[[f64; 3]]) -> Result<Vec<f32>>> Layers<'_, F> {
    /// Those of the whole lattice, what nothing reaches filled.
    fn filled(&mut self, threshold: f32, radius: f64) -> Result<Vec<f32>> {
        let points = self.lattice.points();
        let mut all = Vec::new();
        self.compute(&mut all, 0, points[2])?;
        fill::fill(&mut all, points, threshold, radius);
        Ok(all)
    }

    /// The layers `first .. end` after those that `slab` holds; layers on the box's walls and beyond them are 0.
    fn add(&mut self, slab: &mut Vec<f32>, first: usize, end: usize) -> Result<()> {
        let Some(all) = &self.filled else {
            return self.compute(slab, first, end);
        };
        let layer = self.lattice.layer();
        let held = all.len().min(end * layer);
        slab.extend_from_slice(&all[first * layer..held]);
        slab.resize(slab.len() + end * layer - held, 0.0);
        Ok(())
    }

    fn compute(&mut self, slab: &mut Vec<f32>, first: usize, end: usize) -> Result<()> {
        let [columns, rows, layers] = self.lattice.points();
        let start = slab.len();
        slab.resize(start + (end - first) * columns * rows, 0.0);
        let of_layer =
            |z: usize| (1..rows - 1).flat_map(move |y| (1..columns - 1).map(move |x| [x, y, z]));
        let mut points = (first.max(1)..end.min(layers - 1)).flat_map(of_layer);
        loop {
            let some: Vec<[usize; 3]> = points.by_ref().take(PLACES).collect();
            if some.is_empty() {
                return Ok(());
            }
            let place = |point: &[usize; 3]| self.lattice.in_scene(point.map(|n| n as f64));
            let places: Vec<[f64; 3]> = some.iter().map(place).collect();
            let found = (self.density)(&places)?;
            if found.len() != places.len() {
                let why = format!("{} densities of {} places", found.len(), places.len());
                return Err(Error::shape("mesh", why));
            }
            for ((&[x, y, z], place), density) in some.iter().zip(&places).zip(found) {
                if !density.is_finite() {
                    return Err(Error::Usage(format!(
                        "the field's density at {place:?} is {density}: its weights are none to make a mesh of"
                    )));
                }
                self.range = [self.range[0].min(density), self.range[1].max(density)];
                slab[start + x + columns * (y + rows * (z - first))] = density;
            }
        }
    }
}

/// The surface of a density, closed at the box's walls: on them and beyond there is nothing. `density` is asked for the densities at the lattice's
/// points, each once, at most [`PLACES`] at a time.
///
/// The mesh is the same, bit for bit, in however many slabs it is made: vertices and triangles are in the order of the lattice's points, z outermost.
///
/// # Errors
/// When a setting is none, the lattice is too large ([`Settings::check_memory`], before anything is allocated), the density is nowhere above the threshold, or
/// `density` or the device fail.
pub fn surface(
    device: &Device,
    lattice: &Lattice,
    settings: &Settings,
    density: impl FnMut(&[[f64; 3]]) -> Result<Vec<f32>>,
) -> Result<Surface> {
    settings.check()?;
    let bound = device.caps().binding_bytes;
    settings.check_memory(lattice, bound)?;
    let threshold = settings.threshold as f32;
    let layer = lattice.layer();
    let all = lattice.points()[2];
    // So few that whatever surface they have has room, where three have.
    let room = bound / BYTES_OF_TRIANGLES;
    let most = room.min(BUDGET / BYTES_A_POINT) as usize / layer;
    // One more than there are, beyond the box, is the second that the last slab looks ahead to.
    let most = most.clamp(3, all + 1);
    let layers = settings.layers.unwrap_or(SLAB / layer).clamp(3, most);
    let mut slabs = Slabs::new(device, lattice, layers, threshold)?;
    let mut source = Layers {
        lattice,
        density,
        range: [f32::INFINITY, f32::NEG_INFINITY],
        filled: None,
    };
    if let Some(radius) = settings.fill {
        source.filled = Some(source.filled(threshold, radius)?);
    }
    let mut mesh = Mesh::default();
    let (mut first, mut known) = (0, Vec::new());
    while first < all - 1 {
        let held = known.len() / layer;
        source.add(&mut known, first + held, first + layers)?;
        if known.iter().any(|d| *d > threshold) {
            let (own, vertices, triangles) = slabs.run(first, &known)?;
            add(&mut mesh, lattice, own, &vertices, &triangles)?;
        }
        first += layers - 2;
        known.drain(..(layers - 2) * layer);
    }
    if mesh.triangles.is_empty() {
        let [least, most] = source.range;
        return Err(Error::field(
            "threshold",
            format!(
                "{} leaves nothing: the density is from {least} to {most} at the {} points inside of the box; take one below that",
                settings.threshold,
                lattice
                    .cells()
                    .map(|n| n as u64 - 1)
                    .iter()
                    .product::<u64>()
            ),
        ));
    }
    Ok(Surface {
        mesh,
        densities: source.range,
    })
}

/// Adds what is a slab's own.
fn add(
    mesh: &mut Mesh,
    lattice: &Lattice,
    [vertices, triangles]: [usize; 2],
    positions: &Value,
    corners: &Value,
) -> Result<()> {
    let before = mesh.positions.len();
    // All numbers of a slab's vertices, those of the next one's first layer among them, stay below 2^32.
    let fits = before + positions.data.len() / 3 < u32::MAX as usize;
    let before = match u32::try_from(before) {
        Ok(before) if fits => before,
        _ => {
            return Err(Error::field(
                "resolution",
                format!(
                    "is too fine: the mesh has more than {before} vertices, and at most 2^32 are numbered"
                ),
            ));
        }
    };
    let positions = positions.data.to_f32();
    let (positions, _) = positions.as_chunks::<3>();
    for place in &positions[..vertices] {
        let place = lattice.in_scene(place.map(f64::from));
        mesh.positions.push(place.map(|x| x as f32));
    }
    let (corners, _) = corners.data.as_u32().as_chunks::<3>();
    let numbered = corners[..triangles].iter().map(|t| t.map(|v| v + before));
    mesh.triangles.extend(numbered);
    Ok(())
}
