//! Twin of `shaders/conv2d.wgsl`.

use std::sync::Arc;

use rayon::prelude::*;

use super::expression::Evaluator;
use super::{Twin, precision_of, random_state};
use crate::kernels::Caps;
use crate::kernels::conv2d::{Body, Conv2d, Direction, Geometry};
use crate::kernels::philox::RandomState;
use crate::real::{Precision, Real, Tracked};
use crate::tensor::Data;

/// The coordinates of element `index` of a tensor of these sizes.
fn coordinates(shape: [usize; 4], index: usize) -> [usize; 4] {
    let [_, b, c, d] = shape;
    [
        index / (b * c * d),
        index / (c * d) % b,
        index / d % c,
        index % d,
    ]
}

fn at(shape: [usize; 4], [i, j, k, l]: [usize; 4]) -> usize {
    ((i * shape[1] + j) * shape[2] + k) * shape[3] + l
}

/// The image's pixel that tap `tap` meets at place `place`, if it is none of the padding.
fn pixel(g: &Geometry, axis: usize, place: usize, tap: usize) -> Option<usize> {
    let padded = place * g.stride[axis] + tap * g.dilation[axis];
    let pixel = padded.checked_sub(g.padding[axis][0])?;
    (pixel < g.image[axis]).then_some(pixel)
}

/// The place at which tap `tap` meets the image's pixel `pixel`, if it does.
fn place(g: &Geometry, axis: usize, pixel: usize, tap: usize) -> Option<usize> {
    let shifted = (pixel + g.padding[axis][0]).checked_sub(tap * g.dilation[axis])?;
    let place = shifted / g.stride[axis];
    (shifted.is_multiple_of(g.stride[axis]) && place < g.out_image()[axis]).then_some(place)
}

/// The convolution, `[batch, height, width, out]`, before the epilogue.
pub(crate) fn forward<T: Real>(g: &Geometry, x: &[T], w: &[T]) -> Vec<T> {
    let (images, weights, out) = (g.image_shape(), g.weight_shape(), g.out_shape());
    let one = |index: usize| {
        let [image, row, column, o] = coordinates(out, index);
        let group = o / (g.out_channels / g.groups);
        let mut sum = T::from_f64(0.0);
        for t in 0..g.kernel[0] {
            for u in 0..g.kernel[1] {
                let (Some(y), Some(z)) = (pixel(g, 0, row, t), pixel(g, 1, column, u)) else {
                    continue;
                };
                for k in 0..g.group_channels() {
                    let channel = group * g.group_channels() + k;
                    let product =
                        x[at(images, [image, y, z, channel])] * w[at(weights, [o, t, u, k])];
                    sum = sum + product;
                }
            }
        }
        sum
    };
    (0..out.iter().product()).into_par_iter().map(one).collect()
}

/// The gradient by the images, `[batch, height, width, channels]`.
pub(crate) fn input<T: Real>(g: &Geometry, dy: &[T], w: &[T]) -> Vec<T> {
    let (images, weights, out) = (g.image_shape(), g.weight_shape(), g.out_shape());
    let outs = g.out_channels / g.groups;
    let one = |index: usize| {
        let [image, y, z, channel] = coordinates(images, index);
        let (group, k) = (channel / g.group_channels(), channel % g.group_channels());
        let mut sum = T::from_f64(0.0);
        for t in 0..g.kernel[0] {
            for u in 0..g.kernel[1] {
                let (Some(row), Some(column)) = (place(g, 0, y, t), place(g, 1, z, u)) else {
                    continue;
                };
                for o in group * outs..(group + 1) * outs {
                    let product =
                        dy[at(out, [image, row, column, o])] * w[at(weights, [o, t, u, k])];
                    sum = sum + product;
                }
            }
        }
        sum
    };
    (0..images.iter().product())
        .into_par_iter()
        .map(one)
        .collect()
}

/// The gradient by the weights, `[out, height, width, channels / groups]`, of the image rows `segments` of the result: image i's row r is
/// number i * height + r.
pub(crate) fn weight<T: Real>(
    g: &Geometry,
    segments: std::ops::Range<usize>,
    dy: &[T],
    x: &[T],
) -> Vec<T> {
    let (images, weights, out) = (g.image_shape(), g.weight_shape(), g.out_shape());
    let one = |index: usize| {
        let [o, t, u, k] = coordinates(weights, index);
        let channel = o / (g.out_channels / g.groups) * g.group_channels() + k;
        let mut sum = T::from_f64(0.0);
        for segment in segments.clone() {
            let (image, row) = (segment / out[1], segment % out[1]);
            let Some(y) = pixel(g, 0, row, t) else {
                continue;
            };
            for column in 0..out[2] {
                let Some(z) = pixel(g, 1, column, u) else {
                    continue;
                };
                let product =
                    dy[at(out, [image, row, column, o])] * x[at(images, [image, y, z, channel])];
                sum = sum + product;
            }
        }
        sum
    };
    (0..weights.iter().product())
        .into_par_iter()
        .map(one)
        .collect()
}

/// The sum over taps of products of source pixels with each tap's weights: [`Body::Fold`].
fn fold<T: Real>(kernel: &Conv2d, products: &[T]) -> Vec<T> {
    let g = &kernel.geometry;
    let taps = g.kernel[0] * g.kernel[1];
    let forward = kernel.direction == Direction::Forward;
    let (result, source, channels) = if forward {
        (g.out_shape(), g.image_shape(), g.out_channels)
    } else {
        (g.image_shape(), g.out_shape(), g.channels)
    };
    let one = |index: usize| {
        let [image, y, x, channel] = coordinates(result, index);
        let mut sum = T::from_f64(0.0);
        for t in 0..g.kernel[0] {
            for u in 0..g.kernel[1] {
                let met = if forward {
                    (pixel(g, 0, y, t), pixel(g, 1, x, u))
                } else {
                    (place(g, 0, y, t), place(g, 1, x, u))
                };
                let (Some(row), Some(column)) = met else {
                    continue;
                };
                let tap = t * g.kernel[1] + u;
                let within = if forward {
                    channel * taps + tap
                } else {
                    tap * channels + channel
                };
                let pixel = (image * source[1] + row) * source[2] + column;
                sum = sum + products[pixel * taps * channels + within];
            }
        }
        sum
    };
    (0..result.iter().product()).map(one).collect()
}

/// The rows of pixels that each part of the sum over images has.
fn parts(kernel: &Conv2d) -> Vec<std::ops::Range<usize>> {
    let all = kernel.geometry.batch * kernel.geometry.out_image()[0];
    let each = all.div_ceil(kernel.splits);
    (0..kernel.splits)
        .map(|i| (i * each).min(all)..((i + 1) * each).min(all))
        .collect()
}

impl Twin for Conv2d {
    fn reference(&self, buffers: &mut [Data]) {
        match precision_of(buffers) {
            Precision::F32 => run::<f32>(self, buffers),
            Precision::F64 => run::<f64>(self, buffers),
            Precision::Tracked => run::<Tracked>(self, buffers),
        }
    }

    fn alternatives(&self, caps: &Caps) -> Vec<Arc<dyn Twin>> {
        if self.body == Body::Fold {
            return Vec::new();
        }
        let other = self
            .candidates(caps)
            .into_iter()
            .filter(|&b| b != self.body);
        other
            .map(|body| -> Arc<dyn Twin> {
                Arc::new(Self {
                    body,
                    ..self.clone()
                })
            })
            .collect()
    }
}

fn run<T: Real>(kernel: &Conv2d, buffers: &mut [Data]) {
    let g = &kernel.geometry;
    let operands = kernel.epilogue.operands.len();
    let random = kernel.epilogue.is_random();
    let first = if kernel.body == Body::Fold { 1 } else { 2 };
    let state = if random {
        random_state(buffers[first + operands].as_u32())
    } else {
        RandomState::default()
    };
    let first_out = first + operands + usize::from(random);
    let (a, b) = (T::of(&buffers[0]), T::of(&buffers[first - 1]));
    let sums = match kernel.direction {
        _ if kernel.body == Body::Fold => fold(kernel, a),
        Direction::Forward => forward(g, a, b),
        Direction::Input => input(g, a, b),
        Direction::Weight => parts(kernel)
            .into_iter()
            .flat_map(|part| weight(g, part, a, b))
            .collect(),
    };
    let row_sums = kernel.row_sums.then(|| {
        let line = g.out_image()[1] * g.out_channels;
        let of = |part: std::ops::Range<usize>| {
            let mut sums = vec![T::from_f64(0.0); g.out_channels];
            for pixel in a[part.start * line..part.end * line].chunks_exact(g.out_channels) {
                sums.iter_mut().zip(pixel).for_each(|(s, &x)| *s = *s + x);
            }
            sums
        };
        parts(kernel).into_iter().flat_map(of).collect::<Vec<T>>()
    });
    let extra = buffers[first..first + operands].iter().map(T::of).collect();
    let mut epilogue = Evaluator::new(&kernel.epilogue, extra, state);
    let mut out = vec![Vec::with_capacity(sums.len()); kernel.epilogue.results.len()];
    for (index, &sum) in sums.iter().enumerate() {
        for (out, result) in out.iter_mut().zip(epilogue.results(index, sum)) {
            out.push(result);
        }
    }
    let results = out.len();
    for (i, out) in out.into_iter().enumerate() {
        buffers[first_out + i] = T::into_data(out);
    }
    if let Some(sums) = row_sums {
        buffers[first_out + results] = T::into_data(sums);
    }
}
