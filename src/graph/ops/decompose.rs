//! Gradients of operators that have no rule of their own, through primitives that compute the same.

use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{EvalContext, GradientAt, Lowering, Op, Pattern};
use crate::kernels::Caps;
use crate::tensor::{TensorType, Value};

/// An operand's own node: the same value, even where two operands are one variable.
#[derive(Clone, Debug)]
struct Operand;

impl Op for Operand {
    fn name(&self) -> &'static str {
        "operand"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType> {
        Ok(inputs[0].clone())
    }

    fn gradient<'g>(&self, at: &GradientAt<'_, 'g>) -> Vec<Option<Var<'g>>> {
        vec![Some(at.upstream)]
    }

    fn evaluate(&self, inputs: &[&Value], _cx: &EvalContext) -> Result<Value> {
        Ok(inputs[0].clone())
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
}

/// The gradients by an operator's operands where `value`, made of operators that have gradients, computes the same from them. The graph
/// gets the primitives' nodes; those that no gradient needs are dropped as dead. Nothing that was there before depends on an operand's
/// own node, so each gradient is a partial one, whatever the operands have to do with each other.
pub(crate) fn through<'g>(
    at: &GradientAt<'_, 'g>,
    value: impl FnOnce(&[Var<'g>]) -> Var<'g>,
) -> Vec<Option<Var<'g>>> {
    let graph = at.upstream.graph();
    let operands: Vec<Var<'g>> = at
        .inputs
        .iter()
        .map(|&input| graph.apply(Operand, &[input]))
        .collect();
    let loss = (value(&operands) * at.upstream).sum_all();
    let gradients = graph.gradients(loss, &operands);
    gradients.into_iter().map(Some).collect()
}
