//! Two-dimensional convolutions, transposed ones, and their gradients.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{
    Argument, Call, EvalContext, Fused, GradientAt, Lowering, MergeKey, Op, Pattern, in_precision,
};
use crate::graph::ops::reduce::sum_of_parts;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::conv2d::{Body, Conv2d, Direction, Geometry};
use crate::kernels::matmul::{Layout, Matmul};
use crate::real::Real;
use crate::reference::conv2d as twin;
use crate::tensor::{DType, Data, TensorType, Value};

/// One of the three products that a convolution is linear in each factor of; the gradient of any is made of the other two.
///
/// Operands: forward images and weights; input the result's gradient and weights; weight the result's gradient and images.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    /// Sizes.
    pub geometry: Geometry,
    /// Which product.
    pub direction: Direction,
}

/// How a kernel moves over an image; pairs are vertical, then horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Pixels between neighbouring places.
    pub stride: [usize; 2],
    /// Zeros before and after the image.
    pub padding: [[usize; 2]; 2],
    /// Pixels between neighbouring taps.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Conv2dOptions {
    /// A square kernel's options, dilation and groups 1.
    pub fn new(stride: usize, padding: usize) -> Self {
        Self {
            stride: [stride; 2],
            padding: [[padding; 2]; 2],
            dilation: [1; 2],
            groups: 1,
        }
    }
}

impl Convolution {
    fn operand_shapes(&self) -> [[usize; 4]; 2] {
        let g = &self.geometry;
        match self.direction {
            Direction::Forward => [g.image_shape(), g.weight_shape()],
            Direction::Input => [g.out_shape(), g.weight_shape()],
            Direction::Weight => [g.out_shape(), g.image_shape()],
        }
    }

    fn of<'g>(&self, direction: Direction, a: Var<'g>, b: Var<'g>) -> Var<'g> {
        let geometry = self.geometry;
        a.graph().apply(
            Self {
                geometry,
                direction,
            },
            &[a, b],
        )
    }

    fn compute<T: Real>(&self, inputs: &[&Value]) -> Data {
        let g = &self.geometry;
        let (a, b) = (T::of(&inputs[0].data), T::of(&inputs[1].data));
        T::into_data(match self.direction {
            Direction::Forward => twin::forward(g, a, b),
            Direction::Input => twin::input(g, a, b),
            Direction::Weight => twin::weight(g, 0..g.batch * g.out_image()[0], a, b),
        })
    }
}

impl Convolution {
    /// A product of every source pixel with all taps' weights, and the sum over taps that gathers it.
    fn lower_folded(&self, caps: &Caps, kernel: Conv2d, fused: Fused) -> Result<Lowering> {
        let g = &self.geometry;
        let taps = g.kernel[0] * g.kernel[1];
        let pixels = |[batch, height, width, _]: [usize; 4]| batch * height * width;
        let (layout, m, n, k) = match self.direction {
            Direction::Forward => (
                Layout::Nt,
                pixels(g.image_shape()),
                g.out_channels * taps,
                g.channels,
            ),
            _ => (
                Layout::Nn,
                pixels(g.out_shape()),
                taps * g.channels,
                g.out_channels,
            ),
        };
        let product = Matmul::new(caps, layout, 1, m, n, k)?;
        let mut arguments = fused.inputs.clone();
        arguments.push(Argument::Temporary(0));
        let fold = Conv2d {
            body: Body::Fold,
            epilogue: fused.epilogue.clone(),
            ..kernel
        };
        let after = Fused {
            inputs: vec![Argument::Temporary(0)],
            ..fused
        };
        let results = fold.epilogue.results.len();
        Ok(Lowering {
            temporaries: vec![TensorType::f32([m, n])],
            calls: vec![
                Call {
                    kernel: Arc::new(product),
                    arguments,
                },
                Call {
                    kernel: Arc::new(fold),
                    arguments: after.arguments(results),
                },
            ],
        })
    }
}

impl Op for Convolution {
    fn name(&self) -> &'static str {
        match self.direction {
            Direction::Forward => "conv2d",
            Direction::Input => "conv2d_input_gradient",
            Direction::Weight => "conv2d_weight_gradient",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.geometry.check()?;
        let wanted = self.operand_shapes();
        let fits = inputs.len() == 2
            && inputs
                .iter()
                .zip(wanted)
                .all(|(t, shape)| t.dtype == DType::F32 && t.shape == shape.into());
        if !fits {
            return Err(Error::shape(
                self.name(),
                format!("takes f32 {wanted:?}, got {}", shapes(inputs)),
            ));
        }
        let g = &self.geometry;
        Ok(TensorType::f32(match self.direction {
            Direction::Forward => g.out_shape(),
            Direction::Input => g.image_shape(),
            Direction::Weight => g.weight_shape(),
        }))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let (a, b, u) = (at.inputs[0], at.inputs[1], at.upstream);
        let (by_a, by_b) = match self.direction {
            Direction::Forward => (
                self.of(Direction::Input, u, b),
                self.of(Direction::Weight, u, a),
            ),
            Direction::Input => (
                self.of(Direction::Forward, u, b),
                self.of(Direction::Weight, a, u),
            ),
            Direction::Weight => (
                self.of(Direction::Forward, b, u),
                self.of(Direction::Input, a, u),
            ),
        };
        vec![Some(by_a), Some(by_b)]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let output = self.infer(&types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => self.compute::<T>(inputs));
        Value::new(output.shape, data)
    }

    fn lower_fused(
        &self,
        caps: &Caps,
        _inputs: &[&TensorType],
        output: &TensorType,
        fused: Fused,
    ) -> Result<Lowering> {
        let kernel = Conv2d::new(caps, self.geometry, self.direction)?;
        let splits = kernel.wanted_splits(caps);
        let results = fused.epilogue.results.len();
        if kernel.folds() {
            return self.lower_folded(caps, kernel, fused);
        }
        if splits == 1 {
            let kernel = Conv2d {
                row_sums: fused.row_sums,
                epilogue: fused.epilogue.clone(),
                ..kernel
            };
            return Ok(Lowering::single(kernel, fused.arguments(results)));
        }
        let kernel = Conv2d {
            splits,
            row_sums: fused.row_sums,
            ..kernel
        };
        let counts = [output.shape.count(), self.geometry.out_channels];
        Ok(sum_of_parts(caps, splits, kernel, counts, fused))
    }

    fn pattern(&self, _inputs: &[&TensorType]) -> Pattern {
        Pattern::Product {
            row_sums: self.direction == Direction::Weight,
        }
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self {
            geometry,
            direction,
        } = self;
        Some(MergeKey::of(self, (geometry, direction)))
    }
}

impl<'g> Var<'g> {
    /// The convolution of images `[batch, height, width, channels]` with `weight` `[out, kernel height, kernel width, channels / groups]`:
    /// `[batch, height, width, out]`. Kernels of one pixel, or as large as the image, are plain products of matrices.
    pub fn conv2d(self, weight: Self, options: &Conv2dOptions) -> Self {
        let Some(geometry) = geometry_of(self, weight, options) else {
            return self;
        };
        let &[batch, height, width, channels] = self.shape().dims() else {
            return self;
        };
        let plain = options.groups == 1
            && options.padding == [[0; 2]; 2]
            && options.dilation == [1; 2]
            && geometry.check().is_ok();
        let out = geometry.out_channels;
        if plain && geometry.kernel == [1, 1] && options.stride == [1, 1] {
            let pixels = self.reshape([batch * height * width, channels]);
            let product = pixels.matmul_as(Layout::Nt, weight.reshape([out, channels]));
            return product.reshape([batch, height, width, out]);
        }
        if plain && geometry.kernel == geometry.image {
            let count = height * width * channels;
            let rows = self.reshape([batch, count]);
            let product = rows.matmul_as(Layout::Nt, weight.reshape([out, count]));
            return product.reshape([batch, 1, 1, out]);
        }
        let op = Convolution {
            geometry,
            direction: Direction::Forward,
        };
        self.graph().apply(op, &[self, weight])
    }

    /// The transposed convolution of images `[batch, height, width, channels]` with `weight`
    /// `[channels, kernel height, kernel width, out / groups]`: the gradient, by its images, of a convolution with these options from
    /// `out` to `channels`. The result has (size - 1) stride - padding + dilation (kernel - 1) + 1 + `output_padding` pixels a side.
    pub fn conv_transpose2d(
        self,
        weight: Self,
        options: &Conv2dOptions,
        output_padding: [usize; 2],
    ) -> Self {
        let graph = self.graph();
        let (&[batch, height, width, channels], &[rows, kernel_height, kernel_width, out]) =
            (self.shape().dims(), weight.shape().dims())
        else {
            graph.fail(not_images("conv_transpose2d", self, weight));
            return self;
        };
        if rows != channels {
            graph.fail(Error::shape(
                "conv_transpose2d",
                format!(
                    "images have {channels} channels, weights are {:?}",
                    weight.shape()
                ),
            ));
            return self;
        }
        let kernel = [kernel_height, kernel_width];
        let mut image = [0; 2];
        for (axis, size) in [height, width].into_iter().enumerate() {
            let (stride, dilation) = (options.stride[axis], options.dilation[axis]);
            let [before, after] = options.padding[axis];
            let full = (size.max(1) - 1) * stride
                + dilation * (kernel[axis].max(1) - 1)
                + 1
                + output_padding[axis];
            let fits = full > before + after && output_padding[axis] < stride.max(dilation);
            if !fits || size == 0 || kernel[axis] == 0 || stride == 0 || dilation == 0 {
                let why = format!(
                    "images of {size} pixels, kernel {}, stride {stride}, padding {before} and {after}, dilation {dilation}, output \
                     padding {} (below stride or dilation): there would be no such image",
                    kernel[axis], output_padding[axis]
                );
                graph.fail(Error::shape("conv_transpose2d", why));
                return self;
            }
            image[axis] = full - before - after;
        }
        let geometry = Geometry {
            batch,
            image,
            channels: out * options.groups,
            out_channels: channels,
            kernel,
            stride: options.stride,
            padding: options.padding,
            dilation: options.dilation,
            groups: options.groups,
        };
        // From one pixel to an image as large as the kernel: a plain product.
        let plain = options.groups == 1
            && options.padding == [[0; 2]; 2]
            && options.dilation == [1; 2]
            && image == kernel;
        if plain && [height, width] == [1, 1] {
            let count = kernel_height * kernel_width * out;
            let rows = self.reshape([batch, channels]);
            let product = rows.matmul_as(Layout::Nn, weight.reshape([channels, count]));
            return product.reshape([batch, kernel_height, kernel_width, out]);
        }
        let op = Convolution {
            geometry,
            direction: Direction::Input,
        };
        graph.apply(op, &[self, weight])
    }
}

fn not_images(name: &str, x: Var<'_>, weight: Var<'_>) -> Error {
    Error::shape(
        name,
        format!(
            "takes images [batch, height, width, channels] and weights of 4 axes, got {:?} and {:?}",
            x.shape(),
            weight.shape()
        ),
    )
}

/// The sizes of a convolution; where operands do not fit, the graph is told.
fn geometry_of(x: Var<'_>, weight: Var<'_>, options: &Conv2dOptions) -> Option<Geometry> {
    let graph = x.graph();
    let (&[batch, height, width, channels], &[out, kernel_height, kernel_width, _]) =
        (x.shape().dims(), weight.shape().dims())
    else {
        graph.fail(not_images("conv2d", x, weight));
        return None;
    };
    Some(Geometry {
        batch,
        image: [height, width],
        channels,
        out_channels: out,
        kernel: [kernel_height, kernel_width],
        stride: options.stride,
        padding: options.padding,
        dilation: options.dilation,
        groups: options.groups,
    })
}
