//! Twin of `shaders/reparameterize.wgsl`.

use super::{random, random_state, twin};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::RandomState;
use crate::kernels::reparameterize::Reparameterize;
use crate::real::Real;
use crate::tensor::Data;

/// `z = mu + exp(log_variance / 2) * eps`, `eps ~ N(0, 1)`: Kingma & Welling 2013, eq. 10.
///
/// `mu`, `log_variance` and the result are `[batch, latent]`, row-major.
pub(crate) fn reparameterize<T: Real>(
    kernel: &Reparameterize,
    state: RandomState,
    mu: &[T],
    log_variance: &[T],
) -> Vec<T> {
    (0..kernel.count)
        .map(|i| {
            let eps = random::draw::<T>(Distribution::Normal, &state, kernel.key, kernel.stream, i);
            mu[i] + (T::from_f64(0.5) * log_variance[i]).exp() * eps
        })
        .collect()
}

twin!(Reparameterize, run);

fn run<T: Real>(kernel: &Reparameterize, buffers: &mut [Data]) {
    let state = random_state(buffers[2].as_u32());
    let z = reparameterize::<T>(kernel, state, T::of(&buffers[0]), T::of(&buffers[1]));
    buffers[3] = T::into_data(z);
}
