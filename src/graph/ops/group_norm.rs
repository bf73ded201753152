//! Group normalisation with its activation (Wu & He 2018).

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::decompose::through;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::group_norm::{self, Mode, Sizes};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, Shape, TensorType, Value};

/// Group normalisation, or a part of it or of its gradient; [`Var::group_norm`] puts them together.
///
/// Operands: x `[batch, pixels, channels]`; then, but for the statistics, these `[2, batch, groups]`, gain and bias `[channels]` or
/// `[batch, channels]`; then the upstream gradient; then means over groups `[2, batch, groups]`. x's gradient takes in that the statistics
/// depend on it; by the statistics themselves there is none.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// What is computed.
    pub mode: Mode,
    /// Groups of channels.
    pub groups: usize,
    /// Whether silu follows.
    pub silu: bool,
    /// Added to the variance.
    pub epsilon: f32,
}

impl GroupNorm {
    fn kernel(&self, caps: &Caps, inputs: &[&TensorType]) -> Result<group_norm::GroupNorm> {
        let wrong = |why: String| Err(Error::shape("group_norm", why));
        let Some(&[batch, pixels, channels]) = inputs.first().map(|x| x.shape.dims()) else {
            return wrong(format!(
                "takes [batch, pixels, channels], got {}",
                shapes(inputs)
            ));
        };
        if self.groups == 0 || channels == 0 || !channels.is_multiple_of(self.groups) {
            return wrong(format!(
                "{} groups do not divide {channels} channels",
                self.groups
            ));
        }
        let sizes = Sizes {
            batch,
            pixels,
            channels,
            groups: self.groups,
        };
        let shared = inputs.get(2).is_none_or(|gain| gain.shape.rank() == 1);
        let kernel =
            group_norm::GroupNorm::new(caps, sizes, self.mode, self.silu, shared, self.epsilon);
        let x = Shape::from([batch, pixels, channels]);
        let affine = if shared {
            Shape::from([channels])
        } else {
            [batch, channels].into()
        };
        let statistics = Shape::from([2, batch, self.groups]);
        let mut wanted = vec![x.clone()];
        if self.mode != Mode::Statistics {
            wanted.extend([statistics.clone(), affine.clone(), affine]);
        }
        if matches!(self.mode, Mode::Sums | Mode::Input) {
            wanted.push(x);
        }
        if self.mode == Mode::Input {
            wanted.push(statistics);
        }
        let fits = inputs.len() == wanted.len()
            && inputs
                .iter()
                .zip(&wanted)
                .all(|(t, shape)| t.dtype == DType::F32 && t.shape == *shape);
        if !fits {
            return wrong(format!("takes f32 {wanted:?}, got {}", shapes(inputs)));
        }
        Ok(kernel)
    }

    fn of<'g>(&self, mode: Mode, operands: &[Var<'g>]) -> Var<'g> {
        let op = Self {
            mode,
            ..self.clone()
        };
        operands[0].graph().apply(op, operands)
    }

    /// The same value from primitives.
    fn decomposed<'g>(&self, operands: &[Var<'g>]) -> Var<'g> {
        let x = operands[0];
        let &[batch, pixels, channels] = x.shape().dims() else {
            return x;
        };
        let each = channels / self.groups;
        let grouped = x.reshape([batch, pixels, self.groups, each]);
        // [2, batch, groups]: one half, over all pixels and channels of a group.
        let half =
            |table: Var<'g>, i: usize| table.slice(0, i, i + 1).reshape([batch, 1, self.groups, 1]);
        if self.mode == Mode::Statistics {
            let kept = [1, batch, self.groups];
            let mean = grouped.mean(&[1, 3]).reshape([batch, 1, self.groups, 1]);
            let variance = (grouped - mean).square().mean(&[1, 3]).reshape(kept);
            let inverse = x.graph().constant(1.0) / (variance + f64::from(self.epsilon)).sqrt();
            return x.graph().concat(0, &[mean.reshape(kept), inverse]);
        }
        let inverse = half(operands[1], 1);
        let normal =
            ((grouped - half(operands[1], 0)) * inverse).reshape([batch, pixels, channels]);
        let affine = |v: Var<'g>| match v.shape().rank() {
            1 => v,
            _ => v.reshape([batch, 1, channels]),
        };
        let (gain, bias) = (affine(operands[2]), affine(operands[3]));
        let z = normal * gain + bias;
        if self.mode == Mode::Apply {
            return if self.silu { z.silu() } else { z };
        }
        let by_z = if self.silu {
            let s = z.sigmoid();
            operands[4] * (s * (z * (-s + 1.0) + 1.0))
        } else {
            operands[4]
        };
        if self.mode == Mode::Sums {
            let sums = [by_z, by_z * normal].map(|v| v.sum(&[1]).reshape([1, batch, channels]));
            return x.graph().concat(0, &sums);
        }
        let means = operands[5];
        let grouped = |v: Var<'g>| v.reshape([batch, pixels, self.groups, each]);
        let by_normal = grouped(by_z * gain) - half(means, 0) - grouped(normal) * half(means, 1);
        (by_normal * inverse).reshape([batch, pixels, channels])
    }
}

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Statistics => "group_norm_statistics",
            Mode::Apply => "group_norm",
            Mode::Sums => "group_norm_sums",
            Mode::Input => "group_norm_gradient",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let kernel = self.kernel(&Caps::portable(), inputs)?;
        let s = kernel.sizes;
        Ok(TensorType::f32(match self.mode {
            Mode::Statistics => Shape::from([2, s.batch, s.groups]),
            Mode::Sums => [2, s.batch, s.channels].into(),
            Mode::Apply | Mode::Input => inputs[0].shape.clone(),
        }))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        if self.mode != Mode::Apply {
            return through(at, |operands| self.decomposed(operands));
        }
        let &[x, statistics, gain, bias] = at.inputs else {
            return Vec::new();
        };
        let &[batch, pixels, channels] = x.shape().dims() else {
            return Vec::new();
        };
        let each = channels / self.groups;
        let u = at.upstream;
        let sums = self.of(Mode::Sums, &[x, statistics, gain, bias, u]);
        let rows = match gain.shape().rank() {
            1 => gain.reshape([1, 1, channels]),
            _ => gain.reshape([1, batch, channels]),
        };
        let means = (sums * rows)
            .reshape([2, batch, self.groups, each])
            .sum(&[3])
            * (1.0 / (pixels * each) as f64);
        let by_x = self.of(Mode::Input, &[x, statistics, gain, bias, u, means]);
        let of_images = |i: usize| sums.slice(0, i, i + 1).reshape([batch, channels]);
        let (by_gain, by_bias) = (of_images(1), of_images(0));
        vec![
            Some(by_x),
            None,
            Some(by_gain.sum_to(gain.shape())),
            Some(by_bias.sum_to(bias.shape())),
        ]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let kernel = self.kernel(&Caps::portable(), &types)?;
        let data = in_precision!(cx.precision, T => {
            let operands: Vec<&[T]> = inputs.iter().map(|v| T::of(&v.data)).collect();
            T::into_data(reference::group_norm::group_norm(&kernel, &operands))
        });
        Value::new(self.infer(&types)?.shape, data)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _output: &TensorType) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..inputs.len()).map(Argument::Input).collect();
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(caps, inputs)?, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self {
            mode,
            groups,
            silu,
            epsilon,
        } = self;
        Some(MergeKey::of(self, (mode, groups, silu, epsilon.to_bits())))
    }
}

impl<'g> Var<'g> {
    /// Group normalisation of `[batch, ..., channels]`: each image's channels in `groups` runs, each with mean 0 and variance 1, then
    /// times `gain`, plus `bias`, then silu where it is asked for. Gain and bias are `[channels]`, or `[batch, channels]`, which takes in a
    /// scale and shift of each image's own.
    pub fn group_norm(
        self,
        groups: usize,
        gain: Self,
        bias: Self,
        epsilon: f64,
        silu: bool,
    ) -> Self {
        let shape = self.shape();
        let &[batch, .., channels] = shape.dims() else {
            self.graph().fail(Error::shape(
                "group_norm",
                format!("takes [batch, ..., channels], got {shape:?}"),
            ));
            return self;
        };
        let pixels = shape.count() / (batch * channels).max(1);
        let x = self.reshape([batch, pixels, channels]);
        let op = GroupNorm {
            mode: Mode::Apply,
            groups,
            silu,
            epsilon: epsilon as f32,
        };
        let statistics = op.of(Mode::Statistics, &[x]);
        op.of(Mode::Apply, &[x, statistics, gain, bias])
            .reshape(shape)
    }
}
