//! Twin of `shaders/matmul.wgsl`.

use std::sync::Arc;

use rayon::prelude::*;

use super::expression::Evaluator;
use super::{Twin, precision_of, random_state, take};
use crate::kernels::Caps;
use crate::kernels::matmul::{Layout, Matmul, Variant};
use crate::kernels::philox::RandomState;
use crate::real::{Precision, Real, Tracked};
use crate::tensor::Data;

/// The sums `A B`, `[batch, m, n]`, before the epilogue.
pub(crate) fn matmul<T: Real>(kernel: &Matmul, a: &[T], b: &[T]) -> Vec<T> {
    let &Matmul { m, n, k, .. } = kernel;
    let a_at = |batch: usize, row: usize, p: usize| {
        let start = if kernel.a_batched { batch * m * k } else { 0 };
        a[start
            + if kernel.layout == Layout::Tn {
                p * m + row
            } else {
                row * k + p
            }]
    };
    let b_at = |batch: usize, p: usize, column: usize| {
        let start = if kernel.b_batched { batch * k * n } else { 0 };
        b[start
            + if kernel.layout == Layout::Nt {
                column * k + p
            } else {
                p * n + column
            }]
    };
    (0..kernel.batch * m)
        .into_par_iter()
        .flat_map_iter(|line| {
            let (batch, row) = (line / m, line % m);
            (0..n).map(move |column| {
                (0..k).fold(T::from_f64(0.0), |sum, p| {
                    sum + a_at(batch, row, p) * b_at(batch, p, column)
                })
            })
        })
        .collect()
}

/// The sums over k of A's columns, `[batch, m]`.
pub(crate) fn row_sums<T: Real>(kernel: &Matmul, a: &[T]) -> Vec<T> {
    let &Matmul { m, k, .. } = kernel;
    (0..kernel.batch * m)
        .map(|line| {
            let (batch, row) = if kernel.a_batched {
                (line / m, line % m)
            } else {
                (0, line % m)
            };
            (0..k).fold(T::from_f64(0.0), |sum, p| {
                sum + a[(batch * k + p) * m + row]
            })
        })
        .collect()
}

impl Twin for Matmul {
    fn reference(&self, buffers: &mut [Data]) {
        match precision_of(buffers) {
            Precision::F32 => run::<f32>(self, buffers),
            Precision::F64 => run::<f64>(self, buffers),
            Precision::Tracked => run::<Tracked>(self, buffers),
        }
    }

    fn pieces(&self, limit: usize) -> Option<Vec<super::piece::Piece>> {
        super::piece::matmul(self, limit)
    }

    fn alternatives(&self, caps: &Caps) -> Vec<Arc<dyn Twin>> {
        Variant::candidates(caps, [self.m, self.n, self.k], self.layout)
            .into_iter()
            .filter(|&variant| variant != self.variant)
            .map(|variant| -> Arc<dyn Twin> {
                Arc::new(Self {
                    variant,
                    ..self.clone()
                })
            })
            .collect()
    }
}

fn run<T: Real>(kernel: &Matmul, buffers: &mut [Data]) {
    let operands = kernel.epilogue.operands.len();
    let random = kernel.epilogue.is_random();
    let state = if random {
        random_state(buffers[2 + operands].as_u32())
    } else {
        RandomState::default()
    };
    let first_out = 2 + operands + usize::from(random);
    let mut out: Vec<Vec<T>> = (0..kernel.epilogue.results.len())
        .map(|i| take::<T>(&mut buffers[first_out + i]))
        .collect();

    let sums = matmul::<T>(kernel, T::of(&buffers[0]), T::of(&buffers[1]));
    let extra = buffers[2..2 + operands].iter().map(T::of).collect();
    let mut epilogue = Evaluator::new(&kernel.epilogue, extra, state);
    for (index, &sum) in sums.iter().enumerate() {
        for (out, result) in out.iter_mut().zip(epilogue.results(index, sum)) {
            out[index] = if kernel.accumulate {
                out[index] + result
            } else {
                result
            };
        }
    }
    let row_sums = kernel
        .row_sums
        .then(|| row_sums::<T>(kernel, T::of(&buffers[0])));
    let results = out.len();
    for (i, out) in out.into_iter().enumerate() {
        buffers[first_out + i] = T::into_data(out);
    }
    if let Some(mut sums) = row_sums {
        if kernel.accumulate {
            let before = take::<T>(&mut buffers[first_out + results]);
            sums.iter_mut().zip(before).for_each(|(s, b)| *s = b + *s);
        }
        buffers[first_out + results] = T::into_data(sums);
    }
}
