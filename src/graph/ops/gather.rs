//! Rows by index: batches of a data set, embeddings.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::gather;

use crate::reference::gather::gather as gathered;
use crate::tensor::{DType, TensorType, Value};

/// `data[index[b], :] * scale + shift`. With `batch`, the list of indices is read from the plan's cursor on.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Factor; 1 for u32 data.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
    /// Rows of a batch that begins at the cursor; `None` for every index from the start of the list.
    pub batch: Option<usize>,
}

impl Gather {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<gather::Gather> {
        let [data, index] = inputs else {
            return Err(Error::shape("gather", "takes data and indices"));
        };
        match (data.shape.dims(), index.shape.dims()) {
            (&[rows, width], &[indices])
                if index.dtype == DType::U32 && rows > 0 && indices > 0 =>
            {
                Ok(gather::Gather {
                    rows,
                    width,
                    batch: self.batch.unwrap_or(indices),
                    indices,
                    cursor: self.batch.is_some(),
                    dtype: data.dtype,
                    scale: self.scale,
                    shift: self.shift,
                    first: 0,
                })
            }
            _ => Err(Error::shape(
                "gather",
                format!(
                    "takes data [rows, width] and u32 indices [count], none empty, got {}",
                    shapes(inputs)
                ),
            )),
        }
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let kernel = self.kernel(inputs)?;
        Ok(TensorType {
            shape: [kernel.batch, kernel.width].into(),
            dtype: kernel.out_dtype(),
        })
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        let (data, index) = (at.inputs[0], at.inputs[1]);
        if data.dtype() != DType::F32 || self.batch.is_some() {
            return vec![None, None];
        }
        let rows = data.shape().dims()[0];
        vec![
            Some((at.upstream * f64::from(self.scale)).scatter_add(index, rows)),
            None,
        ]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let (data, index) = (&inputs[0].data, inputs[1].data.as_u32());
        let cursor = if kernel.cursor { cx.state.cursor } else { 0 };
        let out = in_precision!(cx.precision, T => gathered::<T>(&kernel, data, index, cursor));
        Value::new([kernel.batch, kernel.width], out)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let kernel = self.kernel(inputs)?;
        let mut arguments = vec![Argument::Input(0), Argument::Input(1)];
        if kernel.cursor {
            arguments.push(Argument::State);
        }
        arguments.push(Argument::Output);
        Ok(Lowering::single(kernel, arguments))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self {
            scale,
            shift,
            batch,
        } = self;
        Some(MergeKey::of(
            self,
            (scale.to_bits(), shift.to_bits(), batch),
        ))
    }
}

impl<'g> Var<'g> {
    /// Rows `index` of self `[rows, width]`. Differentiable by self if it is f32.
    pub fn gather(self, index: Self) -> Self {
        self.graph().apply(
            Gather {
                scale: 1.0,
                shift: 0.0,
                batch: None,
            },
            &[self, index],
        )
    }

    /// The step's batch of a data set `[rows, width]`: `batch` rows from the plan's cursor on in the list `index`, bytes times
    /// `scale` plus `shift`.
    pub fn gather_batch(self, index: Self, batch: usize, scale: f32, shift: f32) -> Self {
        self.graph().apply(
            Gather {
                scale,
                shift,
                batch: Some(batch),
            },
            &[self, index],
        )
    }
}
