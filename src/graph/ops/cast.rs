//! Conversion between element types.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Argument, EvalContext, GradientAt, Lowering, MergeKey, Op};
use crate::kernels::Caps;
use crate::kernels::cast;
use crate::reference;
use crate::tensor::{DType, TensorType, Value};

/// Converts every element; reals to integers truncate and clamp. No gradient passes.
#[derive(Clone, Debug)]
pub struct Cast {
    /// The type of the value.
    pub to: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        match inputs {
            [x] => Ok(TensorType {
                shape: x.shape.clone(),
                dtype: self.to,
            }),
            _ => Err(Error::shape(self.name(), "takes one operand")),
        }
    }

    fn gradient<'g>(&self, _at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![None]
    }

    fn evaluate(&self, inputs: &[&Value], cx: &EvalContext) -> Result<Value> {
        let data = reference::cast::cast(&inputs[0].data, self.to, cx.precision);
        Value::new(inputs[0].shape.clone(), data)
    }

    fn lower(&self, _caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Result<Lowering> {
        let kernel = cast::Cast {
            count: output.shape.count(),
            from: inputs[0].dtype,
            to: self.to,
        };
        Ok(Lowering::single(
            kernel,
            vec![Argument::Input(0), Argument::Output],
        ))
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let &Self { to } = self;
        Some(MergeKey::of(self, to))
    }
}

impl<'g> Var<'g> {
    /// The value in another element type.
    pub fn cast(self, to: DType) -> Self {
        if self.dtype() == to {
            self
        } else {
            self.graph().apply(Cast { to }, &[self])
        }
    }
}
