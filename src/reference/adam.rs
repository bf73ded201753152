//! Twin of `shaders/adam.wgsl`.

use super::{take, twin};
use crate::kernels::adam::Adam;
use crate::kernels::decimal;
use crate::kernels::schedule::{BIAS1, BIAS2, LEARNING_RATE};
use crate::real::Real;
use crate::tensor::Data;

twin!(Adam, run);

fn run<T: Real>(kernel: &Adam, buffers: &mut [Data]) {
    let mut param = take::<T>(&mut buffers[0]);
    let mut moment1 = take::<T>(&mut buffers[2]);
    let mut moment2 = take::<T>(&mut buffers[3]);
    let (gradient, schedule, control) =
        (T::of(&buffers[1]), T::of(&buffers[4]), T::of(&buffers[5]));
    let c = |x: f32| T::from_f64(decimal(x));
    let (rate1, rate2) = (
        T::from_f64(1.0 - decimal(kernel.beta1)),
        T::from_f64(1.0 - decimal(kernel.beta2)),
    );
    let (beta2, decay, epsilon) = (c(kernel.beta2), c(kernel.decay), c(kernel.epsilon));
    if control[1].to_f64() == 0.0 {
        for i in 0..kernel.count {
            let mut p = param[i];
            let mut g = gradient[i] * control[0];
            if kernel.decoupled {
                p = p - schedule[LEARNING_RATE] * decay * p;
            } else {
                g = g + decay * p;
            }
            let m = moment1[i] + rate1 * (g - moment1[i]);
            let v = beta2 * moment2[i] + rate2 * g * g;
            moment1[i] = m;
            moment2[i] = v;
            let corrected = schedule[LEARNING_RATE] * schedule[BIAS1] * m;
            param[i] = p - corrected / (v.sqrt() * schedule[BIAS2] + epsilon);
        }
    }
    buffers[0] = T::into_data(param);
    buffers[2] = T::into_data(moment1);
    buffers[3] = T::into_data(moment2);
}
