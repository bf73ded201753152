//! Sums of rows by index: the gradient of a gather.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{
    Argument, Call, EvalContext, GradientAt, Lowering, MergeKey, Op, in_precision,
};
use crate::graph::ops::shapes;
use crate::kernels::Caps;
use crate::kernels::scatter_add::{self, FindStarts, sorting};
use crate::real::Real;
use crate::reference::{self, Twin};
use crate::tensor::{DType, Data, TensorType, Value};

/// `out[row, :] = sum of updates[b, :] where index[b] = row`. Indices from `rows` on are dropped.
#[derive(Clone, Debug)]
pub(crate) struct ScatterAdd {
    /// Rows of the value.
    pub rows: usize,
}

impl ScatterAdd {
    fn kernel(&self, inputs: &[&TensorType]) -> Result<scatter_add::ScatterAdd> {
        match inputs {
            [updates, index] if index.dtype == DType::U32 && updates.dtype == DType::F32 => {
                if let (&[count, width], &[n]) = (updates.shape.dims(), index.shape.dims())
                    && n == count
                {
                    return Ok(scatter_add::ScatterAdd {
                        count,
                        rows: self.rows,
                        width,
                    });
                }
            }
            _ => {}
        }
        let why = format!(
            "takes f32 updates [count, width] and u32 indices [count], got {}",
            shapes(inputs)
        );
        Err(Error::shape("scatter_add", why))
    }
}

impl Op for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        let kernel = self.kernel(inputs)?;
        Ok(TensorType::f32([kernel.rows, kernel.width]))
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![Some(at.upstream.gather(at.inputs[1])), None]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        fn twin<T: Real>(kernel: &scatter_add::ScatterAdd, inputs: &[&Value]) -> Data {
            let (updates, index) = (T::of(&inputs[0].data), inputs[1].data.as_u32());
            T::into_data(reference::scatter_add::scatter_add(kernel, updates, index))
        }
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let kernel = self.kernel(&types.iter().collect::<Vec<_>>())?;
        let data = in_precision!(cx.precision, T => twin::<T>(&kernel, inputs));
        Value::new([kernel.rows, kernel.width], data)
    }

    fn lower(
        &self,
        _caps: &Caps,
        inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        let kernel = self.kernel(inputs)?;
        let (count, rows) = (kernel.count, kernel.rows);
        let mut lowering = Lowering::default();
        let mut call = |kernel: Arc<dyn Twin>, arguments: &[Argument]| {
            let arguments = arguments.to_vec();
            lowering.calls.push(Call { kernel, arguments });
        };
        let (starts, sorted) = (Argument::Temporary(0), |i: usize| {
            Argument::Temporary(1 + i)
        });
        let (tiles, merges) = sorting(count);
        let last = merges.len();
        call(Arc::new(tiles), &[Argument::Input(1), sorted(0)]);
        for (i, merge) in merges.into_iter().enumerate() {
            call(Arc::new(merge), &[sorted(i), sorted(i + 1)]);
        }
        call(
            Arc::new(FindStarts { count, rows }),
            &[sorted(last), starts],
        );
        call(
            Arc::new(kernel),
            &[Argument::Input(0), sorted(last), starts, Argument::Output],
        );
        lowering.temporaries = vec![TensorType::u32([rows + 1])];
        let pairs = vec![TensorType::u32([2 * count]); last + 1];
        lowering.temporaries.extend(pairs);
        Ok(lowering)
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { rows } = self;
        Some(MergeKey::of(self, rows))
    }
}

impl<'g> Var<'g> {
    /// Rows of self `[count, width]` summed into row `index[b]` of `rows`, in a fixed order.
    pub fn scatter_add(self, index: Self, rows: usize) -> Self {
        self.graph().apply(ScatterAdd { rows }, &[self, index])
    }
}
