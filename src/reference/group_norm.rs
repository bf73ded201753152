//! Twin of `shaders/group_norm.wgsl`.

use super::{functions, twin};
use crate::kernels::functions::Function;
use crate::kernels::group_norm::{GroupNorm, Mode};
use crate::real::Real;
use crate::tensor::Data;

/// Group normalisation in any mode; `operands` in the order of the kernel's bindings.
pub(crate) fn group_norm<T: Real>(kernel: &GroupNorm, operands: &[&[T]]) -> Vec<T> {
    let s = &kernel.sizes;
    let zero = T::from_f64(0.0);
    let one = T::from_f64(1.0);
    let rows = s.batch * s.groups;
    let x = operands[0];
    let place = |image: usize, pixel: usize, channel: usize| {
        (image * s.pixels + pixel) * s.channels + channel
    };
    if kernel.mode == Mode::Statistics {
        let mut statistics = vec![zero; 2 * rows];
        let count = T::from_f64((s.pixels * s.per_group()) as f64);
        for row in 0..rows {
            let (image, group) = (row / s.groups, row % s.groups);
            let channels = group * s.per_group()..(group + 1) * s.per_group();
            let elements = || {
                let channels = channels.clone();
                (0..s.pixels).flat_map(move |p| channels.clone().map(move |c| place(image, p, c)))
            };
            let mean = elements().fold(zero, |sum, i| sum + x[i]) / count;
            let squares = elements().fold(zero, |sum, i| sum + (x[i] - mean) * (x[i] - mean));
            statistics[row] = mean;
            statistics[rows + row] =
                one / (squares / count + T::from_f64(f64::from(kernel.epsilon))).sqrt();
        }
        return statistics;
    }
    let (statistics, gain, bias) = (operands[1], operands[2], operands[3]);
    let row_of = |image: usize, channel: usize| image * s.groups + channel / s.per_group();
    let affine = |image: usize, channel: usize| {
        let at = if kernel.shared {
            channel
        } else {
            image * s.channels + channel
        };
        (gain[at], bias[at])
    };
    let normal = |image: usize, pixel: usize, channel: usize| {
        let row = row_of(image, channel);
        (x[place(image, pixel, channel)] - statistics[row]) * statistics[rows + row]
    };
    // The gradient by z.
    let by_z = |image: usize, pixel: usize, channel: usize| {
        let upstream = operands[4][place(image, pixel, channel)];
        if !kernel.silu {
            return upstream;
        }
        let (gain, bias) = affine(image, channel);
        let z = normal(image, pixel, channel) * gain + bias;
        let sigmoid = functions::apply(Function::Sigmoid, &[z]);
        upstream * (sigmoid * (one + z * (one - sigmoid)))
    };
    let results = match kernel.mode {
        Mode::Sums => 2 * s.batch * s.channels,
        _ => s.count(),
    };
    let mut out = vec![zero; results];
    for (image, channel) in (0..s.batch).flat_map(|b| (0..s.channels).map(move |c| (b, c))) {
        let (gain, bias) = affine(image, channel);
        let row = row_of(image, channel);
        for pixel in 0..s.pixels {
            let here = place(image, pixel, channel);
            let normal = normal(image, pixel, channel);
            match kernel.mode {
                Mode::Statistics => {}
                Mode::Apply => {
                    let z = normal * gain + bias;
                    let activated = || functions::apply(Function::Silu, &[z]);
                    out[here] = if kernel.silu { activated() } else { z };
                }
                Mode::Sums => {
                    let by_z = by_z(image, pixel, channel);
                    let at = image * s.channels + channel;
                    out[at] = out[at] + by_z;
                    let at = s.batch * s.channels + at;
                    out[at] = out[at] + by_z * normal;
                }
                Mode::Input => {
                    let means = operands[5];
                    out[here] = statistics[rows + row]
                        * (by_z(image, pixel, channel) * gain
                            - means[row]
                            - normal * means[rows + row]);
                }
            }
        }
    }
    out
}

twin!(GroupNorm, run);

fn run<T: Real>(kernel: &GroupNorm, buffers: &mut [Data]) {
    let last = buffers.len() - 1;
    let operands: Vec<&[T]> = buffers[..last].iter().map(T::of).collect();
    let out = group_norm(kernel, &operands);
    buffers[last] = T::into_data(out);
}
