//! Twin of `shaders/reverse_step.wgsl`.

use super::predict_x0::{mixed, place};
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

/// What a step reads beside its row and the noise.
pub(crate) struct Inputs<'a, T> {
    x: &'a [T],
    x0: &'a [T],
    prediction: Option<&'a [T]>,
    /// The column of the mean that each of the others is weighed by.
    others: Vec<(usize, &'a [T])>,
    gradient: Option<&'a [T]>,
}

impl<'a, T> Inputs<'a, T> {
    /// From x, x_0 and the operands behind the noise, in the kernel's order.
    pub(crate) fn new(kernel: &ReverseStep, x: &'a [T], x0: &'a [T], behind: &[&'a [T]]) -> Self {
        let mut behind = behind.iter().copied();
        let o = kernel.operands;
        let prediction = o.prediction.then(|| behind.next()).flatten();
        let columns = o.previous.then_some(column::MEAN_PREVIOUS).into_iter();
        let columns = columns.chain(o.kept.then_some(column::MEAN_KEPT));
        let others = columns.zip(behind.by_ref()).collect();
        Self {
            x,
            x0,
            prediction,
            others,
            gradient: o.gradient.then(|| behind.next()).flatten(),
        }
    }
}

/// `out = mean + noise exp(log_variance / 2) z`, the mean linear in all that is read: the shader's header has it all.
pub(crate) fn reverse_step<T: Real>(
    kernel: &ReverseStep,
    inputs: &Inputs<'_, T>,
    step: &[T],
    noise: &[T],
) -> Vec<T> {
    let half = T::from_f64(0.5);
    let o = kernel.operands;
    (0..kernel.count())
        .map(|e| {
            let at = place(e, kernel.channels, o.learned);
            let mut mean =
                step[column::MEAN_X0] * inputs.x0[e] + step[column::MEAN_X] * inputs.x[e];
            let (low, high) = (
                step[column::MIN_LOG_VARIANCE],
                step[column::MAX_LOG_VARIANCE],
            );
            let mut log_variance = low;
            if let Some(prediction) = inputs.prediction {
                let p = mixed(prediction, step, at, o.guided);
                mean = mean + step[column::MEAN_P] * p;
                if o.learned {
                    let v = prediction[at + kernel.channels];
                    log_variance = low + half * (v + T::from_f64(1.0)) * (high - low);
                }
            }
            for (column, values) in &inputs.others {
                mean = mean + step[*column] * values[e];
            }
            if let Some(gradient) = inputs.gradient {
                mean = mean + step[column::MEAN_GRADIENT] * log_variance.exp() * gradient[e];
            }
            mean + step[column::NOISE] * (half * log_variance).exp() * noise[e]
        })
        .collect()
}

twin!(ReverseStep, run);

fn run<T: Real>(kernel: &ReverseStep, buffers: &mut [Data]) {
    let last = buffers.len() - 1;
    let of = |i: usize| T::of(&buffers[i]);
    let behind: Vec<&[T]> = (4..last).map(of).collect();
    let inputs = Inputs::new(kernel, of(0), of(1), &behind);
    let step = of(2);
    let out = match kernel.stream {
        None => reverse_step(kernel, &inputs, step, of(3)),
        Some(stream) => {
            let state = random_state(buffers[3].as_u32());
            let draw = step[column::DRAW].to_f64() as u64;
            let noise = noise::<T>(kernel, stream, state, draw);
            reverse_step(kernel, &inputs, step, &noise)
        }
    };
    buffers[last] = T::into_data(out);
}
