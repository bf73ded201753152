//! Twin of `shaders/quantile.wgsl`.

use super::twin;
use crate::kernels::quantile::Quantile;
use crate::real::Real;
use crate::tensor::Data;

/// `low + share (high - low)` of each row, low and high neighbours in its rising order.
pub(crate) fn quantile<T: Real>(kernel: &Quantile, x: &[T]) -> Vec<T> {
    let of_row = |row: &[T]| {
        let mut sorted = row.to_vec();
        T::sort(&mut sorted);
        let low = sorted[kernel.below];
        let high = sorted[(kernel.below + 1).min(kernel.length - 1)];
        low + T::from_f64(kernel.share) * (high - low)
    };
    x.chunks_exact(kernel.length).map(of_row).collect()
}

twin!(Quantile, run);

fn run<T: Real>(kernel: &Quantile, buffers: &mut [Data]) {
    buffers[1] = T::into_data(quantile(kernel, T::of(&buffers[0])));
}
