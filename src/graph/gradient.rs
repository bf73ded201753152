//! Reverse-mode differentiation: gradients as further nodes of the same graph, which can be differentiated again.

use super::{Graph, NodeId, Var};
use crate::error::Error;
use crate::graph::op::GradientAt;
use crate::graph::update::Update;
use crate::kernels::schedule;
use crate::tensor::DType;

impl Graph {
    /// The gradients of the scalar `loss` by each of `wanted`. What the loss does not depend on has gradient zero.
    pub fn gradients<'g>(&'g self, loss: Var<'g>, wanted: &[Var<'g>]) -> Vec<Var<'g>> {
        if loss.shape().count() != 1 {
            self.fail(Error::shape(
                "gradients",
                format!("the loss must be a scalar, it is {:?}", loss.shape()),
            ));
        }
        let count = loss.id().index() + 1;
        let depends = self.dependents(wanted, count);
        let mut upstream: Vec<Option<Var<'g>>> = vec![None; count];
        upstream[loss.id().index()] = Some(self.constant(1.0).broadcast_to(loss.shape()));
        for index in (0..count).rev() {
            let Some(gradient) = upstream[index].filter(|_| depends[index]) else {
                continue;
            };
            let node = self.node(NodeId(index as u32));
            let inputs: Vec<Var<'g>> = node.inputs.iter().map(|&id| self.var(id)).collect();
            let at = GradientAt {
                inputs: &inputs,
                output: self.var(NodeId(index as u32)),
                upstream: gradient,
            };
            if node.inputs.iter().all(|id| !depends[id.index()]) {
                continue;
            }
            for (input, part) in inputs.iter().zip(node.op.gradient(&at)) {
                let slot = &mut upstream[input.id().index()];
                if let Some(part) = part.filter(|_| input.dtype() == DType::F32) {
                    *slot = Some(slot.map_or(part, |sum| sum + part));
                }
            }
        }
        wanted
            .iter()
            .map(|w| {
                let found = upstream.get(w.id().index()).copied().flatten();
                found.unwrap_or_else(|| self.constant(0.0).broadcast_to(w.shape()))
            })
            .collect()
    }

    /// As [`Graph::gradients`], of the loss times the schedule's scale where `update` wants it: the update divides it out again.
    pub fn scaled_gradients<'g>(
        &'g self,
        loss: Var<'g>,
        wanted: &[Var<'g>],
        update: &Update,
    ) -> Vec<Var<'g>> {
        let scaled = if update.loss_scale {
            loss * self.schedule(schedule::LOSS_SCALE)
        } else {
            loss
        };
        self.gradients(scaled, wanted)
    }

    /// For each of the first `count` nodes, whether it depends on one of `roots` or is one.
    fn dependents(&self, roots: &[Var<'_>], count: usize) -> Vec<bool> {
        let mut depends = vec![false; count];
        for root in roots.iter().filter(|r| r.id().index() < count) {
            depends[root.id().index()] = true;
        }
        let inner = self.inner.borrow();
        for (index, node) in inner.nodes[..count].iter().enumerate() {
            depends[index] |= node.inputs.iter().any(|i| depends[i.index()]);
        }
        depends
    }
}
