//! The positional encoding of NeRF.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::frequency_encode;
use crate::real::Real;
use crate::reference;
use crate::tensor::{DType, TensorType, Value};

/// The encoding of `[n, d]` as `[n, d + 2 d octaves]`, or a derivative of it, every element by its own coordinate.
#[derive(Clone, Debug)]
pub(crate) struct FrequencyEncode {
    /// Octaves, at least one.
    pub octaves: usize,
    /// Which derivative; 0 for the encoding itself.
    pub order: usize,
}

impl FrequencyEncode {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<frequency_encode::FrequencyEncode> {
        let Some((&[rows, width], DType::F32)) = inputs.first().map(|t| (t.shape.dims(), t.dtype))
        else {
            return Err(Error::shape(
                "frequency_encode",
                format!("takes f32 [n, d], got {}", shapes(inputs)),
            ));
        };
        let kernel = frequency_encode::FrequencyEncode {
            rows,
            width,
            octaves: self.octaves,
            order: self.order,
        };
        kernel.check()?;
        Ok(kernel)
    }
}

impl Op for FrequencyEncode {
    fn name(&self) -> &'static str {
        "frequency_encode"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let kernel = self.kernel(inputs)?;
        Ok(TensorType::f32([kernel.rows, kernel.columns()]))
    }

    /// Each coordinate has the sum over its own elements, the next derivative of each times what comes from behind.
    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let x = at.inputs[0];
        let &[rows, width] = x.shape().dims() else {
            return vec![None];
        };
        let &Self { octaves, order } = self;
        let order = order + 1;
        let slopes = x.graph().apply(Self { octaves, order }, &[x]);
        let blocks = (at.upstream * slopes).reshape([rows, 1 + 2 * octaves, width]);
        vec![Some(blocks.sum(&[1]).reshape([rows, width]))]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let ty = inputs[0].tensor_type();
        let kernel = self.kernel(&[&ty])?;
        let data = in_precision!(cx.precision, T => {
            let x = T::of(&inputs[0].data);
            T::into_data(reference::frequency_encode::frequency_encode(&kernel, x))
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
        let &Self { octaves, order } = self;
        Some(MergeKey::of(self, (octaves, order)))
    }
}

impl<'g> Var<'g> {
    /// Self `[n, d]` and the sines and cosines of `2^k` times it, k from 0 to `octaves - 1`: `[n, d + 2 d octaves]`, in the order of
    /// nerf-pytorch. Without octaves it is self.
    pub fn frequency_encode(self, octaves: usize) -> Self {
        if octaves == 0 {
            return self;
        }
        let op = FrequencyEncode { octaves, order: 0 };
        self.graph().apply(op, &[self])
    }
}
