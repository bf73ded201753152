//! Any graph on the CPU, from the references alone: the witness of `verify`, and the device where there is no GPU.

use std::collections::HashMap;
use std::sync::Arc;

use super::op::{EvalContext, Pattern};
use super::{Graph, Node, NodeId};
use crate::error::Result;
use crate::tensor::{Data, Value};

/// Values of nodes, shared.
pub(crate) type Known = HashMap<NodeId, Arc<Value>>;

/// Computes the values of `wanted` from `known` ones: leaves, and whatever else is given instead of being computed.
///
/// Reals of `known` must be in `cx.precision`. Values are dropped as soon as nothing needs them.
///
/// # Errors
/// When a leaf is missing or an operator fails.
pub(crate) fn evaluate(
    nodes: &[Arc<Node>],
    wanted: &[NodeId],
    known: &Known,
    cx: &EvalContext,
) -> Result<Vec<Arc<Value>>> {
    let mut uses = vec![0_usize; nodes.len()];
    let mut needed = vec![false; nodes.len()];
    let mut stack = wanted.to_vec();
    for id in wanted {
        uses[id.index()] += 1;
    }
    while let Some(id) = stack.pop() {
        if std::mem::replace(&mut needed[id.index()], true) || known.contains_key(&id) {
            continue;
        }
        for input in read_by(&nodes[id.index()]) {
            uses[input.index()] += 1;
            stack.push(*input);
        }
    }
    let mut values: HashMap<NodeId, Arc<Value>> = HashMap::new();
    for index in (0..nodes.len()).filter(|&i| needed[i]) {
        let id = NodeId(index as u32);
        let node = &nodes[index];
        let value = if let Some(value) = known.get(&id) {
            value.clone()
        } else if let Pattern::Constant(c) = node.op.pattern(&[]) {
            Arc::new(Value::new(
                [],
                Data::F64(vec![c]).in_precision(cx.precision),
            )?)
        } else {
            let inputs: Vec<&Value> = read_by(node).iter().map(|i| values[i].as_ref()).collect();
            Arc::new(node.op.evaluate(&inputs, cx)?)
        };
        values.insert(id, value);
        for input in if known.contains_key(&id) {
            &[][..]
        } else {
            read_by(node)
        } {
            uses[input.index()] -= 1;
            if uses[input.index()] == 0 {
                values.remove(input);
            }
        }
    }
    Ok(wanted.iter().map(|id| values[id].clone()).collect())
}

/// The operands that a node's value depends on: of an alias the first alone, whose memory it is; others serve its gradient.
pub(crate) fn read_by(node: &Node) -> &[NodeId] {
    match node.op.pattern(&[]) {
        Pattern::Alias => &node.inputs[..1],
        _ => &node.inputs,
    }
}

impl Graph {
    /// The values of `wanted`, leaves given by name. Convenience over `evaluate` for tests and small uses.
    ///
    /// # Errors
    /// As `evaluate`, and when the graph is not sound.
    pub fn interpret(
        &self,
        wanted: &[NodeId],
        leaves: &[(&str, Value)],
        cx: &EvalContext,
    ) -> Result<Vec<Arc<Value>>> {
        self.check()?;
        let mut known = Known::new();
        for (name, value) in leaves {
            let Some(id) = self.inner.borrow().names.get(*name).copied() else {
                continue;
            };
            let data = value.data.clone().in_precision(cx.precision);
            known.insert(
                id,
                Arc::new(Value {
                    shape: value.shape.clone(),
                    data,
                }),
            );
        }
        evaluate(&self.nodes(), wanted, &known, cx)
    }
}
