//! Normalisation: batch, layer, and whatever else has mean 0 and variance 1 over some axes; dropout.
//!
//! Values are made of primitives, which a plan fuses. Their gradient is not differentiated through mean and variance step by step but
//! given in closed form, itself made of operators: two sums instead of four.

use crate::error::{Error, Result};
use crate::graph::op::{EvalContext, GradientAt, Lowering, MergeKey, Op, Pattern};
use crate::graph::{Graph, Var};
use crate::kernels::Caps;
use crate::kernels::functions::Distribution;
use crate::tensor::{Shape, TensorType, Value};

/// The value of its first operand, with a gradient rule of its own.
///
/// Operands: y; x; its mean; 1 / sqrt(variance + eps); and, with `affine`, gain and bias of y = gain x^ + bias,
/// which must not vary along the axes. Without, y is x^.
///
/// With n elements along the axes and x^ = (x - mean) / sqrt(variance + eps) (Ioffe & Szegedy 2015, section 3):
/// bias' = sum u, gain' = sum u x^, x' = gain / sqrt(variance + eps) (u - bias' / n - x^ gain' / n).
#[derive(Clone, Debug)]
struct Normalized {
    axes: Vec<usize>,
    affine: bool,
}

impl Op for Normalized {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(inputs[0].clone())
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let &[_, x, mean, inverse, ..] = at.inputs else {
            return Vec::new();
        };
        let u = at.upstream;
        let kept = inverse.shape();
        let count: usize = self.axes.iter().map(|&a| u.shape().dims()[a]).product();
        let each = 1.0 / count as f64;
        let sum = u.sum(&self.axes).reshape(kept.clone());
        let along = (u * (x - mean)).sum(&self.axes).reshape(kept) * inverse;
        // x' = u scale + x slope + shift: all that varies along the axes are u and x.
        let gain = at.inputs.get(4).copied();
        let scale = gain.map_or(inverse, |gain| inverse * gain.reshape(inverse.shape()));
        let slope = -(scale * inverse * along * each);
        let by_x = u * scale + x * slope - (mean * slope + scale * sum * each);
        let mut parts = vec![None, Some(by_x), None, None];
        if self.affine {
            let (gain, bias) = (at.inputs[4], at.inputs[5]);
            parts.push(Some(along.reshape(gain.shape())));
            parts.push(Some(sum.reshape(bias.shape())));
        }
        parts
    }

    fn evaluate(&self, inputs: &[&Value], _cx: &EvalContext) -> Result<Value> {
        Ok(inputs[0].clone())
    }

    fn lower(
        &self,
        _caps: &Caps,
        _inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        Ok(Lowering::default())
    }

    fn pattern(&self, _inputs: &[&TensorType]) -> Pattern {
        Pattern::Alias
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let Self { axes, affine } = self;
        Some(MergeKey::of(self, (axes.clone(), *affine)))
    }
}

/// What batch normalisation finds in a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchStatistics<'g> {
    /// Of each channel.
    pub mean: Var<'g>,
    /// Of each channel, divided by n: what normalises.
    pub variance: Var<'g>,
    /// Elements of a channel: n.
    pub count: usize,
}

impl<'g> Var<'g> {
    /// Mean over `axes` and that of the squared distance from it, the axes kept with size 1.
    fn moments(self, axes: &[usize]) -> (Self, Self) {
        let mut dims = self.shape().dims().to_vec();
        for &axis in axes {
            if let Some(size) = dims.get_mut(axis) {
                *size = 1;
            }
        }
        let kept = Shape::new(dims);
        let mean = self.mean(axes).reshape(kept.clone());
        let variance = (self - mean).square().mean(axes).reshape(kept);
        (mean, variance)
    }

    /// (x - mean) / sqrt(variance + eps), both over `axes`, the variance divided by n.
    pub fn normalize(self, axes: &[usize], epsilon: f64) -> Self {
        let (mean, variance) = self.moments(axes);
        let inverse = inverse_deviation(variance, epsilon);
        let normal = (self - mean) * inverse;
        let op = Normalized {
            axes: axes.to_vec(),
            affine: false,
        };
        self.graph().apply(op, &[normal, self, mean, inverse])
    }

    /// Layer normalisation over the last axis (Ba et al. 2016), with gain and bias of its size.
    pub fn layer_norm(self, gain: Self, bias: Self, epsilon: f64) -> Self {
        let last = self.shape().rank().saturating_sub(1);
        self.normalize(&[last], epsilon) * gain + bias
    }

    /// Batch normalisation of channels, the last axis, by the batch's own mean and variance (Ioffe & Szegedy 2015), and these.
    ///
    /// A batch with one element a channel is refused: its variance is 0 whatever it is.
    pub fn batch_norm(self, gain: Self, bias: Self, epsilon: f64) -> (Self, BatchStatistics<'g>) {
        let shape = self.shape();
        let rank = shape.rank();
        let channels = shape.dims().last().copied().unwrap_or(1);
        let count = shape.count() / channels.max(1);
        if count < 2 {
            self.graph().fail(Error::shape(
                "batch_norm",
                format!("{shape:?} has one element a channel: a batch of one cannot be normalised; use a larger --batch"),
            ));
        }
        let axes: Vec<usize> = (0..rank.saturating_sub(1)).collect();
        let (mean, variance) = self.moments(&axes);
        let inverse = inverse_deviation(variance, epsilon);
        let scale = inverse * gain.reshape(inverse.shape());
        let shift = bias.reshape(inverse.shape()) - mean * scale;
        let value = self * scale + shift;
        let op = Normalized { axes, affine: true };
        let operands = [value, self, mean, inverse, gain, bias];
        let normalized = self.graph().apply(op, &operands);
        let statistics = BatchStatistics {
            mean: mean.reshape([channels]),
            variance: variance.reshape([channels]),
            count,
        };
        (normalized, statistics)
    }

    /// Each element kept with probability 1 - `share` and then divided by it, else 0 (Srivastava et al. 2014).
    pub fn dropout(self, name: &str, share: f32) -> Self {
        if !(0.0..1.0).contains(&share) {
            self.graph()
                .fail(Error::Usage(format!("dropout {share} must be in [0, 1)")));
        }
        if share == 0.0 {
            return self;
        }
        let kept = 1.0 - share;
        let mask = self
            .graph()
            .random(name, Distribution::Bernoulli(kept), self.shape());
        self * mask * (1.0 / f64::from(kept))
    }
}

fn inverse_deviation(variance: Var<'_>, epsilon: f64) -> Var<'_> {
    let graph: &Graph = variance.graph();
    graph.constant(1.0) / (variance + epsilon).sqrt()
}
