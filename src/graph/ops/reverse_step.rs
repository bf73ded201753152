//! A reverse step of diffusion, for every sampler.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, Op, in_precision};
use crate::graph::ops::decompose::through;
use crate::graph::ops::predict_x0::{conditional, mixed};
use crate::graph::ops::{shapes, takes};
use crate::kernels::Caps;
use crate::kernels::reverse_step::{self, COLUMNS, Operands, column};
use crate::real::Real;
use crate::reference;
use crate::tensor::{TensorType, Value};

/// From x `[batch, pixels, channels]` and x_0 to the x before it. Operands: x; x_0; a row `[COLUMNS]` of coefficients; the noise where it is
/// given; and those that [`Operands`] names, in its order.
#[derive(Clone, Debug)]
pub(crate) struct ReverseStep {
    /// What else it reads.
    pub operands: Operands,
    /// The noise's stream; `None` where it is an operand.
    pub stream: Option<u32>,
}

/// What [`Var::reverse_step`] reads beside x, x_0 and the row.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepInputs<'g> {
    /// The network's prediction, where the row has a coefficient of it or the variance is learned: with twice the channels where it is,
    /// with twice the rows where there is classifier-free guidance.
    pub prediction: Option<Var<'g>>,
    /// The prediction of x_0 of the step before: as x.
    pub previous: Option<Var<'g>>,
    /// What the step before has kept: as x.
    pub kept: Option<Var<'g>>,
    /// The gradient of a classifier's log-probability by x: as x.
    pub gradient: Option<Var<'g>>,
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
        let o = self.operands;
        let twice = |yes: bool| if yes { 2 } else { 1 };
        let x = TensorType::f32([batch, pixels, channels]);
        let mut wanted = vec![x.clone(), x.clone(), TensorType::f32([COLUMNS])];
        wanted.extend(self.stream.is_none().then(|| x.clone()));
        if o.prediction {
            let sizes = [batch * twice(o.guided), pixels, channels * twice(o.learned)];
            wanted.push(TensorType::f32(sizes));
        }
        let others = [o.previous, o.kept, o.gradient];
        wanted.extend(others.into_iter().filter(|o| *o).map(|_| x.clone()));
        takes("reverse_step", &wanted, inputs)?;
        let kernel = reverse_step::ReverseStep {
            batch,
            pixels,
            channels,
            operands: o,
            stream: self.stream,
        };
        kernel.check()?;
        Ok(kernel)
    }

    /// The same value from primitives, the noise given.
    fn decomposed<'g>(&self, operands: &[Var<'g>]) -> Var<'g> {
        let &[x, x0, step, noise, ref others @ ..] = operands else {
            return operands[0];
        };
        let mut others = others.iter().copied();
        let of = |c: usize| step.slice(0, c, c + 1);
        let o = self.operands;
        let mut mean = of(column::MEAN_X0) * x0 + of(column::MEAN_X) * x;
        let mut log_variance = of(column::MIN_LOG_VARIANCE);
        if let Some(prediction) = o.prediction.then(|| others.next()).flatten() {
            mean = mean + of(column::MEAN_P) * mixed(x, prediction, step, o.guided);
            if o.learned {
                let high = of(column::MAX_LOG_VARIANCE);
                let v = conditional(x, prediction, true);
                log_variance = log_variance + (v + 1.0) * 0.5 * (high - log_variance);
            }
        }
        let columns = o.previous.then_some(column::MEAN_PREVIOUS).into_iter();
        let columns = columns.chain(o.kept.then_some(column::MEAN_KEPT));
        for (column, value) in columns.zip(others.by_ref()) {
            mean = mean + of(column) * value;
        }
        if let Some(gradient) = o.gradient.then(|| others.next()).flatten() {
            mean = mean + of(column::MEAN_GRADIENT) * log_variance.exp() * gradient;
        }
        mean + of(column::NOISE) * (log_variance * 0.5).exp() * noise
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
            let (noise, behind) = match &drawn {
                Some(drawn) => (drawn.as_slice(), &operands[3..]),
                None => (operands[3], &operands[4..]),
            };
            let read = reference::reverse_step::Inputs::new(&kernel, operands[0], operands[1], behind);
            T::into_data(reference::reverse_step::reverse_step(&kernel, &read, operands[2], noise))
        });
        Value::new(inputs[0].shape.clone(), data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let mut arguments: Vec<Argument> = (0..inputs.len()).map(Argument::Input).collect();
        if self.stream.is_some() {
            arguments.insert(3, Argument::State);
        }
        arguments.push(Argument::Output);
        Ok(Lowering::single(self.kernel(inputs)?, arguments))
    }
}

impl<'g> Var<'g> {
    /// The x before self `[batch, pixels, channels]`, by a prediction `x0` of the images without noise ([`Var::predict_x0`]) and the
    /// coefficients `step` `[COLUMNS]`, which [`reverse_step::column`] names, with noise of its own keyed by example. `name` decides the
    /// noise's stream.
    pub fn reverse_step(self, name: &str, x0: Self, step: Self, inputs: &StepInputs<'g>) -> Self {
        let stream = Some(self.graph().stream(name));
        self.step_of(&[self, x0, step], inputs, stream)
    }

    /// The same with the noise as an operand.
    pub fn reverse_step_with(
        self,
        x0: Self,
        step: Self,
        noise: Self,
        inputs: &StepInputs<'g>,
    ) -> Self {
        self.step_of(&[self, x0, step, noise], inputs, None)
    }

    fn step_of(self, first: &[Self], inputs: &StepInputs<'g>, stream: Option<u32>) -> Self {
        let StepInputs {
            prediction,
            previous,
            kept,
            gradient,
        } = inputs;
        let [guided, learned] = prediction.map_or([false; 2], |p| self.twice(p));
        let operands = Operands {
            prediction: prediction.is_some(),
            learned,
            guided,
            previous: previous.is_some(),
            kept: kept.is_some(),
            gradient: gradient.is_some(),
        };
        let mut all = first.to_vec();
        all.extend(prediction);
        all.extend(previous);
        all.extend(kept);
        all.extend(gradient);
        self.graph().apply(ReverseStep { operands, stream }, &all)
    }
}
