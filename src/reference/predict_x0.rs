//! Twin of `shaders/predict_x0.wgsl`.

use super::twin;
use crate::kernels::predict_x0::PredictX0;
use crate::kernels::reverse_step::column;
use crate::real::Real;
use crate::tensor::Data;

/// Where element `e` of x stands in a prediction.
pub(crate) fn place(e: usize, channels: usize, learned: bool) -> usize {
    if learned {
        2 * (e - e % channels) + e % channels
    } else {
        e
    }
}

/// The prediction at a place: by class, or away from the one without.
pub(crate) fn mixed<T: Real>(prediction: &[T], step: &[T], at: usize, guided: bool) -> T {
    if !guided {
        return prediction[at];
    }
    let unguided = prediction[at + prediction.len() / 2];
    unguided + step[column::GUIDANCE] * (prediction[at] - unguided)
}

/// `clamp(x0_x x + x0_p p, -clip, clip)`, and with a gradient `clamp(that + x0_gradient gradient, -clip_again, clip_again)`: Dhariwal &
/// Nichol 2021, algorithm 2.
pub(crate) fn predict_x0<T: Real>(
    kernel: &PredictX0,
    x: &[T],
    prediction: &[T],
    step: &[T],
    gradient: Option<&[T]>,
) -> Vec<T> {
    let clamp = |value: T, by: T| value.max(-by).min(by);
    (0..kernel.count())
        .map(|e| {
            let at = place(e, kernel.channels, kernel.learned);
            let p = mixed(prediction, step, at, kernel.guided);
            let x0 = step[column::X0_X] * x[e] + step[column::X0_P] * p;
            let x0 = clamp(x0, step[column::CLIP]);
            match gradient {
                None => x0,
                Some(g) => clamp(
                    x0 + step[column::X0_GRADIENT] * g[e],
                    step[column::CLIP_AGAIN],
                ),
            }
        })
        .collect()
}

twin!(PredictX0, run);

fn run<T: Real>(kernel: &PredictX0, buffers: &mut [Data]) {
    let gradient = kernel.gradient.then(|| T::of(&buffers[3]));
    let out = predict_x0(
        kernel,
        T::of(&buffers[0]),
        T::of(&buffers[1]),
        T::of(&buffers[2]),
        gradient,
    );
    buffers[3 + usize::from(kernel.gradient)] = T::into_data(out);
}
