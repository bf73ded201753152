//! Small rewrites as a node is made: constants folded, neutral elements dropped.

use super::op::{Op, Pattern};
use super::{Graph, Var};
use crate::kernels::functions::Function;
use crate::reference::functions::apply;

/// A shorter way to say `op(inputs)`, if there is one.
pub(super) fn simplify<'g>(graph: &'g Graph, op: &dyn Op, inputs: &[Var<'g>]) -> Option<Var<'g>> {
    let types: Vec<_> = inputs.iter().map(|v| v.ty()).collect();
    let Pattern::Elementwise(function) = op.pattern(&types.iter().collect::<Vec<_>>()) else { return None };
    let shape = op.infer(&types.iter().collect::<Vec<_>>()).ok()?.shape;
    let constant = |v: &Var<'g>| match graph.node(v.id()).op.pattern(&[]) {
        Pattern::Constant(value) => Some(value),
        _ => None,
    };
    let constants: Vec<Option<f64>> = inputs.iter().map(constant).collect();
    if shape.rank() == 0 && !inputs.is_empty() {
        if let Some(values) = constants.iter().copied().collect::<Option<Vec<f64>>>() {
            return Some(graph.constant(apply(function, &values)));
        }
    }
    let same = |i: usize| (types[i].shape == shape).then_some(inputs[i]);
    match (function, constants.as_slice()) {
        (Function::Identity, _) => same(0),
        (Function::Mul, [_, Some(1.0)]) | (Function::Div, [_, Some(1.0)]) => same(0),
        (Function::Add, [_, Some(0.0)]) | (Function::Sub, [_, Some(0.0)]) => same(0),
        (Function::Mul, [Some(1.0), _]) | (Function::Add, [Some(0.0), _]) => same(1),
        _ => None,
    }
}
