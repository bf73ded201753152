//! Twin of `shaders/ceiling.wgsl`.

use super::twin;
use crate::kernels::ceiling::{Copy, MultiplyAdd};
use crate::real::Real;
use crate::tensor::Data;

twin!(MultiplyAdd, multiply_add);
twin!(Copy, copy);

fn multiply_add<T: Real>(kernel: &MultiplyAdd, buffers: &mut [Data]) {
    let (x, coefficients) = (T::of(&buffers[0]), T::of(&buffers[1]));
    let out = (0..kernel.invocations).map(|i| {
        let mut total = T::from_f64(0.0);
        for chain in 0..4 * kernel.chains {
            let mut v = x[i] + T::from_f64(chain as f64);
            for _ in 0..kernel.rounds {
                v = v * coefficients[0] + coefficients[1];
            }
            total = total + v;
        }
        total
    });
    buffers[2] = T::into_data(out.collect());
}

fn copy<T: Real>(kernel: &Copy, buffers: &mut [Data]) {
    buffers[1] = T::into_data(T::of(&buffers[0])[..kernel.count].to_vec());
}
