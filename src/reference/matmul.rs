//! Twin of `shaders/matmul.wgsl`.

use std::sync::Arc;

use rayon::prelude::*;

use super::expression::{Evaluator, evaluate};
use super::sample::{element, places};
use super::{Sample, Twin, half, precision_of, random_state, take};
use crate::kernels::Caps;
use crate::kernels::matmul::{Layout, Matmul};
use crate::kernels::philox::RandomState;
use crate::real::{Precision, Real, Tracked};
use crate::tensor::Data;

/// Element `index` of the sums `A B`, `[batch, m, n]`; `a` and `b` are the operands' elements by their place.
fn sum<T: Real>(
    kernel: &Matmul,
    index: usize,
    a: impl Fn(usize) -> T,
    b: impl Fn(usize) -> T,
) -> T {
    let &Matmul { m, n, k, .. } = kernel;
    let (batch, row, column) = (index / n / m, index / n % m, index % n);
    let a_start = if kernel.a_batched { batch * m * k } else { 0 };
    let b_start = if kernel.b_batched { batch * k * n } else { 0 };
    (0..k).fold(T::from_f64(0.0), |sum, p| {
        let a_at = if kernel.layout == Layout::Tn {
            p * m + row
        } else {
            row * k + p
        };
        let b_at = if kernel.layout == Layout::Nt {
            column * k + p
        } else {
            p * n + column
        };
        sum + a(a_start + a_at) * b(b_start + b_at)
    })
}

/// The sums `A B`, `[batch, m, n]`, before the epilogue.
pub(crate) fn matmul<T: Real>(kernel: &Matmul, a: &[T], b: &[T]) -> Vec<T> {
    (0..kernel.batch * kernel.m * kernel.n)
        .into_par_iter()
        .map(|index| sum(kernel, index, |i| a[i], |i| b[i]))
        .collect()
}

/// The sum over k of column `line % m` of A in matrix `line / m`.
fn row_sum<T: Real>(kernel: &Matmul, line: usize, a: impl Fn(usize) -> T) -> T {
    let &Matmul { m, k, .. } = kernel;
    let batch = if kernel.a_batched { line / m } else { 0 };
    (0..k).fold(T::from_f64(0.0), |sum, p| {
        sum + a((batch * k + p) * m + line % m)
    })
}

/// The sums over k of A's columns, `[batch, m]`.
pub(crate) fn row_sums<T: Real>(kernel: &Matmul, a: &[T]) -> Vec<T> {
    (0..kernel.batch * kernel.m)
        .map(|line| row_sum(kernel, line, |i| a[i]))
        .collect()
}

/// Where the results begin among a product's bindings, and the words of randomness before them.
fn results(kernel: &Matmul, buffers: &[Data]) -> (usize, RandomState) {
    let operands = kernel.epilogue.operands.len();
    let random = kernel.epilogue.is_random();
    let state = if random {
        random_state(buffers[2 + operands].as_u32())
    } else {
        RandomState::default()
    };
    (2 + operands + usize::from(random), state)
}

impl Twin for Matmul {
    fn reference(&self, buffers: &mut [Data]) {
        match precision_of(buffers) {
            Precision::F32 => run::<f32>(self, buffers),
            Precision::F64 => run::<f64>(self, buffers),
            Precision::Tracked => run::<Tracked>(self, buffers),
        }
    }

    fn samples(&self, buffers: &[Data], each: usize) -> Vec<Sample> {
        let (first_out, state) = results(self, buffers);
        let results = &self.epilogue.results;
        let read = |binding: usize| move |i: usize| element::<Tracked>(&buffers[binding], i);
        let terms = self.rounded_terms();
        let operand_of = |binding| move |i| half::operand(read(binding)(i), terms);
        let added = |binding: usize, i: usize, value: Tracked| Sample {
            binding,
            element: i,
            value: if self.accumulate {
                element::<Tracked>(&buffers[binding], i) + value
            } else {
                value
            },
        };
        let (mut samples, mut values) = (Vec::new(), Vec::new());
        for index in places(self.counts().2, self.n, each) {
            let sum = sum(self, index, operand_of(0), operand_of(1));
            let operand = |i: usize, at: usize| read(2 + i)(at);
            evaluate(&self.epilogue, &state, (index, sum), operand, &mut values);
            let of = results.iter().enumerate();
            samples.extend(of.map(|(i, &term)| added(first_out + i, index, values[term])));
        }
        if self.row_sums {
            let lines = places(self.batch * self.m, self.m, each).into_iter();
            let of = |line| {
                added(
                    first_out + results.len(),
                    line,
                    row_sum(self, line, read(0)),
                )
            };
            samples.extend(lines.map(of));
        }
        samples
    }

    fn rounded_terms(&self) -> Option<usize> {
        self.variant.is_cooperative().then_some(self.k)
    }

    fn pieces(&self, limit: usize) -> Option<Vec<super::piece::Piece>> {
        super::piece::matmul(self, limit)
    }

    fn alternatives(&self, caps: &Caps) -> Vec<Arc<dyn Twin>> {
        self.candidates(caps)
            .into_iter()
            .filter(|variant| variant.may_replace(self.variant))
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
    let (first_out, state) = results(kernel, buffers);
    let mut out: Vec<Vec<T>> = (0..kernel.epilogue.results.len())
        .map(|i| take::<T>(&mut buffers[first_out + i]))
        .collect();

    let sums = match kernel.rounded_terms() {
        None => matmul::<T>(kernel, T::of(&buffers[0]), T::of(&buffers[1])),
        Some(terms) => {
            let [a, b] = [0, 1].map(|i| half::operands(&buffers[i], terms));
            matmul::<T>(kernel, T::of(&a), T::of(&b))
        }
    };
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
