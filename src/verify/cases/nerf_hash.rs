//! Hash encodings and their gradients.

use std::sync::Arc;

use super::{Case, Values, case, integers, numbers};
use crate::kernels::hash_encoding::{
    HashCells, HashClear, HashEncode, HashFinish, HashGrid, HashScatter,
};
use crate::tensor::Data;

/// Positions in the unit cube, with its corners and faces, points on walls of cells, and points outside of it.
pub(crate) fn positions(samples: usize) -> Data {
    let drawn = numbers(Values::Positive, 91, 3 * samples).to_f32();
    // Positive numbers begin at 0.1.
    let mut x: Vec<f32> = drawn.iter().map(|x| x - 0.1).collect();
    let special = [
        0.0,
        1.0,
        0.5,
        1.0 - f32::EPSILON / 2.0,
        f32::EPSILON,
        // Halves of a cell in levels of 16, 32 and 128 vertices.
        0.5 / 15.0,
        1.5 / 31.0,
        100.5 / 127.0,
        -0.25,
        1.5,
        1e-30,
        0.003,
    ];
    for (i, x) in x.iter_mut().enumerate().filter(|(i, _)| i % 5 == 0) {
        *x = special[i / 5 % special.len()];
    }
    Data::F32(x)
}

/// Grids: of every number of features, all dense, all hashed, both, of one level, of one vertex, and scales that are no integers.
fn grids() -> Vec<HashGrid> {
    [
        (4, 1, 9, 4, 32),
        (3, 2, 8, 3, 40),
        (8, 4, 10, 16, 2048),
        (8, 4, 14, 16, 512),
        (2, 8, 9, 5, 77),
        (1, 4, 12, 16, 16),
        (5, 1, 3, 1, 2),
        (16, 2, 11, 16, 2048),
        (2, 1, 6, 16, 1_000_000),
    ]
    .into_iter()
    .filter_map(|(levels, features, log2, base, finest)| {
        HashGrid::new(levels, features, log2, base, finest).ok()
    })
    .collect()
}

fn name(grid: &HashGrid, samples: usize, what: &str) -> String {
    let (levels, features) = (grid.levels.len(), grid.features);
    let most = grid.levels.last().map_or(0, |l| l.resolution);
    format!("{what} of {samples}, {levels} levels to {most}, {features} features")
}

pub(super) fn hash_encoding(cases: &mut Vec<Case>) {
    let samples = [1, 63, 130, 257, 65, 31, 100, 17, 64];
    for (grid, samples) in grids().into_iter().zip(samples) {
        let grid = Arc::new(grid);
        let place = move |inputs: &mut [Data]| inputs[0] = positions(samples);
        let kernel = HashCells {
            grid: grid.clone(),
            samples,
        };
        let title = name(&grid, samples, "cells");
        cases.push(case(title, kernel, Values::Normal).changed(place));
        let kernel = HashEncode {
            grid: grid.clone(),
            samples,
        };
        let title = name(&grid, samples, "encoding");
        cases.push(case(title, kernel, Values::Normal).changed(place));
        for values in [Values::Normal, Values::Small] {
            cases.push(scatter(&grid, samples, values));
        }
        cases.push(finish(&grid));
        cases.push(case(
            name(&grid, 0, "zeros"),
            HashClear { grid },
            Values::Normal,
        ));
    }
    one_vertex(cases);
    lost(cases);
}

/// Gradients onto sums that are not zero; some of the rows have none.
fn scatter(grid: &Arc<HashGrid>, samples: usize, values: Values) -> Case {
    let width = grid.width();
    let kernel = HashScatter {
        grid: grid.clone(),
        samples,
    };
    let title = format!("{} {values:?}", name(grid, samples, "scatter"));
    case(title, kernel, values).changed(move |inputs| {
        inputs[0] = positions(samples);
        let mut gradient = inputs[1].to_f32();
        for (row, gradient) in gradient.chunks_exact_mut(width).enumerate() {
            if row % 11 == 10 {
                gradient.fill(0.0);
            }
        }
        inputs[2] = Data::F32(bounds_of(&gradient, width));
        inputs[1] = Data::F32(gradient);
    })
}

/// What the units are made from: the magnitudes' sums, in f32.
fn bounds_of(gradient: &[f32], width: usize) -> Vec<f32> {
    let mut bounds = vec![0.0; width];
    for row in gradient.chunks_exact(width) {
        for (bound, g) in bounds.iter_mut().zip(row) {
            *bound += g.abs();
        }
    }
    bounds
}

/// Sums of all sizes that there can be (a bound is 2^29 units at most), with bounds of all magnitudes: among them 0, a power of two, one more and one less.
fn finish(grid: &Arc<HashGrid>) -> Case {
    let (width, elements) = (grid.width(), grid.elements());
    let kernel = HashFinish { grid: grid.clone() };
    let title = name(grid, 0, "sums as reals");
    case(title, kernel, Values::Normal).changed(move |inputs| {
        let words = integers(17, u32::MAX, elements);
        let within = |&word: &u32| ((word as i32) >> (word % 28 + 2)) as u32;
        inputs[0] = Data::U32(words.as_u32().iter().map(within).collect());
        let special = [
            0.0,
            1.0,
            1.0 - 0.000_2,
            1.0 + f32::EPSILON,
            3e-39,
            1e30,
            f32::MAX,
            1e-20,
            1.0 - 0.000_3,
            // Raised it is 1, and not a bit more.
            1.0 - 1.0 / 4096.0,
            7.3,
        ];
        inputs[1] = Data::F32((0..width).map(|i| special[i % special.len()]).collect());
    })
}

/// All samples on one vertex, with one sign, and the sum just below a power of two: the largest integer that there can be. With a unit two
/// bits smaller it would overflow.
fn one_vertex(cases: &mut Vec<Case>) {
    let Ok(grid) = HashGrid::new(1, 4, 12, 3, 3) else {
        return;
    };
    let (grid, samples) = (Arc::new(grid), 300);
    let kernel = HashScatter {
        grid: grid.clone(),
        samples,
    };
    let title = "scatter, all onto one vertex".to_owned();
    let scattered = case(title, kernel, Values::Normal).changed(move |inputs| {
        let (positions, gradient) = adversary(samples);
        inputs[2] = Data::F32(bounds_of(&gradient, 4));
        inputs[3] = Data::U32(vec![0; inputs[3].len()]);
        (inputs[0], inputs[1]) = (Data::F32(positions), Data::F32(gradient));
    });
    cases.push(scattered);
}

/// Positions and gradients of [`one_vertex`]: of two features the sums are -+(1 - 2^-10), of the others just above 1 and 0.
pub(crate) fn adversary(samples: usize) -> (Vec<f32>, Vec<f32>) {
    // p = 2 x + 1/2 is 1 in the middle of the lower half: a vertex.
    let positions = vec![0.25; 3 * samples];
    let sums = [1.0 - 1.0 / 1024.0, 1.0 / 1024.0 - 1.0, 1.0 + 1e-6, 0.0];
    let each = sums.map(|sum| sum / samples as f32);
    (positions, each.repeat(samples))
}

/// Bounds that are no numbers: of an infinite gradient, of a NaN, and of finite ones whose sum is too large.
fn lost(cases: &mut Vec<Case>) {
    let Ok(grid) = HashGrid::new(2, 4, 9, 4, 9) else {
        return;
    };
    let (grid, samples) = (Arc::new(grid), 70);
    // A NaN with its last bit set.
    let nan = f32::from_bits(0x7fc0_0001);
    let bad = [f32::INFINITY, 1.0, nan, 2.0, 3.0, f32::INFINITY, 4.0, 5.0];
    let kernel = HashScatter {
        grid: grid.clone(),
        samples,
    };
    let title = "scatter of gradients that are no numbers".to_owned();
    cases.push(case(title, kernel, Values::Small).changed(move |inputs| {
        inputs[0] = positions(samples);
        let mut gradient = inputs[1].to_f32();
        (gradient[0], gradient[8 + 2], gradient[5]) = (f32::INFINITY, f32::NAN, f32::MAX);
        inputs[1] = Data::F32(gradient);
        inputs[2] = Data::F32(bad.to_vec());
    }));
    let title = "sums of gradients that are no numbers".to_owned();
    let kernel = HashFinish { grid };
    cases.push(case(title, kernel, Values::Small).changed(move |inputs| {
        inputs[1] = Data::F32(bad.to_vec());
    }));
}
