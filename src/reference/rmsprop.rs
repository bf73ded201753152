//! Twin of `shaders/rmsprop.wgsl`.

use super::{take, twin};
use crate::kernels::decimal;
use crate::kernels::rmsprop::Rmsprop;
use crate::kernels::schedule::LEARNING_RATE;
use crate::real::Real;
use crate::tensor::Data;

twin!(Rmsprop, run);

fn run<T: Real>(kernel: &Rmsprop, buffers: &mut [Data]) {
    let mut param = take::<T>(&mut buffers[0]);
    let mut velocity = take::<T>(&mut buffers[2]);
    let mut mean_square = take::<T>(&mut buffers[3]);
    let (gradient, schedule, control) =
        (T::of(&buffers[1]), T::of(&buffers[4]), T::of(&buffers[5]));
    let c = |x: f32| T::from_f64(decimal(x));
    let rate = T::from_f64(1.0 - decimal(kernel.alpha));
    let (alpha, epsilon) = (c(kernel.alpha), c(kernel.epsilon));
    let (momentum, decay) = (c(kernel.momentum), c(kernel.decay));
    if control[1].to_f64() == 0.0 {
        for i in 0..kernel.count {
            let g = gradient[i] * control[0] + decay * param[i];
            let v = alpha * mean_square[i] + rate * g * g;
            let b = momentum * velocity[i] + g / (v.sqrt() + epsilon);
            mean_square[i] = v;
            velocity[i] = b;
            param[i] = param[i] - schedule[LEARNING_RATE] * b;
        }
    }
    buffers[0] = T::into_data(param);
    buffers[2] = T::into_data(velocity);
    buffers[3] = T::into_data(mean_square);
}
