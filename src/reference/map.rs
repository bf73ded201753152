//! Twin of `shaders/map.wgsl`.

use super::expression::Evaluator;
use super::{random_state, twin};
use crate::kernels::map::Map;
use crate::kernels::philox::RandomState;
use crate::real::Real;
use crate::tensor::Data;

/// Every result of the chain for every element.
pub(crate) fn map<T: Real>(kernel: &Map, operands: Vec<&[T]>, state: RandomState) -> Vec<Vec<T>> {
    let mut evaluator = Evaluator::new(&kernel.expression, operands, state);
    let mut out = vec![Vec::with_capacity(kernel.count); kernel.expression.results.len()];
    for index in 0..kernel.count {
        for (out, result) in out
            .iter_mut()
            .zip(evaluator.results(index, T::from_f64(0.0)))
        {
            out.push(result);
        }
    }
    out
}

twin!(Map, run, pieces: super::piece::map);

fn run<T: Real>(kernel: &Map, buffers: &mut [Data]) {
    let count = kernel.expression.operands.len();
    let random = kernel.expression.is_random();
    let state = if random {
        random_state(buffers[count].as_u32())
    } else {
        RandomState::default()
    };
    let results = map::<T>(kernel, buffers[..count].iter().map(T::of).collect(), state);
    for (i, result) in results.into_iter().enumerate() {
        buffers[count + usize::from(random) + i] = T::into_data(result);
    }
}
