//! The surface on which a density on a lattice has one value, as triangles: `shaders/marching_cubes.wgsl`.
//!
//! Each point of the lattice owns the three edges from it along +x, +y and +z. [`Stage::VertexCounts`] counts the vertices that a point owns,
//! [`Stage::TriangleCounts`] the triangles of the cube behind it; [`scan`](super::scan) says from these counts where each point's are;
//! [`Stage::Vertices`] and [`Stage::Triangles`] put them there. Cubes share their vertices, nothing is searched or added up atomically, and the
//! same densities give the same bits on every device. Which triangles a cube has, [`table`] derives.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::marching_cubes::{MarchingCubes, Stage};
//! use wgen::kernels::marching_cubes::table::TABLE;
//! use wgen::tensor::Data;
//!
//! // A cube of whose corners the first alone is inside: half way, a quarter and three quarters of the way there are vertices.
//! let of = |stage| MarchingCubes { lattice: [2, 2, 2], stage, capacity: 3 };
//! let mut density = vec![0.0; 8];
//! (density[0], density[1], density[2], density[4]) = (2.0, 0.0, -2.0, 1.0 - 1.0 / 3.0);
//! let (density, threshold) = (Data::F32(density), Data::F32(vec![1.0]));
//!
//! let mut buffers = [density.clone(), threshold.clone(), Data::U32(vec![0; 8])];
//! of(Stage::VertexCounts).reference(&mut buffers);
//! assert_eq!(buffers[2].as_u32()[..2], [3, 0]);
//!
//! let base = Data::U32(vec![0, 3, 3, 3, 3, 3, 3, 3, 3, 8]); // what `scan` makes of it
//! let first = Data::F32(vec![0.0]);
//! let mut buffers = [density.clone(), threshold.clone(), base.clone(), first, Data::F32(vec![0.0; 9])];
//! of(Stage::Vertices).reference(&mut buffers);
//! let Data::F32(vertices) = &buffers[4] else { unreachable!() };
//! assert_eq!(vertices[..6], [0.5, 0.0, 0.0, 0.0, 0.25, 0.0]);
//!
//! let triangles = Data::U32(vec![0, 1, 1, 1, 1, 1, 1, 1, 1, 8]);
//! let table = Data::U32(TABLE.clone());
//! let mut buffers = [density, threshold, base, triangles, table, Data::U32(vec![9; 9])];
//! of(Stage::Triangles).reference(&mut buffers);
//! let mut triangle = buffers[5].as_u32()[..3].to_vec();
//! triangle.sort();
//! assert_eq!(triangle, [0, 1, 2]);
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

pub mod table;

/// Points along an axis: f32 has all whole numbers up to it.
pub const MOST_POINTS: usize = 1 << 24;

/// Which of the four kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// How many vertices a point owns.
    VertexCounts,
    /// How many triangles the cube behind it has.
    TriangleCounts,
    /// The vertices.
    Vertices,
    /// The triangles.
    Triangles,
}

/// A stage of the surface of a density on a lattice.
#[derive(Clone, Debug)]
pub struct MarchingCubes {
    /// Points along x, y and z, from 1 to [`MOST_POINTS`] each; x varies fastest.
    pub lattice: [usize; 3],
    /// The kernel.
    pub stage: Stage,
    /// Rows for vertices or triangles; of the other stages 0.
    pub capacity: usize,
}

impl MarchingCubes {
    /// All points.
    pub fn points(&self) -> usize {
        self.lattice.iter().product()
    }

    fn name(&self) -> (&'static str, &'static str) {
        match self.stage {
            Stage::VertexCounts => ("vertex_counts", "cube_vertex_counts"),
            Stage::TriangleCounts => ("triangle_counts", "cube_triangle_counts"),
            Stage::Vertices => ("vertices", "cube_vertices"),
            Stage::Triangles => ("triangles", "cube_triangles"),
        }
    }

    /// Invocations that clear the rows behind the last one, 64 each where all are behind it.
    fn clearing(&self) -> usize {
        self.capacity.div_ceil(64)
    }
}

impl Kernel for MarchingCubes {
    fn family(&self) -> &'static str {
        "marching_cubes"
    }

    fn variant(&self) -> String {
        let [columns, rows, layers] = self.lattice;
        format!("{} of {columns} x {rows} x {layers}", self.name().0)
    }

    fn bindings(&self) -> Vec<Binding> {
        let points = self.points();
        let words = |name: &str, count: usize| Binding::read(name, DType::U32, count);
        let table = words("table", 256 * table::WORDS);
        let mut bindings = vec![
            Binding::read("density", DType::F32, points),
            Binding::read("threshold", DType::F32, 1),
        ];
        bindings.extend(match self.stage {
            Stage::VertexCounts => vec![Binding::write("counts", DType::U32, points)],
            Stage::TriangleCounts => vec![table, Binding::write("counts", DType::U32, points)],
            Stage::Vertices => vec![
                words("base", points + 2),
                Binding::read("first_layer", DType::F32, 1),
                Binding::write("vertices", DType::F32, 3 * self.capacity),
            ],
            Stage::Triangles => vec![
                words("vertex_base", points + 2),
                words("triangle_base", points + 2),
                table,
                Binding::write("triangles", DType::U32, 3 * self.capacity),
            ],
        });
        bindings
    }

    fn launch(&self) -> Launch {
        let (stage, entry) = self.name();
        let [columns, rows, layers] = self.lattice;
        let words = [columns, rows, layers, self.capacity, self.clearing(), 0];
        let units = self.points().max(self.clearing());
        Launch {
            template: "marching_cubes",
            entry,
            context: json!({
                "stage": stage,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: words.iter().map(|&w| w as u32).collect(),
            workgroups: fold(units.div_ceil(64) as u64),
            grid: Grid::Line { first: 5 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 20.0 * self.points() as f64 + 80.0 * self.capacity as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
