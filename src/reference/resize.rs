//! Twin of `shaders/resize.wgsl`.

use super::twin;
use crate::kernels::resize::{Interpolation, Resize};
use crate::real::Real;
use crate::tensor::Data;

/// The pixels of `from` that pixel `o` of `to` is made of, with their weights.
fn sources(interpolation: Interpolation, o: usize, from: usize, to: usize) -> Vec<(usize, f64)> {
    match interpolation {
        Interpolation::Nearest => vec![(o * from / to, 1.0)],
        Interpolation::Bilinear => {
            let place = ((o as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let below = (place.floor() as usize).min(from - 1);
            let share = place - below as f64;
            vec![(below, 1.0 - share), ((below + 1).min(from - 1), share)]
        }
    }
}

/// The resized images, or the gradient by the images before.
pub(crate) fn resize<T: Real>(kernel: &Resize, image: &[T]) -> Vec<T> {
    let (_, result) = kernel.shapes();
    let ([height, width], [to_height, to_width]) = (kernel.from, kernel.to);
    let mut out = vec![T::from_f64(0.0); result.iter().product()];
    for picture in 0..kernel.batch {
        for row in 0..to_height {
            for column in 0..to_width {
                for &(y, along_y) in &sources(kernel.interpolation, row, height, to_height) {
                    for &(x, along_x) in &sources(kernel.interpolation, column, width, to_width) {
                        let before = (picture * height + y) * width + x;
                        let after = (picture * to_height + row) * to_width + column;
                        let (source, target) = if kernel.transposed {
                            (after, before)
                        } else {
                            (before, after)
                        };
                        for c in 0..kernel.channels {
                            let (s, t) =
                                (source * kernel.channels + c, target * kernel.channels + c);
                            // The weights are numbers that a device rounds too.
                            let weight = T::from_f64(along_y) * T::from_f64(along_x);
                            out[t] = out[t] + weight * image[s];
                        }
                    }
                }
            }
        }
    }
    out
}

twin!(Resize, run);

fn run<T: Real>(kernel: &Resize, buffers: &mut [Data]) {
    let out = resize::<T>(kernel, T::of(&buffers[0]));
    buffers[1] = T::into_data(out);
}
