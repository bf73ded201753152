//! Twin of `shaders/reduce.wgsl`.

use super::expression::Evaluator;
use super::{random_state, take, twin};
use crate::kernels::philox::RandomState;
use crate::kernels::reduce::{Combine, Reduce};
use crate::real::Real;
use crate::tensor::Data;

/// Combines `values`, which come in the order of r. `Argmax` is [`argmax`].
pub(crate) fn combine<T: Real>(how: Combine, values: impl Iterator<Item = T> + Clone) -> T {
    match how {
        Combine::Sum => values.fold(T::from_f64(0.0), |sum, v| sum + v),
        Combine::Max => values
            .reduce(T::max)
            .unwrap_or(T::from_f64(f64::from(f32::MIN))),
        Combine::Min => values
            .reduce(T::min)
            .unwrap_or(T::from_f64(f64::from(f32::MAX))),
        Combine::Argmax => T::from_f64(0.0),
        Combine::LogSumExp => {
            let largest = combine(Combine::Max, values.clone());
            largest
                + values
                    .fold(T::from_f64(0.0), |sum, v| sum + (v - largest).exp())
                    .ln()
        }
    }
}

/// Where the largest value stands first.
pub(crate) fn argmax<T: Real>(values: impl Iterator<Item = T>) -> u32 {
    let mut best: Option<(usize, f64)> = None;
    for (r, value) in values.enumerate() {
        if best.is_none_or(|(_, largest)| value.to_f64() > largest) {
            best = Some((r, value.to_f64()));
        }
    }
    best.map_or(u32::MAX, |(r, _)| r as u32)
}

/// The values of each result's chunk, one result after the other: all together may be tens of millions.
fn chunks<'a, T: Real>(
    kernel: &'a Reduce,
    operands: Vec<&'a [T]>,
    state: RandomState,
) -> impl Iterator<Item = Vec<T>> + 'a {
    let mut prologue = Evaluator::new(&kernel.prologue, operands, state);
    let outputs = kernel.outer * kernel.inner;
    (0..kernel.results()).map(move |result| {
        let (chunk, output) = (result / outputs, result % outputs);
        let first = output / kernel.inner * kernel.length * kernel.inner + output % kernel.inner;
        let begin = (chunk * kernel.chunk()).min(kernel.length);
        let end = (begin + kernel.chunk()).min(kernel.length);
        (begin..end)
            .map(|r| prologue.value(first + r * kernel.inner))
            .collect()
    })
}

twin!(Reduce, run, pieces: super::piece::reduce);

fn run<T: Real>(kernel: &Reduce, buffers: &mut [Data]) {
    let before = kernel.prologue.operands.len();
    let after = kernel.epilogue.operands.len();
    let random = kernel.prologue.is_random() || kernel.epilogue.is_random();
    let state = if random {
        random_state(buffers[before + after].as_u32())
    } else {
        RandomState::default()
    };
    let first_out = before + after + usize::from(random);
    let values = chunks::<T>(kernel, buffers[..before].iter().map(T::of).collect(), state);
    if kernel.combine == Combine::Argmax {
        buffers[first_out] = Data::U32(values.map(|v| argmax(v.into_iter())).collect());
        return;
    }
    let extra = buffers[before..before + after].iter().map(T::of).collect();
    let mut epilogue = Evaluator::new(&kernel.epilogue, extra, state);
    let mut out = vec![Vec::new(); kernel.epilogue.results.len()];
    for (index, values) in values.enumerate() {
        let combined = combine(kernel.combine, values.into_iter());
        for (out, result) in out.iter_mut().zip(epilogue.results(index, combined)) {
            out.push(result);
        }
    }
    for (i, out) in out.into_iter().enumerate() {
        let mut all = if kernel.first > 0 {
            take::<T>(&mut buffers[first_out + i])
        } else {
            Vec::new()
        };
        all.truncate(kernel.first);
        all.extend(out);
        buffers[first_out + i] = T::into_data(all);
    }
}
