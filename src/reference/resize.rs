//! Twin of `shaders/resize.wgsl`.

use super::twin;
use crate::kernels::resize::{Interpolation, Resize};
use crate::real::Real;
use crate::tensor::Data;

/// The pixels of `from` that pixel `o` of `to` is made of, with their weights, which a device rounds as it does 1 - share.
fn sources<T: Real>(
    interpolation: Interpolation,
    o: usize,
    from: usize,
    to: usize,
) -> Vec<(usize, T)> {
    let one = T::from_f64(1.0);
    match interpolation {
        Interpolation::Nearest => vec![(o * from / to, one)],
        Interpolation::Bilinear => {
            let place = ((o as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let below = (place.floor() as usize).min(from - 1);
            let share = T::from_f64(place - below as f64);
            vec![(below, one - share), ((below + 1).min(from - 1), share)]
        }
    }
}

/// The resized images, or the gradient by the images before.
pub(crate) fn resize<T: Real>(kernel: &Resize, image: &[T]) -> Vec<T> {
    let (_, result) = kernel.shapes();
    let ([height, width], [to_height, to_width]) = (kernel.from, kernel.to);
    let zero = T::from_f64(0.0);
    let mut out = vec![zero; result.iter().product()];
    let channels = kernel.channels;
    for picture in 0..kernel.batch {
        for row in 0..to_height {
            let rows = sources::<T>(kernel.interpolation, row, height, to_height);
            for column in 0..to_width {
                let columns = sources::<T>(kernel.interpolation, column, width, to_width);
                let after = ((picture * to_height + row) * to_width + column) * channels;
                let before = |y: usize, x: usize| ((picture * height + y) * width + x) * channels;
                for c in 0..channels {
                    if kernel.transposed {
                        for &(y, along_y) in &rows {
                            for &(x, along_x) in &columns {
                                let to = before(y, x) + c;
                                out[to] = out[to] + along_y * along_x * image[after + c];
                            }
                        }
                        continue;
                    }
                    // Row by row, as the kernel does: what is multiplied by a weight of rows is a sum.
                    let of_row = |y: usize| {
                        let terms = columns.iter().map(|&(x, by)| by * image[before(y, x) + c]);
                        terms.reduce(|sum, term| sum + term).unwrap_or(zero)
                    };
                    let terms = rows.iter().map(|&(y, by)| by * of_row(y));
                    out[after + c] = terms.reduce(|sum, term| sum + term).unwrap_or(zero);
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
