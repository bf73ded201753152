//! Twins of `shaders/hash_encoding.wgsl`.

use super::{Twin, twin};
use crate::kernels::hash_encoding::{
    BITS, HashCells, HashClear, HashEncode, HashFinish, HashGrid, HashScatter, Level,
};
use crate::real::{Precision, Real, Tracked};
use crate::tensor::Data;

/// One step of a fraction.
const STEP: f64 = 1.0 / (1 << 24) as f64;

/// Cell and fraction, in units of 2^-24, along an axis: `x * scale + 1/2` in integers, as the shader's text says.
pub(crate) fn cell_along(level: &Level, x: f64) -> (u32, u32) {
    let steps = (x.clamp(0.0, 1.0) * 2_f64.powi(31)) as u64;
    let (scale, shift) = level.fixed();
    let p = ((steps * u64::from(scale)) >> shift) + (1 << 31);
    ((p >> 32) as u32, p as u32 >> 8)
}

/// The entry of a vertex in its level's table.
pub(crate) fn entry_of(level: &Level, [x, y, z]: [u32; 3]) -> usize {
    let r = u64::from(level.resolution);
    let place = if level.hashed {
        u64::from(x ^ y.wrapping_mul(2_654_435_761) ^ z.wrapping_mul(805_459_861))
    } else {
        u64::from(x) + r * u64::from(y) + r * r * u64::from(z)
    };
    (place % u64::from(level.entries)) as usize
}

/// Entries, in the whole table, of the eight corners of a position's cell, and for each axis the far and the near corner's weight.
struct Place<T> {
    corners: [usize; 8],
    weights: [[T; 2]; 3],
}

impl<T: Real> Place<T> {
    fn of(level: &Level, position: &[T]) -> Self {
        let along = |axis: usize| cell_along(level, position[axis].to_f64());
        let cells = [0, 1, 2].map(along);
        let corner = |c: usize| {
            let vertex = [0, 1, 2].map(|axis| cells[axis].0 + (c >> axis & 1) as u32);
            level.first as usize + entry_of(level, vertex)
        };
        let real = |steps: u32| T::from_f64(f64::from(steps) * STEP);
        Self {
            corners: [0, 1, 2, 3, 4, 5, 6, 7].map(corner),
            weights: cells.map(|(_, fraction)| [real((1 << 24) - fraction), real(fraction)]),
        }
    }

    /// Entry and weight of each corner.
    fn each(&self) -> impl Iterator<Item = (usize, T)> + '_ {
        let [x, y, z] = &self.weights;
        let weight = |c: usize| x[c & 1] * y[c >> 1 & 1] * z[c >> 2];
        self.corners
            .iter()
            .enumerate()
            .map(move |(c, &entry)| (entry, weight(c)))
    }
}

/// `[samples, levels * features]`: at each level the table's entries at the corners of the cell, by their weights.
pub(crate) fn encode<T: Real>(grid: &HashGrid, positions: &[T], table: &[T]) -> Vec<T> {
    let features = grid.features;
    let mut out = Vec::with_capacity(positions.len() / 3 * grid.width());
    for position in positions.chunks_exact(3) {
        for level in &grid.levels {
            let place = Place::of(level, position);
            let start = out.len();
            out.resize(start + features, T::from_f64(0.0));
            for (entry, weight) in place.each() {
                for f in 0..features {
                    out[start + f] = out[start + f] + weight * table[entry * features + f];
                }
            }
        }
    }
    out
}

/// The gradient by the table: `out[entry, f]` is the sum of `weight * gradient` over all corners that are that entry.
pub(crate) fn scatter<T: Real>(grid: &HashGrid, positions: &[T], gradient: &[T]) -> Vec<T> {
    let mut out = vec![T::from_f64(0.0); grid.elements()];
    contributions(grid, positions, gradient, |at, weight, g| {
        out[at] = out[at] + weight * g;
    });
    out
}

/// Calls `each` with element of the table, weight and gradient, for every sample, level, corner and feature.
fn contributions<T: Real>(
    grid: &HashGrid,
    positions: &[T],
    gradient: &[T],
    mut each: impl FnMut(usize, T, T),
) {
    let features = grid.features;
    let rows = gradient.chunks_exact(grid.width().max(1));
    for (position, row) in positions.chunks_exact(3).zip(rows) {
        for (level, row) in grid.levels.iter().zip(row.chunks_exact(features)) {
            for (entry, weight) in Place::of(level, position).each() {
                for (f, &g) in row.iter().enumerate() {
                    each(entry * features + f, weight, g);
                }
            }
        }
    }
}

/// As [`scatter`], with what fixed point may differ by: n contributions to an entry are within n (unit / 2 + 2^-22 max |w g|). The half units
/// are no rounding error: an integer stands for whatever is nearer to it than to others, which is choice.
pub(crate) fn scatter_tracked(
    grid: &HashGrid,
    positions: &[Tracked],
    gradient: &[Tracked],
) -> Vec<Tracked> {
    #[derive(Clone, Default)]
    struct Sum {
        value: f64,
        given: f64,
        count: f64,
        largest: f64,
    }
    let mut sums = vec![Sum::default(); grid.elements()];
    contributions(grid, positions, gradient, |at, weight, g| {
        let (w, sum) = (weight.to_f64(), &mut sums[at]);
        sum.value += w * g.to_f64();
        sum.given += w * g.tolerance();
        sum.count += 1.0;
        sum.largest = sum.largest.max(w * (g.to_f64().abs() + g.tolerance()));
    });
    let units = units_of(grid, gradient);
    let tracked = |(at, sum): (usize, &Sum)| {
        let unit = units[column(grid, at)];
        let own = sum.count * 2_f64.powi(-22) * sum.largest;
        Tracked::with_bias(sum.value, sum.given + own).or_within(sum.count * unit / 2.0)
    };
    sums.iter().enumerate().map(tracked).collect()
}

/// Which of the encoding's columns an element of the table is for.
fn column(grid: &HashGrid, element: usize) -> usize {
    let (entry, feature) = (element / grid.features, element % grid.features);
    let level = grid.levels.partition_point(|l| l.first as usize <= entry) - 1;
    level * grid.features + feature
}

/// The units of a gradient's columns, the larger one where the bound's rounding leaves two.
fn units_of<T: Real>(grid: &HashGrid, gradient: &[T]) -> Vec<f64> {
    let mut bounds = vec![0.0; grid.width()];
    for row in gradient.chunks_exact(grid.width().max(1)) {
        for (bound, g) in bounds.iter_mut().zip(row) {
            *bound += g.to_f64().abs();
        }
    }
    let largest = |bound: &f64| (bound * (1.0 + 2_f64.powi(-12))) as f32;
    bounds
        .iter()
        .map(|bound| 2_f64.powi(unit_exponent(largest(bound))))
        .collect()
}

/// The unit of a sum whose terms' magnitudes add up to `bound` is 2 to this.
pub(crate) fn unit_exponent(bound: f32) -> i32 {
    let raised = bound.abs().to_bits() + 0x1000;
    let exponent = ((raised + 0x007f_ffff) >> 23) as i32 - 127;
    (exponent - BITS as i32).max(-126)
}

impl Twin for HashCells {
    fn reference(&self, buffers: &mut [Data]) {
        let mut cells = Vec::new();
        for position in buffers[0].to_f64().chunks_exact(3) {
            for level in &self.grid.levels {
                let along = [0, 1, 2].map(|axis: usize| cell_along(level, position[axis]));
                cells.extend(along.map(|(cell, _)| cell));
                cells.extend(along.map(|(_, fraction)| fraction));
            }
        }
        buffers[1] = Data::U32(cells);
    }
}

twin!(HashEncode, run_encode);

fn run_encode<T: Real>(kernel: &HashEncode, buffers: &mut [Data]) {
    let (positions, table) = (T::of(&buffers[0]), T::of(&buffers[1]));
    buffers[2] = T::into_data(encode(&kernel.grid, positions, table));
}

impl Twin for HashClear {
    fn reference(&self, buffers: &mut [Data]) {
        buffers[0] = Data::U32(vec![0; self.grid.elements()]);
    }
}

/// In f32 whatever the arrays are: these are the integers that every device adds up.
impl Twin for HashScatter {
    fn reference(&self, buffers: &mut [Data]) {
        let [positions, gradient, bounds] = [0, 1, 2].map(|i: usize| buffers[i].to_f32());
        let mut sums = buffers[3].as_u32().to_vec();
        contributions(&self.grid, &positions, &gradient, |at, weight, g| {
            let bound = bounds[column(&self.grid, at)];
            if bound.is_finite() {
                let scaled = g * 2_f32.powi(-unit_exponent(bound));
                let units = (weight * scaled).round_ties_even() as i32;
                sums[at] = sums[at].wrapping_add(units as u32);
            }
        });
        buffers[3] = Data::U32(sums);
    }
}

twin!(HashFinish, run_finish);

fn run_finish<T: Real>(kernel: &HashFinish, buffers: &mut [Data]) {
    let (sums, bounds) = (buffers[0].as_u32(), T::of(&buffers[1]));
    let total = |(element, &sum): (usize, &u32)| {
        let bound = bounds[column(&kernel.grid, element)].to_f64() as f32;
        if !bound.is_finite() {
            return T::from_f64(f64::NAN);
        }
        // One rounding: that of an integer of 31 bits to f32.
        let units = T::from_f64(f64::from(sum as i32));
        units * T::from_f64(2_f64.powi(unit_exponent(bound)))
    };
    buffers[2] = T::into_data(sums.iter().enumerate().map(total).collect());
}

/// The gradient in any precision; with tracked numbers those of fixed point.
pub(crate) fn gradient<T: Real>(grid: &HashGrid, positions: &Data, gradient: &Data) -> Data {
    if T::PRECISION == Precision::Tracked {
        let (positions, gradient) = (Tracked::of(positions), Tracked::of(gradient));
        return Data::Tracked(scatter_tracked(grid, positions, gradient));
    }
    T::into_data(scatter(grid, T::of(positions), T::of(gradient)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash alone: a level whose table has so many entries.
    fn hash(vertex: [u32; 3], log2: u32) -> usize {
        let level = Level {
            scale: 2047.0,
            resolution: 2048,
            entries: 1 << log2,
            first: 0,
            hashed: true,
        };
        entry_of(&level, vertex)
    }

    #[test]
    fn hashes_are_instant_ngps() {
        for (vertex, of_19_bits) in [
            ([1, 0, 0], 1),
            ([0, 1, 0], 489_905),
            ([0, 0, 1], 153_493),
            ([1, 2, 3], 128_476),
            ([123, 456, 789], 470_282),
            ([2047, 2047, 2047], 285_147),
        ] {
            assert_eq!(hash(vertex, 19), of_19_bits, "{vertex:?}");
        }
        assert_eq!(hash([1, 2, 3], 14), 13_788);
        assert_eq!(
            hash([1, 2, 3], 31),
            (2_892_625_372_u32 & 0x7fff_ffff) as usize
        );
    }

    #[test]
    fn levels_are_those_of_both_configurations() {
        let column = |grid: &HashGrid, f: fn(&Level) -> u32| -> Vec<u32> {
            grid.levels.iter().map(f).collect()
        };
        let grid = HashGrid::new(8, 4, 19, 16, 2048).unwrap();
        let powers: Vec<u32> = (4..12).map(|n| 1 << n).collect();
        assert_eq!(column(&grid, |l| l.resolution), powers);
        let mut entries = vec![4096, 32768, 262_144];
        entries.resize(8, 524_288);
        assert_eq!(column(&grid, |l| l.entries), entries);
        assert_eq!((grid.entries(), grid.elements()), (2_920_448, 11_681_792));
        assert_eq!(grid.levels.iter().position(|l| l.hashed), Some(3));

        let grid = HashGrid::new(16, 2, 19, 16, 2048).unwrap();
        let resolutions = [
            16, 23, 31, 43, 59, 81, 112, 154, 213, 295, 407, 562, 777, 1073, 1483, 2048,
        ];
        assert_eq!(column(&grid, |l| l.resolution), resolutions);
        let mut entries = vec![4096, 12168, 29792, 79512, 205_384];
        entries.resize(16, 524_288);
        assert_eq!(column(&grid, |l| l.entries), entries);
        assert_eq!(grid.entries(), 6_098_120);
        assert_eq!(grid.levels.iter().position(|l| l.hashed), Some(5));

        // 511.0000000001 in f64 is 511 in f32.
        let last = HashGrid::new(8, 4, 17, 16, 512).unwrap().levels[7];
        assert_eq!((last.scale, last.resolution), (511.0, 512));
    }

    #[test]
    fn the_example_wraps_where_the_last_cell_ends() {
        let grid = HashGrid::new(4, 1, 9, 4, 32).unwrap();
        let entry = |e: usize| (e % 17) as f64 / 16.0 - 0.5;
        let table: Vec<f64> = (0..grid.entries()).map(entry).collect();
        let x = [0.31_f32, 0.62, 0.87].map(f64::from);
        let y = encode(&grid, &x, &table);
        let expected = [0.0125, 0.189_375, 0.009_312_5, 0.005_843_5];
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 1e-6, "{y}, not {expected}");
        }
        let corners = |level: usize| {
            let level = &grid.levels[level];
            Place::of(level, &x)
                .corners
                .map(|c| c - level.first as usize)
        };
        assert_eq!(cell_along(&grid.levels[0], x[2]).0, 3);
        assert_eq!(corners(0), [57, 58, 61, 62, 9, 10, 13, 14]);
        assert_eq!(corners(1), [418, 419, 426, 427, 482, 483, 490, 491]);
        assert_eq!(corners(2), [429, 430, 126, 125, 282, 281, 201, 202]);
    }

    #[test]
    fn scales_are_held_exactly() {
        for (levels, base, finest) in [(16, 16, 2048), (32, 1, 2), (7, 3, 1 << 20), (5, 1, 1)] {
            for level in HashGrid::new(levels, 2, 14, base, finest).unwrap().levels {
                let (integer, shift) = level.fixed();
                assert!((1..=31).contains(&shift), "{level:?}");
                let again = f64::from(integer) * 2_f64.powi(-(shift as i32) - 1);
                assert_eq!(again, f64::from(level.scale), "{level:?}");
            }
        }
    }

    #[test]
    fn units_are_powers_of_two_that_leave_room() {
        assert_eq!(unit_exponent(0.0), -126);
        assert_eq!(unit_exponent(1.0 - 1.0 / 1024.0), -30);
        // Within the bound's own rounding of a power of two: the next one.
        assert_eq!(unit_exponent(1.0 - 1.0 / 8192.0), -29);
        assert_eq!(unit_exponent(1.0), -29);
        assert_eq!(unit_exponent(f32::MAX), 99);
        assert_eq!(unit_exponent(1e-38), -126);
    }
}
