//! Twin of `shaders/top_k.wgsl`.

use super::twin;
use crate::kernels::top_k::{Kept, TopK};
use crate::real::Real;
use crate::tensor::Data;

/// Positions of the k largest of each run, the largest first, among equals the first: `[outer, inner]` runs of `k`.
pub(crate) fn largest<T: Real>(kernel: &TopK, x: &[T]) -> Vec<Vec<usize>> {
    let runs = (0..kernel.outer).flat_map(|o| (0..kernel.inner).map(move |i| (o, i)));
    let of_run = |(outer, inner): (usize, usize)| {
        let value = |i: usize| x[(outer * kernel.length + i) * kernel.inner + inner].to_f64();
        let mut order: Vec<usize> = (0..kernel.length).collect();
        // A stable sort: equals stay in their order. Adding 0 makes -0 equal to 0.
        order.sort_by(|&a, &b| (value(b) + 0.0).total_cmp(&(value(a) + 0.0)));
        order.truncate(kernel.k);
        order
    };
    runs.map(of_run).collect()
}

/// The result as the kernel writes it.
pub(crate) fn top_k<T: Real>(kernel: &TopK, x: &[T]) -> Data {
    let runs = largest(kernel, x);
    let place = |run: usize, along: usize, size: usize| {
        (run / kernel.inner * size + along) * kernel.inner + run % kernel.inner
    };
    match kernel.kept {
        Kept::Mask => {
            let mut mask = vec![T::from_f64(0.0); kernel.results()];
            for (run, taken) in runs.iter().enumerate() {
                for &i in taken {
                    mask[place(run, i, kernel.length)] = T::from_f64(1.0);
                }
            }
            T::into_data(mask)
        }
        Kept::Indices => {
            let mut indices = vec![0; kernel.results()];
            for (run, taken) in runs.iter().enumerate() {
                for (rank, &i) in taken.iter().enumerate() {
                    indices[place(run, rank, kernel.k)] = i as u32;
                }
            }
            Data::U32(indices)
        }
    }
}

twin!(TopK, run);

fn run<T: Real>(kernel: &TopK, buffers: &mut [Data]) {
    buffers[1] = top_k(kernel, T::of(&buffers[0]));
}
