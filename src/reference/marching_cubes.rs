//! Twins of `shaders/marching_cubes.wgsl`.
//!
//! All of it is decided in f32, operation for operation as on the device, whatever the precision is: the same vertices in the same places, bit for
//! bit.

use super::Twin;
use crate::kernels::marching_cubes::table::{TABLE, WORDS};
use crate::kernels::marching_cubes::{MarchingCubes, Stage};
use crate::real::{Precision, Real, Tracked};
use crate::tensor::Data;

/// A density on a lattice, and what it is compared with.
pub(crate) struct Field {
    density: Vec<f32>,
    threshold: f32,
    sizes: [usize; 3],
}

impl Field {
    pub(crate) fn new(kernel: &MarchingCubes, density: &Data, threshold: &Data) -> Self {
        Self {
            density: density.to_f32(),
            threshold: threshold.to_f32()[0],
            sizes: kernel.lattice,
        }
    }

    fn points(&self) -> usize {
        self.density.len()
    }

    fn is_inside(&self, point: usize) -> bool {
        self.density[point] > self.threshold
    }

    fn place_of(&self, point: usize) -> [usize; 3] {
        let [columns, rows, _] = self.sizes;
        [
            point % columns,
            point / columns % rows,
            point / (columns * rows),
        ]
    }

    fn stride(&self, axis: usize) -> usize {
        self.sizes[..axis].iter().product()
    }

    /// The axes along which an edge from a point is crossed, in order.
    fn crossed(&self, point: usize) -> Vec<usize> {
        let place = self.place_of(point);
        let crosses = |axis: &usize| {
            place[*axis] + 1 < self.sizes[*axis]
                && self.is_inside(point) != self.is_inside(point + self.stride(*axis))
        };
        (0..3).filter(crosses).collect()
    }

    /// A corner of the cube behind a point.
    fn corner(&self, point: usize, corner: u32) -> usize {
        let along = (0..3).filter(|axis| corner >> axis & 1 == 1);
        point + along.map(|axis| self.stride(axis)).sum::<usize>()
    }

    /// Which corners of the cube behind a point are inside; none where there is no cube.
    fn corners_inside(&self, point: usize) -> usize {
        let place = self.place_of(point);
        if (0..3).any(|axis| place[axis] + 1 >= self.sizes[axis]) {
            return 0;
        }
        let bit = |c: u32| usize::from(self.is_inside(self.corner(point, c))) << c;
        (0..8).map(bit).sum()
    }
}

/// Vertices of each point.
pub(crate) fn vertex_counts(field: &Field) -> Vec<u32> {
    let count = |point| field.crossed(point).len() as u32;
    (0..field.points()).map(count).collect()
}

/// Triangles of the cube behind each point.
pub(crate) fn triangle_counts(field: &Field, table: &[u32]) -> Vec<u32> {
    let count = |point| table[WORDS * field.corners_inside(point) + 2] >> 16;
    (0..field.points()).map(count).collect()
}

/// (value - from) / (to - from), rounded down to a multiple of 2^-24 and below 1.
fn share(from: f32, to: f32, value: f32) -> f32 {
    let (part, whole) = ((value - from).abs(), (to - from).abs());
    // The quotient of two f32 is no multiple of 2^-24, or farther from one than f64 rounds.
    let steps = (f64::from(part) / f64::from(whole) * 16_777_216.0).floor();
    (steps.min(16_777_215.0) / 16_777_216.0) as f32
}

/// x, y and z of each vertex, rows behind the last one zero.
pub(crate) fn vertices(field: &Field, base: &[u32], first_layer: f32, capacity: usize) -> Vec<f32> {
    let mut out = vec![0.0; 3 * capacity];
    for (point, &first) in base.iter().enumerate().take(field.points()) {
        let [x, y, z] = field.place_of(point).map(|n| n as f32);
        let rows = first as usize..;
        for (row, axis) in rows.zip(field.crossed(point)) {
            let next = field.density[point + field.stride(axis)];
            let mut place = [x, y, z + first_layer];
            place[axis] += share(field.density[point], next, field.threshold);
            if let Some(out) = out.get_mut(3 * row..3 * row + 3) {
                out.copy_from_slice(&place);
            }
        }
    }
    out
}

/// The vertices of each triangle, rows behind the last one zero.
pub(crate) fn triangles(
    field: &Field,
    vertex_base: &[u32],
    triangle_base: &[u32],
    table: &[u32],
    capacity: usize,
) -> Vec<u32> {
    let mut out = vec![0; 3 * capacity];
    for (point, &first) in triangle_base.iter().enumerate().take(field.points()) {
        let corners = field.corners_inside(point);
        let words = &table[WORDS * corners..][..WORDS];
        // Edges are a corner and an axis: see the table.
        let vertex_on = |edge: u32| {
            let owner = field.corner(point, edge & 7);
            let before = field.crossed(owner);
            let before = before.iter().filter(|&&axis| axis < (edge >> 3) as usize);
            vertex_base[owner] + before.count() as u32
        };
        for i in 0..(words[2] >> 16) as usize {
            let edges = words[i / 2] >> (i % 2 * 15);
            let row = 3 * (first as usize + i);
            if let Some(out) = out.get_mut(row..row + 3) {
                out.copy_from_slice(&[0, 5, 10].map(|k| vertex_on(edges >> k & 31)));
            }
        }
    }
    out
}

/// Numbers as they are in a precision.
pub(crate) fn in_precision(values: Vec<f32>, precision: Precision) -> Data {
    match precision {
        Precision::F32 => Data::F32(values),
        Precision::F64 => Data::F64(values.into_iter().map(f64::from).collect()),
        Precision::Tracked => {
            let exact = |x| Tracked::from_f64(f64::from(x));
            Data::Tracked(values.into_iter().map(exact).collect())
        }
    }
}

impl Twin for MarchingCubes {
    fn reference(&self, buffers: &mut [Data]) {
        let field = Field::new(self, &buffers[0], &buffers[1]);
        let words = |i: usize| buffers[i].as_u32();
        let out = match self.stage {
            Stage::VertexCounts => Data::U32(vertex_counts(&field)),
            Stage::TriangleCounts => Data::U32(triangle_counts(&field, words(2))),
            Stage::Vertices => {
                let first = buffers[3].to_f32()[0];
                let places = vertices(&field, words(2), first, self.capacity);
                in_precision(places, super::precision_of(buffers))
            }
            Stage::Triangles => Data::U32(triangles(
                &field,
                words(2),
                words(3),
                words(4),
                self.capacity,
            )),
        };
        if let Some(last) = buffers.last_mut() {
            *last = out;
        }
    }
}

/// The table that the graph's operators use.
pub(crate) fn table() -> Data {
    Data::U32(TABLE.clone())
}
