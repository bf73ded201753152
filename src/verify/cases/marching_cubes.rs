//! Surfaces of densities on lattices: every set of a cube's corners, noise, ties with the threshold, nothing and everything inside; room for all
//! vertices and triangles, for more and for fewer.
//!
//! All of it is decided in f32 alike, and compared without tolerance.

use std::sync::Arc;

use super::{Case, Values, numbers, unwritten};
use crate::kernels::marching_cubes::table::TABLE;
use crate::kernels::marching_cubes::{MarchingCubes, Stage};
use crate::reference::marching_cubes as twin;
use crate::reference::scan::scan;
use crate::tensor::{DType, Data};

/// What a lattice holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Normal numbers: a vertex on every second edge.
    Noise,
    /// All 256 sets of a cube's corners, cubes apart from each other, of numbers from 0.6 to 1.6 inside.
    Sets,
    /// Many equal to the threshold, zeros of either sign.
    Ties,
    /// A ball that the lattice's end cuts.
    Ball,
    /// From 1e-30 to 1e30.
    Wide,
    /// Less than the threshold everywhere.
    Outside,
    /// More.
    Inside,
}

const THRESHOLD: f32 = 0.5;

/// Points of the lattice of [`Kind::Sets`]: cubes of 2^3 points, three from each other along each axis.
const SETS: [usize; 3] = [24, 24, 12];

fn density(kind: Kind, [columns, rows, layers]: [usize; 3]) -> Vec<f32> {
    let count = columns * rows * layers;
    let drawn = numbers(Values::Normal, 71, count).to_f32();
    let place = |p: usize| [p % columns, p / columns % rows, p / columns / rows];
    let of_set = |p: usize| {
        let [x, y, z] = place(p);
        let set = x / 3 + 8 * (y / 3 + 8 * (z / 3));
        let corner = x % 3 + 2 * (y % 3) + 4 * (z % 3);
        let in_cube = x % 3 < 2 && y % 3 < 2 && z % 3 < 2;
        in_cube && set >> corner & 1 == 1
    };
    let one = |p: usize| match kind {
        Kind::Noise => drawn[p],
        Kind::Sets if of_set(p) => 1.1 + 0.5 * drawn[p].clamp(-1.0, 1.0),
        Kind::Sets => 0.1 * drawn[p].clamp(-1.0, 1.0),
        Kind::Ties => [0.5, 0.0, 1.0, -0.0, 0.5, 0.75][(drawn[p].to_bits() / 3) as usize % 6],
        Kind::Ball => {
            let from = place(p).map(|n| n as f32 - 0.4 * columns as f32);
            let r = from.iter().map(|x| x * x).sum::<f32>().sqrt();
            0.3 * columns as f32 - r + THRESHOLD
        }
        Kind::Wide => drawn[p].signum() * 10_f32.powf(15.0 * drawn[p].clamp(-2.0, 2.0)),
        Kind::Outside => THRESHOLD - drawn[p].abs(),
        Kind::Inside => THRESHOLD + 0.01 + drawn[p].abs(),
    };
    (0..count).map(one).collect()
}

pub(super) fn all(quick: bool, cases: &mut Vec<Case>) {
    cube(Kind::Sets, SETS, cases);
    // One more and one less than a workgroup; lattices without cubes.
    let mut sizes = vec![
        [1, 1, 1],
        [2, 2, 2],
        [7, 3, 3],
        [5, 13, 1],
        [4, 4, 4],
        [9, 17, 5],
    ];
    if !quick {
        sizes.extend([
            [1, 67, 2],
            [2, 1, 35],
            [64, 3, 2],
            [3, 64, 2],
            [33, 31, 29],
            [65, 66, 67],
        ]);
    }
    for size in sizes {
        for kind in [Kind::Noise, Kind::Ties, Kind::Ball] {
            cube(kind, size, cases);
        }
    }
    for kind in [Kind::Wide, Kind::Outside, Kind::Inside] {
        cube(kind, [6, 5, 7], cases);
    }
}

/// The four kernels on one lattice.
fn cube(kind: Kind, lattice: [usize; 3], cases: &mut Vec<Case>) {
    let [columns, rows, layers] = lattice;
    let kernel = move |stage, capacity| MarchingCubes {
        lattice,
        stage,
        capacity,
    };
    let field = move || {
        [
            Data::F32(density(kind, lattice)),
            Data::F32(vec![THRESHOLD]),
        ]
    };
    let bases = move || {
        let [density, threshold] = field();
        let field = twin::Field::new(&kernel(Stage::VertexCounts, 0), &density, &threshold);
        let counts = [
            twin::vertex_counts(&field),
            twin::triangle_counts(&field, &TABLE),
        ];
        counts.map(|c| scan(&c, 1 << 30))
    };
    let mut add = |stage: Stage, what: &str, capacity: usize| {
        let make = move || {
            let mut inputs = field().to_vec();
            let table = Data::U32(TABLE.clone());
            inputs.extend(match stage {
                Stage::VertexCounts => vec![unwritten(DType::U32)],
                Stage::TriangleCounts => vec![table, unwritten(DType::U32)],
                Stage::Vertices => {
                    let [base, _] = bases().map(Data::U32);
                    // Not the first chunk.
                    vec![base, Data::F32(vec![3.0]), unwritten(DType::F32)]
                }
                Stage::Triangles => {
                    let [vertices, triangles] = bases().map(Data::U32);
                    vec![vertices, triangles, table, unwritten(DType::U32)]
                }
            });
            inputs
        };
        let name = format!("{stage:?}, {columns} x {rows} x {layers}, {kind:?}{what}");
        cases.push(Case::new(name, Arc::new(kernel(stage, capacity)), make));
    };
    add(Stage::VertexCounts, "", 0);
    add(Stage::TriangleCounts, "", 0);
    let totals = bases().map(|base| base[base.len() - 2] as usize);
    for (stage, total) in [Stage::Vertices, Stage::Triangles].into_iter().zip(totals) {
        // More than there are points at times: 64 rows an invocation are cleared.
        add(stage, ", room for 67 more", total + 67);
        if total > 1 {
            add(stage, ", room for half", total / 2);
        }
    }
    if lattice == [2, 2, 2] {
        add(Stage::Vertices, ", room for 3000", 3000);
        add(Stage::Triangles, ", room for 3000", 3000);
    }
}
