//! Twin of `shaders/conv2d.wgsl`.

use std::sync::Arc;

use rayon::prelude::*;

use super::expression::{Evaluator, evaluate};
use super::sample::{element, places};
use super::{Sample, Twin, half, precision_of, random_state};
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

/// Element `index` of the convolution, `[batch, height, width, out]`; `x` and `w` are the operands' elements by their place.
fn forward_at<T: Real>(
    g: &Geometry,
    index: usize,
    x: impl Fn(usize) -> T,
    w: impl Fn(usize) -> T,
) -> T {
    let (images, weights) = (g.image_shape(), g.weight_shape());
    let [image, row, column, o] = coordinates(g.out_shape(), index);
    let group = o / (g.out_channels / g.groups);
    let mut sum = T::from_f64(0.0);
    for t in 0..g.kernel[0] {
        for u in 0..g.kernel[1] {
            let (Some(y), Some(z)) = (pixel(g, 0, row, t), pixel(g, 1, column, u)) else {
                continue;
            };
            for k in 0..g.group_channels() {
                let channel = group * g.group_channels() + k;
                let product = x(at(images, [image, y, z, channel])) * w(at(weights, [o, t, u, k]));
                sum = sum + product;
            }
        }
    }
    sum
}

/// The convolution, `[batch, height, width, out]`, before the epilogue.
pub(crate) fn forward<T: Real>(g: &Geometry, x: &[T], w: &[T]) -> Vec<T> {
    all(g.out_shape(), |index| {
        forward_at(g, index, |i| x[i], |i| w[i])
    })
}

/// Element `index` of the gradient by the images, `[batch, height, width, channels]`.
fn input_at<T: Real>(
    g: &Geometry,
    index: usize,
    dy: impl Fn(usize) -> T,
    w: impl Fn(usize) -> T,
) -> T {
    let (weights, out) = (g.weight_shape(), g.out_shape());
    let outs = g.out_channels / g.groups;
    let [image, y, z, channel] = coordinates(g.image_shape(), index);
    let (group, k) = (channel / g.group_channels(), channel % g.group_channels());
    let mut sum = T::from_f64(0.0);
    for t in 0..g.kernel[0] {
        for u in 0..g.kernel[1] {
            let (Some(row), Some(column)) = (place(g, 0, y, t), place(g, 1, z, u)) else {
                continue;
            };
            for o in group * outs..(group + 1) * outs {
                let product = dy(at(out, [image, row, column, o])) * w(at(weights, [o, t, u, k]));
                sum = sum + product;
            }
        }
    }
    sum
}

/// The gradient by the images, `[batch, height, width, channels]`.
pub(crate) fn input<T: Real>(g: &Geometry, dy: &[T], w: &[T]) -> Vec<T> {
    all(g.image_shape(), |index| {
        input_at(g, index, |i| dy[i], |i| w[i])
    })
}

/// Element `index` of the gradient by the weights, `[out, height, width, channels / groups]`, of the image rows `segments` of the result: image i's
/// row r is number i * height + r.
fn weight_at<T: Real>(
    g: &Geometry,
    segments: std::ops::Range<usize>,
    index: usize,
    dy: impl Fn(usize) -> T,
    x: impl Fn(usize) -> T,
) -> T {
    let (images, out) = (g.image_shape(), g.out_shape());
    let [o, t, u, k] = coordinates(g.weight_shape(), index);
    let channel = o / (g.out_channels / g.groups) * g.group_channels() + k;
    let mut sum = T::from_f64(0.0);
    for segment in segments {
        let (image, row) = (segment / out[1], segment % out[1]);
        let Some(y) = pixel(g, 0, row, t) else {
            continue;
        };
        for column in 0..out[2] {
            let Some(z) = pixel(g, 1, column, u) else {
                continue;
            };
            let product =
                dy(at(out, [image, row, column, o])) * x(at(images, [image, y, z, channel]));
            sum = sum + product;
        }
    }
    sum
}

/// The gradient by the weights, `[out, height, width, channels / groups]`, of the image rows `segments` of the result.
pub(crate) fn weight<T: Real>(
    g: &Geometry,
    segments: std::ops::Range<usize>,
    dy: &[T],
    x: &[T],
) -> Vec<T> {
    all(g.weight_shape(), |index| {
        weight_at(g, segments.clone(), index, |i| dy[i], |i| x[i])
    })
}

/// All elements of a tensor.
fn all<T: Real>(shape: [usize; 4], one: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    (0..shape.iter().product())
        .into_par_iter()
        .map(one)
        .collect()
}

/// Element `index` of the sum over taps of products of source pixels with each tap's weights: [`Body::Fold`].
fn fold_at<T: Real>(kernel: &Conv2d, index: usize, products: impl Fn(usize) -> T) -> T {
    let g = &kernel.geometry;
    let taps = g.kernel[0] * g.kernel[1];
    let forward = kernel.direction == Direction::Forward;
    let (result, source, channels) = if forward {
        (g.out_shape(), g.image_shape(), g.out_channels)
    } else {
        (g.image_shape(), g.out_shape(), g.channels)
    };
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
            sum = sum + products(pixel * taps * channels + within);
        }
    }
    sum
}

/// Element `index` of what a kernel sums, all parts of it one after the other.
fn sum<T: Real>(
    kernel: &Conv2d,
    index: usize,
    a: impl Fn(usize) -> T,
    b: impl Fn(usize) -> T,
) -> T {
    let g = &kernel.geometry;
    match kernel.direction {
        _ if kernel.body == Body::Fold => fold_at(kernel, index, a),
        Direction::Forward => forward_at(g, index, a, b),
        Direction::Input => input_at(g, index, a, b),
        Direction::Weight => {
            let each: usize = g.weight_shape().iter().product();
            weight_at(g, part(kernel, index / each), index % each, a, b)
        }
    }
}

/// The sum of channel `channel` of the result's gradient over the pixels of a part.
fn row_sum<T: Real>(
    g: &Geometry,
    part: std::ops::Range<usize>,
    channel: usize,
    dy: impl Fn(usize) -> T,
) -> T {
    let width = g.out_image()[1];
    (part.start * width..part.end * width).fold(T::from_f64(0.0), |sum, pixel| {
        sum + dy(pixel * g.out_channels + channel)
    })
}

/// The rows of pixels that part `i` of the sum over images has.
fn part(kernel: &Conv2d, i: usize) -> std::ops::Range<usize> {
    let all = kernel.geometry.batch * kernel.geometry.out_image()[0];
    let each = all.div_ceil(kernel.splits);
    (i * each).min(all)..((i + 1) * each).min(all)
}

impl Twin for Conv2d {
    fn reference(&self, buffers: &mut [Data]) {
        match precision_of(buffers) {
            Precision::F32 => run::<f32>(self, buffers),
            Precision::F64 => run::<f64>(self, buffers),
            Precision::Tracked => run::<Tracked>(self, buffers),
        }
    }

    fn samples(&self, buffers: &[Data], each: usize) -> Vec<Sample> {
        let (first, first_out, state) = operands(self, buffers);
        let results = &self.epilogue.results;
        let read = |binding: usize| move |i: usize| element::<Tracked>(&buffers[binding], i);
        let (mut samples, mut values) = (Vec::new(), Vec::new());
        let g = &self.geometry;
        let row = match self.direction {
            Direction::Forward => g.out_channels,
            Direction::Input => g.channels,
            Direction::Weight => g.weight_shape()[1..].iter().product(),
        };
        let terms = self.rounded_terms();
        let operand_of = |binding| move |i| half::operand(read(binding)(i), terms);
        for index in places(self.counts().2, row, each) {
            let sum = sum(self, index, operand_of(0), operand_of(first - 1));
            let operand = |i: usize, at: usize| read(first + i)(at);
            evaluate(&self.epilogue, &state, (index, sum), operand, &mut values);
            samples.extend(results.iter().enumerate().map(|(i, &term)| Sample {
                binding: first_out + i,
                element: index,
                value: values[term],
            }));
        }
        if self.row_sums {
            let lines = places(self.splits * g.out_channels, g.out_channels, each).into_iter();
            samples.extend(lines.map(|line| {
                let part = part(self, line / g.out_channels);
                Sample {
                    binding: first_out + results.len(),
                    element: line,
                    value: row_sum(g, part, line % g.out_channels, read(0)),
                }
            }));
        }
        samples
    }

    fn rounded_terms(&self) -> Option<usize> {
        let Body::Product(variant) = self.body else {
            return None;
        };
        let g = &self.geometry;
        let taps = g.kernel[0] * g.kernel[1];
        let terms = match self.direction {
            Direction::Forward => taps * g.group_channels(),
            Direction::Input => taps * g.out_channels / g.groups,
            Direction::Weight => part(self, 0).len() * g.out_image()[1],
        };
        variant.is_cooperative().then_some(terms)
    }

    fn alternatives(&self, caps: &Caps) -> Vec<Arc<dyn Twin>> {
        if self.body == Body::Fold {
            return Vec::new();
        }
        let other = self
            .candidates(caps)
            .into_iter()
            .filter(|&b| match (b, self.body) {
                (Body::Product(other), Body::Product(own)) => other.may_replace(own),
                (other, own) => other != own,
            });
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

/// Where a kernel's further operands and its results begin among its bindings, and the words of randomness between them.
fn operands(kernel: &Conv2d, buffers: &[Data]) -> (usize, usize, RandomState) {
    let operands = kernel.epilogue.operands.len();
    let random = kernel.epilogue.is_random();
    let first = if kernel.body == Body::Fold { 1 } else { 2 };
    let state = if random {
        random_state(buffers[first + operands].as_u32())
    } else {
        RandomState::default()
    };
    (first, first + operands + usize::from(random), state)
}

fn run<T: Real>(kernel: &Conv2d, buffers: &mut [Data]) {
    let g = &kernel.geometry;
    let (first, first_out, state) = operands(kernel, buffers);
    let all = |a: &[T], b: &[T]| -> Vec<T> {
        (0..kernel.counts().2)
            .into_par_iter()
            .map(|index| sum(kernel, index, |i| a[i], |i| b[i]))
            .collect()
    };
    let (a, b) = (T::of(&buffers[0]), T::of(&buffers[first - 1]));
    let sums = match kernel.rounded_terms() {
        None => all(a, b),
        Some(terms) => {
            let [a, b] = [0, 1].map(|i| half::operands(&buffers[i], terms));
            all(T::of(&a), T::of(&b))
        }
    };
    let row_sums = kernel.row_sums.then(|| {
        let of = |line: usize| {
            let part = part(kernel, line / g.out_channels);
            row_sum(g, part, line % g.out_channels, |i| a[i])
        };
        let lines = (0..kernel.splits * g.out_channels).into_par_iter();
        lines.map(of).collect::<Vec<T>>()
    });
    let operands = kernel.epilogue.operands.len();
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
