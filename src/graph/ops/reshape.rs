//! The same memory under another shape, and values that gradients do not pass.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{EvalContext, GradientAt, Lowering, MergeKey, Op, Pattern};
use crate::kernels::Caps;
use crate::tensor::{Shape, TensorType, Value};

/// The operand's elements under another shape. No kernel runs.
#[derive(Clone, Debug)]
pub struct Reshape {
    /// The new sizes.
    pub shape: Shape,
    /// Whether gradients pass.
    pub differentiable: bool,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        if self.differentiable {
            "reshape"
        } else {
            "stop_gradient"
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        match inputs {
            [x] if x.shape.count() == self.shape.count() => Ok(TensorType {
                shape: self.shape.clone(),
                dtype: x.dtype,
            }),
            [x] => {
                let (from, to) = (x.shape.count(), self.shape.count());
                let why = format!(
                    "{:?} has {from} elements, {:?} has {to}",
                    x.shape, self.shape
                );
                Err(Error::shape(self.name(), why))
            }
            _ => Err(Error::shape(self.name(), "takes one operand")),
        }
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![
            self.differentiable
                .then(|| at.upstream.reshape(at.inputs[0].shape())),
        ]
    }

    fn evaluate(&self, inputs: &[&Value], _cx: &EvalContext) -> Result<Value> {
        Value::new(self.shape.clone(), inputs[0].data.clone())
    }

    fn lower(
        &self,
        _caps: &Caps,
        _inputs: &[&TensorType],
        _output: &TensorType,
    ) -> Result<Lowering> {
        Ok(Lowering::default())
    }

    fn pattern(&self, _inputs: &[&TensorType]) -> Pattern {
        Pattern::Alias
    }

    fn merge_key(&self) -> Option<MergeKey> {
        let Self {
            shape,
            differentiable,
        } = self;
        Some(MergeKey::of(self, (shape.clone(), *differentiable)))
    }
}

impl<'g> Var<'g> {
    /// The same elements under another shape.
    pub fn reshape(self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        if shape == self.shape() {
            return self;
        }
        self.graph().apply(
            Reshape {
                shape,
                differentiable: true,
            },
            &[self],
        )
    }

    /// The same value, through which no gradient passes.
    pub fn stop_gradient(self) -> Self {
        self.graph().apply(
            Reshape {
                shape: self.shape(),
                differentiable: false,
            },
            &[self],
        )
    }
}
