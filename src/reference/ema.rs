//! Twin of `shaders/ema.wgsl`.

use super::{take, twin};
use crate::kernels::ema::Ema;
use crate::kernels::schedule::EMA_RATE;
use crate::real::Real;
use crate::tensor::Data;

twin!(Ema, run);

fn run<T: Real>(kernel: &Ema, buffers: &mut [Data]) {
    let mut average = take::<T>(&mut buffers[0]);
    let (param, schedule, control) = (T::of(&buffers[1]), T::of(&buffers[2]), T::of(&buffers[3]));
    if control[1].to_f64() == 0.0 {
        for i in 0..kernel.count {
            average[i] = average[i] + schedule[EMA_RATE] * (param[i] - average[i]);
        }
    }
    buffers[0] = T::into_data(average);
}
