//! Twins of `shaders/scatter_add.wgsl`.

use super::{Twin, twin};
use crate::kernels::scatter_add::{RankPositions, ScatterAdd};
use crate::real::Real;
use crate::tensor::Data;

/// Positions sorted by their index, equal ones in their order.
pub(crate) fn rank_positions(index: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..index.len() as u32).collect();
    order.sort_by_key(|&b| index[b as usize]);
    order
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

impl Twin for RankPositions {
    fn reference(&self, buffers: &mut [Data]) {
        buffers[1] = Data::U32(rank_positions(buffers[0].as_u32()));
    }
}

twin!(ScatterAdd, run);

fn run<T: Real>(kernel: &ScatterAdd, buffers: &mut [Data]) {
    buffers[3] = T::into_data(scatter_add(kernel, T::of(&buffers[0]), buffers[1].as_u32()));
}
