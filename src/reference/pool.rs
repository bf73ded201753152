//! Twin of `shaders/pool.wgsl`.

use super::twin;
use crate::kernels::pool::{Mode, Pool, Windows};
use crate::real::Real;
use crate::tensor::Data;

/// The pixels of window (row, column) of an image, as positions in `[height, width]`, by rows.
fn pixels(w: &Windows, row: usize, column: usize) -> impl Iterator<Item = usize> + '_ {
    let along = move |axis: usize, window: usize| {
        let start = window * w.stride[axis];
        let inside = move |p: usize| {
            p.checked_sub(w.padding[axis])
                .filter(|&p| p < w.image[axis])
        };
        (start..start + w.size[axis]).filter_map(inside)
    };
    along(0, row).flat_map(move |y| along(1, column).map(move |x| y * w.image[1] + x))
}

/// Pooling in any mode; `operands` in the order of the kernel's bindings.
pub(crate) fn pool<T: Real>(kernel: &Pool, operands: &[&[T]]) -> Vec<T> {
    let w = &kernel.windows;
    let (_, result) = kernel.shapes();
    let [height, width] = w.out_image();
    let count = T::from_f64((w.size[0] * w.size[1]) as f64);
    let mut out = vec![T::from_f64(0.0); result.iter().product()];
    for image in 0..w.batch {
        let first = image * w.image[0] * w.image[1];
        for (row, column) in (0..height).flat_map(|r| (0..width).map(move |c| (r, c))) {
            let window = (image * height + row) * width + column;
            for k in 0..w.channels {
                let pixel = |p: usize| (first + p) * w.channels + k;
                let here = window * w.channels + k;
                let largest = || {
                    let mut best: Option<usize> = None;
                    for p in pixels(w, row, column) {
                        let value = operands[0][pixel(p)].to_f64();
                        if best.is_none_or(|b| value > operands[0][pixel(b)].to_f64()) {
                            best = Some(p);
                        }
                    }
                    pixel(best.unwrap_or(0))
                };
                match kernel.mode {
                    Mode::Max => out[here] = operands[0][largest()],
                    Mode::MaxPick => out[here] = operands[1][largest()],
                    Mode::MaxRoute => {
                        let at = largest();
                        out[at] = out[at] + operands[1][here];
                    }
                    Mode::Average => {
                        let sum = pixels(w, row, column)
                            .fold(T::from_f64(0.0), |sum, p| sum + operands[0][pixel(p)]);
                        out[here] = sum / count;
                    }
                    Mode::AverageSpread => {
                        for p in pixels(w, row, column) {
                            out[pixel(p)] = out[pixel(p)] + operands[0][here] / count;
                        }
                    }
                }
            }
        }
    }
    out
}

twin!(Pool, run);

fn run<T: Real>(kernel: &Pool, buffers: &mut [Data]) {
    let last = buffers.len() - 1;
    let operands: Vec<&[T]> = buffers[..last].iter().map(T::of).collect();
    let out = pool(kernel, &operands);
    buffers[last] = T::into_data(out);
}
