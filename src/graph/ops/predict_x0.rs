//! The images without noise, as a network's prediction has them.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, Op, in_precision};
use crate::graph::ops::decompose::through;
use crate::graph::ops::{shapes, takes};
use crate::kernels::Caps;
use crate::kernels::predict_x0;
use crate::kernels::reverse_step::{COLUMNS, column};
use crate::real::Real;
use crate::reference;
use crate::tensor::{TensorType, Value};

/// From x `[batch, pixels, channels]` and the prediction to x_0. Operands: x; the prediction, with twice the rows where it is guided and
/// twice the channels where the variance is learned; a row `[COLUMNS]` of coefficients; a classifier's gradient where there is one.
#[derive(Clone, Debug)]
pub(crate) struct PredictX0 {
    /// Whether the prediction has the variance in further channels.
    pub learned: bool,
    /// Whether the prediction has rows without a class behind those with one.
    pub guided: bool,
    /// Whether there is a gradient.
    pub gradient: bool,
}

impl PredictX0 {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<predict_x0::PredictX0> {
        let wrong = |why: String| Err(Error::shape("predict_x0", why));
        let Some(&[batch, pixels, channels]) = inputs.first().map(|t| t.shape.dims()) else {
            return wrong(format!(
                "takes x [batch, pixels, channels], got {}",
                shapes(inputs)
            ));
        };
        let twice = |yes: bool| if yes { 2 } else { 1 };
        let x = TensorType::f32([batch, pixels, channels]);
        let sizes = [
            batch * twice(self.guided),
            pixels,
            channels * twice(self.learned),
        ];
        let mut wanted = vec![
            x.clone(),
            TensorType::f32(sizes),
            TensorType::f32([COLUMNS]),
        ];
        wanted.extend(self.gradient.then_some(x));
        takes("predict_x0", &wanted, inputs)?;
        Ok(predict_x0::PredictX0 {
            batch,
            pixels,
            channels,
            learned: self.learned,
            guided: self.guided,
            gradient: self.gradient,
        })
    }

    /// The same value from primitives.
    fn decomposed<'g>(&self, operands: &[Var<'g>]) -> Var<'g> {
        let &[x, prediction, step, ref gradient @ ..] = operands else {
            return operands[0];
        };
        let of = |c: usize| step.slice(0, c, c + 1);
        let clamp = |value: Var<'g>, by: Var<'g>| value.max(-by).min(by);
        let p = mixed(x, prediction, step, self.guided);
        let x0 = of(column::X0_X) * x + of(column::X0_P) * p;
        let x0 = clamp(x0, of(column::CLIP));
        match gradient {
            [g] => clamp(x0 + of(column::X0_GRADIENT) * *g, of(column::CLIP_AGAIN)),
            _ => x0,
        }
    }
}

/// The prediction by class, with as many rows and channels as `x`: its mean, or its variance's further channels.
pub(super) fn conditional<'g>(x: Var<'g>, prediction: Var<'g>, variance: bool) -> Var<'g> {
    let &[batch, _, channels] = x.shape().dims() else {
        return x;
    };
    let first = if variance { channels } else { 0 };
    prediction
        .slice(0, 0, batch)
        .slice(2, first, first + channels)
}

/// The prediction, away from the one without a class where there is guidance.
pub(super) fn mixed<'g>(x: Var<'g>, prediction: Var<'g>, step: Var<'g>, guided: bool) -> Var<'g> {
    let p = conditional(x, prediction, false);
    let &[batch, _, channels] = x.shape().dims() else {
        return p;
    };
    if !guided {
        return p;
    }
    let unguided = prediction.slice(0, batch, 2 * batch).slice(2, 0, channels);
    unguided + step.slice(0, column::GUIDANCE, column::GUIDANCE + 1) * (p - unguided)
}

impl Op for PredictX0 {
    fn name(&self) -> &'static str {
        "predict_x0"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(inputs).map(|_| inputs[0].clone())
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        through(at, |operands| self.decomposed(operands))
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => {
            let operands: Vec<&[T]> = inputs.iter().map(|v| T::of(&v.data)).collect();
            T::into_data(reference::predict_x0::predict_x0(
                &kernel, operands[0], operands[1], operands[2], operands.get(3).copied(),
            ))
        });
        Value::new(inputs[0].shape.clone(), data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let arguments = (0..inputs.len()).map(Argument::Input);
        let arguments = arguments.chain([Argument::Output]).collect();
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }
}

impl<'g> Var<'g> {
    /// The images without noise, of x `[batch, pixels, channels]`, as a network's `prediction` and the coefficients `step` `[COLUMNS]` have
    /// them; [`reverse_step::column`](crate::kernels::reverse_step::column) names those. The prediction has twice the channels where the
    /// variance is learned, and twice the rows where it is guided. `gradient`, as x, moves them towards a class.
    pub fn predict_x0(self, prediction: Self, step: Self, gradient: Option<Self>) -> Self {
        let [guided, learned] = self.twice(prediction);
        let op = PredictX0 {
            learned,
            guided,
            gradient: gradient.is_some(),
        };
        let mut operands = vec![self, prediction, step];
        operands.extend(gradient);
        self.graph().apply(op, &operands)
    }

    /// Whether another has twice its rows, twice its channels.
    pub(super) fn twice(self, other: Self) -> [bool; 2] {
        let (own, other) = (self.shape(), other.shape());
        [0, 2].map(
            |axis| match (own.dims().get(axis), other.dims().get(axis)) {
                (Some(own), Some(other)) => *other == 2 * own,
                _ => false,
            },
        )
    }
}
