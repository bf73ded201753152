//! Twin of `shaders/reverse_step.wgsl`.

use super::{random, random_state, twin};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::{Key, RandomState};
use crate::kernels::reverse_step::{ReverseStep, column};
use crate::real::Real;
use crate::tensor::Data;

/// The noise of a step, `[batch, pixels, channels]`: keyed by example, the draw being the step's.
pub(crate) fn noise<T: Real>(
    kernel: &ReverseStep,
    stream: u32,
    state: RandomState,
    draw: u64,
) -> Vec<T> {
    let state = RandomState {
        step: draw,
        ..state
    };
    let key = Key::Example {
        examples: kernel.batch as u32,
        draws: 1,
        width: (kernel.pixels * kernel.channels) as u32,
    };
    (0..kernel.count())
        .map(|i| random::draw(Distribution::Normal, &state, key, stream, i))
        .collect()
}

/// `out = mean_x0 x_0 + mean_x x + mean_p p + exp(log_variance / 2) noise`, x_0 from x and the prediction p: the shader's header has it all.
pub(crate) fn reverse_step<T: Real>(
    kernel: &ReverseStep,
    x: &[T],
    prediction: &[T],
    step: &[T],
    noise: &[T],
) -> Vec<T> {
    let half = T::from_f64(0.5);
    (0..kernel.count())
        .map(|e| {
            let (pixel, channel) = (e / kernel.channels, e % kernel.channels);
            let at = if kernel.learned {
                2 * pixel * kernel.channels + channel
            } else {
                e
            };
            let p = if kernel.guided {
                let unguided = prediction[at + kernel.predictions() / 2];
                unguided + step[column::GUIDANCE] * (prediction[at] - unguided)
            } else {
                prediction[at]
            };
            let (low, high) = (
                step[column::MIN_LOG_VARIANCE],
                step[column::MAX_LOG_VARIANCE],
            );
            let log_variance = if kernel.learned {
                let share = half * (prediction[at + kernel.channels] + T::from_f64(1.0));
                low + share * (high - low)
            } else {
                low
            };
            let clip = step[column::CLIP];
            let x0 = (step[column::X0_X] * x[e] + step[column::X0_P] * p)
                .max(-clip)
                .min(clip);
            let mean =
                step[column::MEAN_X0] * x0 + step[column::MEAN_X] * x[e] + step[column::MEAN_P] * p;
            mean + (half * log_variance).exp() * noise[e]
        })
        .collect()
}

twin!(ReverseStep, run);

fn run<T: Real>(kernel: &ReverseStep, buffers: &mut [Data]) {
    let (x, prediction, step) = (T::of(&buffers[0]), T::of(&buffers[1]), T::of(&buffers[2]));
    let out = match kernel.stream {
        None => reverse_step(kernel, x, prediction, step, T::of(&buffers[3])),
        Some(stream) => {
            let state = random_state(buffers[3].as_u32());
            let draw = step[column::DRAW].to_f64() as u64;
            let noise = noise::<T>(kernel, stream, state, draw);
            reverse_step(kernel, x, prediction, step, &noise)
        }
    };
    buffers[4] = T::into_data(out);
}
