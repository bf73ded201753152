//! Twin of `shaders/frequency_encode.wgsl`.

use super::twin;
use crate::kernels::frequency_encode::FrequencyEncode;
use crate::real::Real;
use crate::tensor::Data;

/// The coordinates of each row, then sines and cosines of `2^k` times them for each octave k, `[rows, width (1 + 2 octaves)]`: Mildenhall et
/// al. 2020, eq. 4, without pi. With an order, the derivative of that order of each element by its own coordinate.
pub(crate) fn frequency_encode<T: Real>(kernel: &FrequencyEncode, x: &[T]) -> Vec<T> {
    let (width, columns) = (kernel.width, kernel.columns());
    let mut out = vec![T::from_f64(0.0); kernel.rows * columns];
    for row in 0..kernel.rows {
        for coordinate in 0..width {
            let x = x[row * width + coordinate];
            let first = row * columns + coordinate;
            out[first] = match kernel.order {
                0 => x,
                1 => T::from_f64(1.0),
                _ => T::from_f64(0.0),
            };
            for octave in 0..kernel.octaves {
                let angle = x.scaled(octave as i32);
                let (sine, cosine) = (angle.sin(), angle.cos());
                let (of_sine, of_cosine) = match kernel.order % 4 {
                    0 => (sine, cosine),
                    1 => (cosine, -sine),
                    2 => (-sine, -cosine),
                    _ => (-cosine, sine),
                };
                let growth = (octave * kernel.order) as i32;
                out[first + (1 + 2 * octave) * width] = of_sine.scaled(growth);
                out[first + (2 + 2 * octave) * width] = of_cosine.scaled(growth);
            }
        }
    }
    out
}

twin!(FrequencyEncode, run);

fn run<T: Real>(kernel: &FrequencyEncode, buffers: &mut [Data]) {
    buffers[1] = T::into_data(frequency_encode(kernel, T::of(&buffers[0])));
}
