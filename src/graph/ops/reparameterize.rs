//! The reparameterised sample of Kingma & Welling 2013, eq. 10.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, Op, in_precision};
use crate::graph::ops::random::Random;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::functions::Distribution;
use crate::kernels::philox::Key;
use crate::kernels::reparameterize;
use crate::real::Real;
use crate::reference;
use crate::tensor::{Data, TensorType, Value};

/// `mu + exp(log_variance / 2) * eps` with its own noise.
#[derive(Clone, Debug)]
pub struct Reparameterize {
    /// What the noise belongs to.
    pub key: Key,
    /// Its stream.
    pub stream: u32,
}

impl Reparameterize {
    fn kernel(&self, count: usize) -> reparameterize::Reparameterize {
        reparameterize::Reparameterize {
            count,
            key: self.key,
            stream: self.stream,
        }
    }
}

impl Op for Reparameterize {
    fn name(&self) -> &'static str {
        "reparameterize"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        match inputs {
            [mu, log_variance] if mu == log_variance => Ok((*mu).clone()),
            _ => Err(Error::shape(
                self.name(),
                format!(
                    "mu and log_variance must have one shape, got {}",
                    shapes(inputs)
                ),
            )),
        }
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        // The noise is drawn again, not kept: the same stream and key give the same numbers.
        let g = at.upstream;
        let noise = Random {
            distribution: Distribution::Normal,
            key: self.key,
            stream: self.stream,
            shape: at.output.shape(),
        };
        let eps = g.graph().apply(noise, &[]);
        let deviation = (at.inputs[1] * 0.5).exp();
        vec![Some(g), Some(g * eps * deviation * 0.5)]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        fn twin<T: Real>(
            kernel: &reparameterize::Reparameterize,
            inputs: &[&Value],
            cx: &EvalContext,
        ) -> Data {
            let (mu, log_variance) = (T::of(&inputs[0].data), T::of(&inputs[1].data));
            T::into_data(reference::reparameterize::reparameterize(
                kernel,
                cx.state,
                mu,
                log_variance,
            ))
        }
        let kernel = self.kernel(inputs[0].shape.count());
        let data = in_precision!(cx.precision, T => twin::<T>(&kernel, inputs, cx));
        Value::new(inputs[0].shape.clone(), data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        _inputs: &[&TensorType],
        output: &TensorType,
    ) -> Result<Lowering> {
        Ok(Lowering::single(
            self.kernel(output.shape.count()),
            vec![
                Argument::Input(0),
                Argument::Input(1),
                Argument::State,
                Argument::Output,
            ],
        ))
    }
}

impl<'g> Var<'g> {
    /// A sample of N(self, exp(log_variance)), its noise keyed by the step. `name` decides the stream.
    pub fn reparameterize(self, name: &str, log_variance: Self) -> Self {
        let stream = self.graph().stream(name);
        self.graph().apply(
            Reparameterize {
                key: Key::Step,
                stream,
            },
            &[self, log_variance],
        )
    }

    /// The same with noise keyed by example and draw: self is `[draws * examples, width]`.
    pub fn reparameterize_by_example(self, name: &str, draws: usize, log_variance: Self) -> Self {
        let stream = self.graph().stream(name);
        let shape = self.shape();
        let [rows, width] = *shape.dims() else {
            self.graph().fail(Error::shape(
                "reparameterize",
                format!("takes [rows, width], got {shape:?}"),
            ));
            return self;
        };
        let key = Key::Example {
            examples: (rows / draws) as u32,
            draws: draws as u32,
            width: width as u32,
        };
        self.graph()
            .apply(Reparameterize { key, stream }, &[self, log_variance])
    }

    /// The same with the noise as an operand: `self + exp(log_variance / 2) * eps`.
    pub fn reparameterize_with(self, log_variance: Self, eps: Self) -> Self {
        self + (log_variance * 0.5).exp() * eps
    }
}
