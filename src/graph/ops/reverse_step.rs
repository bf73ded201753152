//! A reverse step of diffusion, for every parameterisation and sampler.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, Op, in_precision};
use crate::graph::ops::decompose::through;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::reverse_step::{self, COLUMNS, column};
use crate::real::Real;
use crate::reference;
use crate::tensor::{TensorType, Value};

/// From x `[batch, pixels, channels]` and the prediction to the x before it. Operands: x; the prediction, with twice the rows where it is
/// guided and twice the channels where the variance is learned; a row `[COLUMNS]` of coefficients; the noise where it is given.
#[derive(Clone, Debug)]
pub struct ReverseStep {
    /// Whether the prediction has the variance in further channels.
    pub learned: bool,
    /// Whether the prediction has rows without a class behind those with one.
    pub guided: bool,
    /// The noise's stream; `None` where it is an operand.
    pub stream: Option<u32>,
}

impl ReverseStep {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<reverse_step::ReverseStep> {
        let wrong = |why: String| Err(Error::shape("reverse_step", why));
        let Some(&[batch, pixels, channels]) = inputs.first().map(|t| t.shape.dims()) else {
            return wrong(format!(
                "takes x [batch, pixels, channels], got {}",
                shapes(inputs)
            ));
        };
        let twice = |yes: bool| if yes { 2 } else { 1 };
        let x = TensorType::f32([batch, pixels, channels]);
        let mut wanted = vec![
            x.clone(),
            TensorType::f32([
                batch * twice(self.guided),
                pixels,
                channels * twice(self.learned),
            ]),
            TensorType::f32([COLUMNS]),
        ];
        if self.stream.is_none() {
            wanted.push(x);
        }
        if inputs.len() != wanted.len() || inputs.iter().zip(&wanted).any(|(a, b)| *a != b) {
            return wrong(format!(
                "takes {}, got {}",
                shapes(&wanted.iter().collect::<Vec<_>>()),
                shapes(inputs)
            ));
        }
        Ok(reverse_step::ReverseStep {
            batch,
            pixels,
            channels,
            learned: self.learned,
            guided: self.guided,
            stream: self.stream,
        })
    }

    /// The same value from primitives, the noise given.
    fn decomposed<'g>(&self, operands: &[Var<'g>]) -> Var<'g> {
        let &[x, prediction, step, noise] = operands else {
            return operands[0];
        };
        let &[batch, _, channels] = x.shape().dims() else {
            return x;
        };
        let of = |c: usize| step.slice(0, c, c + 1);
        let conditional = prediction.slice(0, 0, batch);
        let mut p = conditional.slice(2, 0, channels);
        if self.guided {
            let unguided = prediction.slice(0, batch, 2 * batch).slice(2, 0, channels);
            p = unguided + of(column::GUIDANCE) * (p - unguided);
        }
        let (low, high) = (of(column::MIN_LOG_VARIANCE), of(column::MAX_LOG_VARIANCE));
        let log_variance = if self.learned {
            let v = conditional.slice(2, channels, 2 * channels);
            low + (v + 1.0) * 0.5 * (high - low)
        } else {
            low
        };
        let clip = of(column::CLIP);
        let x0 = (of(column::X0_X) * x + of(column::X0_P) * p)
            .max(-clip)
            .min(clip);
        let mean = of(column::MEAN_X0) * x0 + of(column::MEAN_X) * x + of(column::MEAN_P) * p;
        mean + (log_variance * 0.5).exp() * noise
    }
}

impl Op for ReverseStep {
    fn name(&self) -> &'static str {
        "reverse_step"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(inputs).map(|_| inputs[0].clone())
    }

    /// Where the noise is an operand. A step that draws its own is for sampling, through which nothing is differentiated.
    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        if self.stream.is_some() {
            at.upstream.graph().fail(Error::Usage(
                "reverse_step: to differentiate through it, give it the noise as an operand"
                    .to_owned(),
            ));
            return vec![None; at.inputs.len()];
        }
        through(at, |operands| self.decomposed(operands))
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => {
            let operands: Vec<&[T]> = inputs.iter().map(|v| T::of(&v.data)).collect();
            let drawn = self.stream.map(|stream| {
                let draw = operands[2][column::DRAW].to_f64() as u64;
                reference::reverse_step::noise::<T>(&kernel, stream, cx.state, draw)
            });
            let noise = drawn.as_deref().unwrap_or_else(|| operands[3]);
            T::into_data(reference::reverse_step::reverse_step(
                &kernel, operands[0], operands[1], operands[2], noise,
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
        let noise = match self.stream {
            Some(_) => Argument::State,
            None => Argument::Input(3),
        };
        Ok(Lowering::single(
            self.kernel(inputs)?,
            vec![
                Argument::Input(0),
                Argument::Input(1),
                Argument::Input(2),
                noise,
                Argument::Output,
            ],
        ))
    }
}

impl<'g> Var<'g> {
    /// The x before self `[batch, pixels, channels]`, by a network's `prediction` and the coefficients `step` `[COLUMNS]`, which
    /// [`reverse_step::column`] names, with noise of its own keyed by example. The prediction has twice the channels where the variance is
    /// learned, and twice the rows where it is guided. `name` decides the noise's stream.
    pub fn reverse_step(self, name: &str, prediction: Self, step: Self) -> Self {
        let stream = Some(self.graph().stream(name));
        let op = self.step_op(prediction, stream);
        self.graph().apply(op, &[self, prediction, step])
    }

    /// The same with the noise as an operand.
    pub fn reverse_step_with(self, prediction: Self, step: Self, noise: Self) -> Self {
        let op = self.step_op(prediction, None);
        self.graph().apply(op, &[self, prediction, step, noise])
    }

    fn step_op(self, prediction: Self, stream: Option<u32>) -> ReverseStep {
        let (own, other) = (self.shape(), prediction.shape());
        let twice = |axis: usize| match (own.dims().get(axis), other.dims().get(axis)) {
            (Some(own), Some(other)) => *other == 2 * own,
            _ => false,
        };
        ReverseStep {
            learned: twice(2),
            guided: twice(0),
            stream,
        }
    }
}
