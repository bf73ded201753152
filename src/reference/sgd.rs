//! Twin of `shaders/sgd.wgsl`.

use super::{take, twin};
use crate::kernels::decimal;
use crate::kernels::schedule::LEARNING_RATE;
use crate::kernels::sgd::Sgd;
use crate::real::Real;
use crate::tensor::Data;

twin!(Sgd, run);

fn run<T: Real>(kernel: &Sgd, buffers: &mut [Data]) {
    let mut param = take::<T>(&mut buffers[0]);
    let mut velocity = take::<T>(&mut buffers[2]);
    let (gradient, schedule, control) =
        (T::of(&buffers[1]), T::of(&buffers[3]), T::of(&buffers[4]));
    let c = |x: f32| T::from_f64(decimal(x));
    let (momentum, decay) = (c(kernel.momentum), c(kernel.decay));
    if control[1].to_f64() == 0.0 {
        for i in 0..kernel.count {
            let g = gradient[i] * control[0] + decay * param[i];
            let b = momentum * velocity[i] + g;
            velocity[i] = b;
            let direction = if kernel.nesterov { g + momentum * b } else { b };
            param[i] = param[i] - schedule[LEARNING_RATE] * direction;
        }
    }
    buffers[0] = T::into_data(param);
    buffers[2] = T::into_data(velocity);
}
