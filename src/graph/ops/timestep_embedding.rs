//! Sinusoidal embeddings of timesteps.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::timestep_embedding::{self, Convention};
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, TensorType, Value};

/// The embedding of timesteps `[batch]` as `[batch, dim]`: words in units of 2^-fraction_bits, or reals. It has no gradient.
#[derive(Clone, Debug)]
pub(crate) struct TimestepEmbedding {
    /// Elements of an embedding.
    pub dim: usize,
    /// How it is laid out.
    pub convention: Convention,
    /// Timesteps come in units of 2^-this.
    pub fraction_bits: u32,
}

impl TimestepEmbedding {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<timestep_embedding::TimestepEmbedding> {
        let (batch, real) = match inputs.first().map(|t| (t.shape.dims(), t.dtype)) {
            Some((&[batch], DType::U32)) => (batch, false),
            Some((&[batch], DType::F32)) => (batch, true),
            _ => {
                return Err(Error::shape(
                    "timestep_embedding",
                    format!("takes u32 or f32 [batch], got {}", shapes(inputs)),
                ));
            }
        };
        let kernel = timestep_embedding::TimestepEmbedding {
            batch,
            dim: self.dim,
            convention: self.convention,
            fraction_bits: self.fraction_bits,
            real,
        };
        kernel.check()?;
        Ok(kernel)
    }
}

impl Op for TimestepEmbedding {
    fn name(&self) -> &'static str {
        "timestep_embedding"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let kernel = self.kernel(inputs)?;
        Ok(TensorType::f32([kernel.batch, kernel.dim]))
    }

    fn gradient<'g>(&self, _at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let ty = inputs[0].tensor_type();
        let kernel = self.kernel(&[&ty])?;
        let data = in_precision!(cx.precision, T => {
            let t = reference::timestep_embedding::fixed::<T>(&kernel, &inputs[0].data);
            T::into_data(reference::timestep_embedding::timestep_embedding::<T>(&kernel, &t))
        });
        Value::new(self.infer(&[&ty])?.shape, data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        Ok(Lowering::single(
            self.kernel(inputs)?,
            vec![Argument::Input(0), Argument::Output],
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self {
            dim,
            convention,
            fraction_bits,
        } = self;
        let Convention {
            cosine_first,
            shift,
            max_period,
        } = convention;
        let reals = [shift, max_period].map(f64::to_bits);
        Some(MergeKey::of(
            self,
            (dim, cosine_first, reals, fraction_bits),
        ))
    }
}

impl<'g> Var<'g> {
    /// Sines and cosines of self `[batch]` (u32, two's complement), in units of 2^-`fraction_bits`, times `dim / 2` frequencies: `[batch, dim]`.
    /// Self may be f32: it is rounded to those units.
    pub fn timestep_embedding(
        self,
        dim: usize,
        convention: Convention,
        fraction_bits: u32,
    ) -> Self {
        let op = TimestepEmbedding {
            dim,
            convention,
            fraction_bits,
        };
        self.graph().apply(op, &[self])
    }
}
