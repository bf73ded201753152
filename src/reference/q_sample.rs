//! Twin of `shaders/q_sample.wgsl`.

use super::{random, random_state, twin};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::RandomState;
use crate::kernels::q_sample::QSample;
use crate::real::Real;
use crate::tensor::Data;

/// `signal[t] x + deviation[t] eps`, `eps ~ N(0, 1)`: Ho et al. 2020, eq. 4 or eq. 2 by the table.
///
/// `x` and the result are `[batch, width]`, `t` is `[batch]`, `table` `[timesteps, 2]`.
pub(crate) fn q_sample<T: Real>(
    kernel: &QSample,
    state: RandomState,
    x: &[T],
    t: &[u32],
    table: &[T],
) -> Vec<T> {
    (0..kernel.batch * kernel.width)
        .map(|i| {
            let eps = random::draw::<T>(Distribution::Normal, &state, kernel.key, kernel.stream, i);
            let row = (t[i / kernel.width] as usize).min(kernel.timesteps - 1);
            table[2 * row] * x[i] + table[2 * row + 1] * eps
        })
        .collect()
}

twin!(QSample, run);

fn run<T: Real>(kernel: &QSample, buffers: &mut [Data]) {
    let state = random_state(buffers[3].as_u32());
    let (x, t, table) = (T::of(&buffers[0]), buffers[1].as_u32(), T::of(&buffers[2]));
    buffers[4] = T::into_data(q_sample::<T>(kernel, state, x, t, table));
}
