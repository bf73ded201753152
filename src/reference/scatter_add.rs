//! Twins of `shaders/scatter_add.wgsl`.

use super::{Twin, twin};
use crate::kernels::scatter_add::{FindStarts, MergeRuns, ScatterAdd, SortTiles, merged, tile};
use crate::real::Real;
use crate::tensor::Data;

/// Pairs (index, position), sorted within runs of `length`, equal indices in the order in which they stand.
fn sorted_runs(mut pairs: Vec<(u32, u32)>, length: usize) -> Data {
    for run in pairs.chunks_mut(length) {
        run.sort_by_key(|&(index, _)| index);
    }
    Data::U32(pairs.into_iter().flat_map(|(i, b)| [i, b]).collect())
}

fn pairs_of(words: &[u32]) -> Vec<(u32, u32)> {
    words
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

/// All positions sorted by their index, equal ones in their order: what the merges end with.
pub(crate) fn sorted_positions(index: &[u32]) -> Data {
    sorted_runs(index.iter().copied().zip(0..).collect(), index.len().max(1))
}

/// Where the positions of each row begin among the sorted ones, and where those of the last end.
pub(crate) fn starts(sorted: &[u32], rows: usize) -> Data {
    let pairs = pairs_of(sorted);
    let start = |row: u32| pairs.partition_point(|&(index, _)| index < row) as u32;
    Data::U32((0..=rows as u32).map(start).collect())
}

/// `out[row, :] = sum of updates[b, :] where index[b] = row`.
pub(crate) fn scatter_add<T: Real>(kernel: &ScatterAdd, updates: &[T], index: &[u32]) -> Vec<T> {
    let mut out = vec![T::from_f64(0.0); kernel.rows * kernel.width];
    for (b, &row) in index.iter().enumerate() {
        if (row as usize) < kernel.rows {
            for column in 0..kernel.width {
                let e = row as usize * kernel.width + column;
                out[e] = out[e] + updates[b * kernel.width + column];
            }
        }
    }
    out
}

impl Twin for SortTiles {
    fn reference(&self, buffers: &mut [Data]) {
        let index = buffers[0].as_u32();
        buffers[1] = sorted_runs(index.iter().copied().zip(0..).collect(), tile());
    }
}

impl Twin for MergeRuns {
    fn reference(&self, buffers: &mut [Data]) {
        let runs = pairs_of(buffers[0].as_u32());
        buffers[1] = sorted_runs(runs, 1 << merged(self.run));
    }
}

impl Twin for FindStarts {
    fn reference(&self, buffers: &mut [Data]) {
        buffers[1] = starts(buffers[0].as_u32(), self.rows);
    }
}

twin!(ScatterAdd, run);

fn run<T: Real>(kernel: &ScatterAdd, buffers: &mut [Data]) {
    let mut index = vec![u32::MAX; kernel.count];
    for (row, position) in pairs_of(buffers[1].as_u32()) {
        if let Some(index) = index.get_mut(position as usize) {
            *index = row;
        }
    }
    buffers[3] = T::into_data(scatter_add(kernel, T::of(&buffers[0]), &index));
}
