//! Small rewrites as a node is made: constants folded, neutral elements dropped.

use std::sync::Arc;

use super::op::{Op, Pattern};
use super::{Graph, Node, Var};
use crate::kernels::functions::Function;
use crate::reference::functions::apply;
use crate::tensor::{Shape, TensorType};

/// A shorter way to say `op(inputs)`, if there is one. `nodes` are those of the inputs.
pub(super) fn simplify<'g>(
    graph: &'g Graph,
    op: &dyn Op,
    inputs: &[Var<'g>],
    nodes: &[Arc<Node>],
) -> Option<Var<'g>> {
    let types: Vec<&TensorType> = nodes.iter().map(|node| &node.ty).collect();
    let Pattern::Elementwise(function) = op.pattern(&types) else {
        return None;
    };
    if let (Function::Identity, [x]) = (function, inputs) {
        // A stretch of a stretch is one.
        let shape = op.infer(&types).ok()?.shape;
        if let Some(inner) = stretched(graph, *x) {
            return Some(inner.broadcast_to(shape));
        }
    }
    let shape = op.infer(&types).ok()?.shape;
    let constant = |node: &Arc<Node>| match node.op.pattern(&[]) {
        Pattern::Constant(value) => Some(value),
        _ => None,
    };
    let constants: Vec<Option<f64>> = nodes.iter().map(constant).collect();
    if shape.rank() == 0
        && !inputs.is_empty()
        && let Some(values) = constants.iter().copied().collect::<Option<Vec<f64>>>()
    {
        return Some(graph.constant(apply(function, &values)));
    }
    if let Some(lean) = without_stretches(graph, function, inputs, &shape) {
        return Some(lean);
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

/// What `var` is a stretch of, if it is one.
fn stretched<'g>(graph: &'g Graph, var: Var<'g>) -> Option<Var<'g>> {
    let node = graph.node(var.id());
    let is_stretch = node.op.pattern(&[]) == Pattern::Elementwise(Function::Identity);
    is_stretch.then(|| graph.var(node.inputs[0]))
}

/// The same function of unstretched operands, where broadcasting gives the same shape.
fn without_stretches<'g>(
    graph: &'g Graph,
    function: Function,
    inputs: &[Var<'g>],
    shape: &Shape,
) -> Option<Var<'g>> {
    if function == Function::Identity {
        return None;
    }
    let mut lean = inputs.to_vec();
    for i in 0..lean.len() {
        if let Some(inner) = stretched(graph, lean[i]) {
            let before = std::mem::replace(&mut lean[i], inner);
            let broadcast = lean
                .iter()
                .try_fold(Shape::scalar(), |s, v| s.broadcast(&v.shape()));
            if broadcast.as_ref() != Some(shape) {
                lean[i] = before;
            }
        }
    }
    let changed = lean.iter().zip(inputs).any(|(a, b)| a.id() != b.id());
    changed.then(|| graph.elementwise(function, &lean))
}
