//! The forward process of diffusion (Ho et al. 2020).

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, Op, in_precision};
use crate::graph::ops::random::Random;
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::functions::Distribution;
use crate::kernels::philox::Key;
use crate::kernels::q_sample;
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, TensorType, Value};

/// `table[t, 0] x + table[t, 1] eps` with its own noise. Operands: x `[batch, width]`, t `[batch]` u32, table `[timesteps, 2]`. No gradient
/// goes to the table.
#[derive(Clone, Debug)]
pub(crate) struct QSample {
    /// What the noise belongs to.
    pub key: Key,
    /// Its stream.
    pub stream: u32,
}

impl QSample {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<q_sample::QSample> {
        if let [x, t, table] = inputs
            && let (&[batch, width], &[steps], &[timesteps, 2]) =
                (x.shape.dims(), t.shape.dims(), table.shape.dims())
            && (x.dtype, t.dtype, table.dtype) == (DType::F32, DType::U32, DType::F32)
            && batch == steps
            && timesteps > 0
        {
            return Ok(q_sample::QSample {
                batch,
                width,
                timesteps,
                key: self.key,
                stream: self.stream,
            });
        }
        Err(Error::shape(
            "q_sample",
            format!(
                "takes x [batch, width], t [batch] of u32 and a table [timesteps, 2], got {}",
                shapes(inputs)
            ),
        ))
    }
}

impl Op for QSample {
    fn name(&self) -> &'static str {
        "q_sample"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        self.kernel(inputs).map(|_| inputs[0].clone())
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let &[_, t, table] = at.inputs else {
            return Vec::new();
        };
        let signal = table.gather(t).slice(1, 0, 1);
        vec![Some(at.upstream * signal), None, None]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => {
            let (x, table) = (T::of(&inputs[0].data), T::of(&inputs[2].data));
            let t = inputs[1].data.as_u32();
            T::into_data(reference::q_sample::q_sample(&kernel, cx.state, x, t, table))
        });
        Value::new(inputs[0].shape.clone(), data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        Ok(Lowering::single(
            self.kernel(inputs)?,
            vec![
                Argument::Input(0),
                Argument::Input(1),
                Argument::Input(2),
                Argument::State,
                Argument::Output,
            ],
        ))
    }
}

impl<'g> Var<'g> {
    /// self `[batch, width]` after the forward process, each row at its own `t` `[batch]` (u32) with its own noise, and that noise: `table`
    /// `[timesteps, 2]` has what self and the noise are multiplied by. `name` decides the noise's stream.
    pub fn q_sample(self, name: &str, t: Self, table: Self) -> (Self, Self) {
        self.q_sample_keyed(name, t, table, Key::Step)
    }

    /// The same with noise keyed by example and draw: the same for every batch size.
    pub fn q_sample_by_example(self, name: &str, t: Self, table: Self) -> (Self, Self) {
        let (rows, width) = match *self.shape().dims() {
            [rows, width] => (rows, width),
            _ => (1, 1),
        };
        let key = Key::Example {
            examples: rows as u32,
            draws: 1,
            width: width as u32,
        };
        self.q_sample_keyed(name, t, table, key)
    }

    fn q_sample_keyed(self, name: &str, t: Self, table: Self, key: Key) -> (Self, Self) {
        let graph = self.graph();
        let stream = graph.stream(name);
        let noised = graph.apply(QSample { key, stream }, &[self, t, table]);
        // Not kept by the kernel: the same stream and key give the same numbers wherever they are wanted.
        let noise = Random {
            distribution: Distribution::Normal,
            key,
            stream,
            shape: self.shape(),
        };
        (noised, graph.apply(noise, &[]))
    }

    /// The same with the noise as an operand.
    pub fn q_sample_with(self, t: Self, table: Self, noise: Self) -> Self {
        let rows = table.gather(t);
        self * rows.slice(1, 0, 1) + noise * rows.slice(1, 1, 2)
    }
}
