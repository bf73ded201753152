//! The surface on which a density on a lattice has one value: counts of its vertices and triangles, and both.

use crate::error::{Error, Result};
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op};
use crate::graph::ops::shapes;
use crate::graph::{Graph, Var};
use crate::kernels::Caps;
use crate::kernels::marching_cubes::table::WORDS;
use crate::kernels::marching_cubes::{self, MOST_POINTS, Stage};
use crate::reference;
use crate::tensor::{Data, TensorType, Value};

/// A stage of it.
#[derive(Clone, Debug)]
pub(crate) struct MarchingCubes {
    pub stage: Stage,
    /// Rows for vertices or triangles.
    pub capacity: usize,
}

impl MarchingCubes {
    /// What follows density and threshold.
    fn further(&self, points: usize) -> Vec<TensorType> {
        let base = TensorType::u32([points + 2]);
        let table = TensorType::u32([256 * WORDS]);
        match self.stage {
            Stage::VertexCounts => Vec::new(),
            Stage::TriangleCounts => vec![table],
            Stage::Vertices => vec![base, TensorType::f32([1])],
            Stage::Triangles => vec![base.clone(), base, table],
        }
    }

    fn kernel(&self, inputs: &[&TensorType]) -> Result<marching_cubes::MarchingCubes> {
        if let [density, threshold, further @ ..] = inputs
            && let &[layers, rows, columns] = density.shape.dims()
            && [layers, rows, columns]
                .iter()
                .all(|n| (1..=MOST_POINTS).contains(n))
            && *density == &TensorType::f32([layers, rows, columns])
            && *threshold == &TensorType::f32([1])
            && further
                .iter()
                .copied()
                .eq(&self.further(density.shape.count()))
        {
            return Ok(marching_cubes::MarchingCubes {
                lattice: [columns, rows, layers],
                stage: self.stage,
                capacity: self.capacity,
            });
        }
        let more = match self.stage {
            Stage::VertexCounts => "",
            Stage::TriangleCounts => ", the table",
            Stage::Vertices => {
                ", where vertices begin, u32 [points + 2], the first layer's f32 [1]"
            }
            Stage::Triangles => {
                ", where vertices and triangles begin, u32 [points + 2] each, the table"
            }
        };
        let why = format!(
            "takes f32 densities [layers, rows, columns], from 1 to {MOST_POINTS} each, a threshold f32 [1]{more}; got {}",
            shapes(inputs)
        );
        Err(Error::shape(self.name(), why))
    }
}

impl Op for MarchingCubes {
    fn name(&self) -> &'static str {
        match self.stage {
            Stage::VertexCounts => "cube_vertex_counts",
            Stage::TriangleCounts => "cube_triangle_counts",
            Stage::Vertices => "cube_vertices",
            Stage::Triangles => "cube_triangles",
        }
    }

    fn is_decision(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let points = self.kernel(inputs)?.points();
        Ok(match self.stage {
            Stage::VertexCounts | Stage::TriangleCounts => TensorType::u32([points]),
            Stage::Vertices => TensorType::f32([self.capacity, 3]),
            Stage::Triangles => TensorType::u32([self.capacity, 3]),
        })
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None; at.inputs.len()]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        use reference::marching_cubes as twin;
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let kernel = self.kernel(&types)?;
        let field = twin::Field::new(&kernel, &inputs[0].data, &inputs[1].data);
        let words = |i: usize| inputs[i].data.as_u32();
        let data = match self.stage {
            Stage::VertexCounts => Data::U32(twin::vertex_counts(&field)),
            Stage::TriangleCounts => Data::U32(twin::triangle_counts(&field, words(2))),
            Stage::Vertices => {
                let first = inputs[3].data.to_f32()[0];
                let places = twin::vertices(&field, words(2), first, self.capacity);
                twin::in_precision(places, cx.precision)
            }
            Stage::Triangles => Data::U32(twin::triangles(
                &field,
                words(2),
                words(3),
                words(4),
                self.capacity,
            )),
        };
        Value::new(self.infer(&types)?.shape, data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { stage, capacity } = self;
        Some(MergeKey::of(self, (stage, capacity)))
    }
}

/// Which triangles a cube has.
fn table(graph: &Graph) -> Var<'_> {
    let words = [256 * WORDS];
    match Value::new(words, reference::marching_cubes::table()) {
        Ok(value) => graph.table("marching cubes", value),
        Err(error) => {
            graph.fail(error);
            graph.input("marching cubes", TensorType::u32(words))
        }
    }
}

impl<'g> Var<'g> {
    /// How many vertices of the surface density = threshold each point of a lattice owns, u32 `[points]`: those on its edges along +x, +y and +z.
    ///
    /// Self is the density at each point, f32 `[layers, rows, columns]`, z, y, x; what is above `threshold`, f32 `[1]`, is inside. No gradient.
    pub fn cube_vertex_counts(self, threshold: Self) -> Self {
        let op = MarchingCubes {
            stage: Stage::VertexCounts,
            capacity: 0,
        };
        self.graph().apply(op, &[self, threshold])
    }

    /// How many triangles the surface of [`Var::cube_vertex_counts`] has in the cube behind each point, u32 `[points]`. No gradient.
    pub fn cube_triangle_counts(self, threshold: Self) -> Self {
        let op = MarchingCubes {
            stage: Stage::TriangleCounts,
            capacity: 0,
        };
        let graph = self.graph();
        graph.apply(op, &[self, threshold, table(graph)])
    }

    /// The vertices that [`Var::cube_vertex_counts`] counts, f32 `[capacity, 3]`: x, y and z in units of the lattice, z counted from `first_layer`, f32
    /// `[1]`, on. Those of point p are rows `base[p] .. base[p + 1]`, where `base` is [`Var::scan`] of the counts; rows behind the last one are zero,
    /// and what has no room is left out. The same densities give the same bits on every device. No gradient.
    pub fn cube_vertices(
        self,
        threshold: Self,
        base: Self,
        first_layer: Self,
        capacity: usize,
    ) -> Self {
        let op = MarchingCubes {
            stage: Stage::Vertices,
            capacity,
        };
        let inputs = [self, threshold, base, first_layer];
        self.graph().apply(op, &inputs)
    }

    /// The triangles that [`Var::cube_triangle_counts`] counts, u32 `[capacity, 3]`: numbers of vertices, counterclockwise as seen from where the
    /// density is less. The bases are [`Var::scan`] of the vertices' and of the triangles' counts. Each edge of the surface is in two triangles, once in
    /// each sense, but where the lattice ends. No gradient.
    pub fn cube_triangles(
        self,
        threshold: Self,
        vertex_base: Self,
        triangle_base: Self,
        capacity: usize,
    ) -> Self {
        let op = MarchingCubes {
            stage: Stage::Triangles,
            capacity,
        };
        let graph = self.graph();
        let inputs = [self, threshold, vertex_base, triangle_base, table(graph)];
        graph.apply(op, &inputs)
    }
}
