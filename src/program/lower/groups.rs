//! Which nodes share a kernel.
//!
//! Products and reductions take in the element-wise nodes after them (epilogue), reductions also those before them (prologue), the
//! rest of the element-wise nodes form maps. A node joins a group only if that makes no cycle between groups and leaves the kernel
//! within its storage buffers.

use std::collections::BTreeSet;

use super::{MAX_BUFFERS, Source};
use crate::graph::NodeId;
use crate::graph::op::Pattern;
use crate::kernels::reduce::Combine;

/// What a group's kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// This node's sums of products, with an epilogue.
    Product(NodeId),
    /// The reduction of this node, with prologue and epilogue.
    Reduce(NodeId),
    /// Element-wise nodes alone.
    Map,
    /// A node's own lowering.
    Opaque(NodeId),
}

/// Nodes that share a kernel.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    /// The head and the element-wise nodes that joined.
    pub(super) members: Vec<NodeId>,
    /// Sums over the rows of a product's first operand, computed on the side.
    pub(super) row_sums: Option<NodeId>,
}

/// All groups, and where each node is computed.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) list: Vec<Group>,
    /// The group of each node; `None` for leaves, aliases, and nodes that are computed inside of whoever reads them.
    pub(super) of: Vec<Option<usize>>,
}

pub(super) fn form(source: &Source) -> Groups {
    let mut groups = Groups {
        list: Vec::new(),
        of: vec![None; source.nodes.len()],
    };
    let row_sums = row_sum_partners(source);
    for index in (0..source.nodes.len()).filter(|&i| source.needed[i]) {
        let id = NodeId(index as u32);
        match source.pattern(id) {
            Pattern::Leaf | Pattern::Constant(_) | Pattern::Alias => {}
            Pattern::Random { .. } if source.fuse && only_read_elementwise(source, id) => {}
            Pattern::Random { .. } => groups.open(Kind::Map, id),
            Pattern::Product { .. } => {
                groups.open(Kind::Product(id), id);
                let partner = row_sums
                    .iter()
                    .find(|(_, product)| *product == id)
                    .map(|(sum, _)| *sum);
                if let Some(sum) = partner {
                    let group = groups.list.len() - 1;
                    groups.list[group].row_sums = Some(sum);
                    groups.of[sum.index()] = Some(group);
                }
            }
            Pattern::Reduce { .. } if row_sums.iter().any(|(sum, _)| *sum == id) => {}
            Pattern::Reduce { .. } => groups.open(Kind::Reduce(id), id),
            Pattern::Opaque => groups.open(Kind::Opaque(id), id),
            Pattern::Elementwise(_) => groups.place(source, id),
        }
    }
    groups
}

/// Random numbers that no one needs in memory: every reader is element-wise and of the same size.
fn only_read_elementwise(source: &Source, id: NodeId) -> bool {
    let count = source.count(id);
    !source.is_sink(id)
        && source.consumers[id.index()]
            .iter()
            .all(|&c| source.is_elementwise(c) && source.count(c) == count)
}

/// Whether a node is best computed by whoever reads it: it depends on one tensor alone, so that reading that tensor instead costs
/// nothing, and it is cheap, or that tensor is in memory in any case.
fn computed_again(source: &Source, id: NodeId, inputs: &BTreeSet<NodeId>) -> bool {
    let count = source.count(id);
    let read_in_passing = |&c: &NodeId| {
        source.is_elementwise(c) && source.count(c) == count
            || matches!(source.pattern(c), Pattern::Reduce { .. })
                && source.count(source.node(c).inputs[0]) == count
    };
    if source.is_sink(id) || !source.consumers[id.index()].iter().all(read_in_passing) {
        return false;
    }
    let mut tensors = inputs.iter().filter(|r| source.count(**r) != 1);
    let (Some(&tensor), None) = (tensors.next(), tensors.next()) else {
        return false;
    };
    let cheap = matches!(source.pattern(id), Pattern::Elementwise(f) if f.flops() <= 1.0);
    let in_memory = || {
        source.is_sink(tensor)
            || source.consumers[tensor.index()]
                .iter()
                .any(|c| !read_in_passing(c))
    };
    source.count(tensor) == count && (cheap || in_memory())
}

/// Column sums that a product in layout tn gives on the side: the gradient of a bias beside that of its weight.
fn row_sum_partners(source: &Source) -> Vec<(NodeId, NodeId)> {
    let mut partners: Vec<(NodeId, NodeId)> = Vec::new();
    if !source.fuse {
        return partners;
    }
    for index in (0..source.nodes.len()).filter(|&i| source.needed[i]) {
        let product = NodeId(index as u32);
        let node = source.node(product);
        let Pattern::Product { row_sums: true } = source.pattern(product) else {
            continue;
        };
        let a = source.node(node.inputs[0]).ty.shape.clone();
        let columns = a.dims().last().copied().unwrap_or(1);
        let readers = &source.consumers[source.root(node.inputs[0]).index()];
        let sum = readers.iter().copied().find(|&r| {
            let column_sums = Pattern::Reduce {
                combine: Combine::Sum,
                domain: [1, a.count() / columns.max(1), columns],
            };
            *source.pattern(r) == column_sums
                && source.consumers[r.index()].is_empty()
                && partners.iter().all(|(taken, _)| *taken != r)
        });
        partners.extend(sum.map(|sum| (sum, product)));
    }
    partners
}

impl Groups {
    fn open(&mut self, kind: Kind, id: NodeId) {
        self.of[id.index()] = Some(self.list.len());
        self.list.push(Group {
            kind,
            members: vec![id],
            row_sums: None,
        });
    }

    /// Finds a group for an element-wise node, or makes one, or leaves it to be computed by its readers.
    fn place(&mut self, source: &Source, id: NodeId) {
        if source.fuse {
            let inputs: BTreeSet<NodeId> = self.external_inputs(source, id);
            if computed_again(source, id, &inputs) {
                return;
            }
            let mut candidates: BTreeSet<usize> =
                inputs.iter().filter_map(|i| self.of[i.index()]).collect();
            // A map that reads the same values: one pass over memory instead of two. A small operand that is repeated saves none, and would
            // tie together what may lie far apart.
            let large: BTreeSet<NodeId> = inputs
                .iter()
                .copied()
                .filter(|&i| source.count(i) >= source.count(id))
                .collect();
            let sibling = |g: &usize| {
                self.list[*g].kind == Kind::Map
                    && self.list[*g]
                        .members
                        .iter()
                        .any(|&m| !self.external_inputs(source, m).is_disjoint(&large))
            };
            candidates.extend((0..self.list.len()).filter(sibling));
            for group in candidates.into_iter().rev() {
                if self.accepts(source, group, id) {
                    self.of[id.index()] = Some(group);
                    self.list[group].members.push(id);
                    return;
                }
            }
            let inlined = |&c: &NodeId| {
                source.is_elementwise(c)
                    || matches!(source.pattern(c), Pattern::Reduce { .. }) && source.count(c) != 1
            };
            if source.count(id) == 1
                && !source.is_sink(id)
                && source.consumers[id.index()].iter().all(inlined)
            {
                return;
            }
        }
        self.open(Kind::Map, id);
    }

    /// Whether `id` may join: the sizes agree, no cycle arises, the buffers suffice.
    fn accepts(&self, source: &Source, group: usize, id: NodeId) -> bool {
        let head = self.list[group].members[0];
        let fits = match self.list[group].kind {
            // Random numbers in memory are a kernel of their own.
            Kind::Map => source.is_elementwise(head) && source.count(head) == source.count(id),
            Kind::Product(_) => source.count(head) == source.count(id),
            Kind::Reduce(r) => {
                let argmax = matches!(
                    source.pattern(r),
                    Pattern::Reduce {
                        combine: Combine::Argmax,
                        ..
                    }
                );
                source.count(head) == source.count(id) && !argmax
            }
            Kind::Opaque(_) => false,
        };
        fits && self
            .external_inputs(source, id)
            .iter()
            .filter_map(|i| self.of[i.index()])
            .all(|other| other == group || !self.depends(source, other, group))
            && self.buffers_with(source, group, id) <= MAX_BUFFERS
    }

    /// Whether group `from` needs a result of group `on`, directly or through others.
    fn depends(&self, source: &Source, from: usize, on: usize) -> bool {
        let mut seen = vec![false; self.list.len()];
        let mut stack = vec![from];
        while let Some(g) = stack.pop() {
            if g == on {
                return true;
            }
            if !std::mem::replace(&mut seen[g], true) {
                stack.extend(
                    self.inputs_of(source, g)
                        .iter()
                        .filter_map(|i| self.of[i.index()])
                        .filter(|&h| h != g),
                );
            }
        }
        false
    }

    /// Roots that a node reads from memory, seen through nodes that are computed inside of their readers.
    fn external_inputs(&self, source: &Source, id: NodeId) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::new();
        let mut stack: Vec<NodeId> = source
            .node(id)
            .inputs
            .iter()
            .map(|&i| source.root(i))
            .collect();
        while let Some(root) = stack.pop() {
            match source.pattern(root) {
                Pattern::Elementwise(_) if self.of[root.index()].is_none() => {
                    stack.extend(source.node(root).inputs.iter().map(|&i| source.root(i)));
                }
                Pattern::Constant(_) => {}
                Pattern::Random { .. } if self.of[root.index()].is_none() => {}
                _ => {
                    found.insert(root);
                }
            }
        }
        found
    }

    /// Everything that a group reads and does not compute itself.
    pub(super) fn inputs_of(&self, source: &Source, group: usize) -> BTreeSet<NodeId> {
        let own = &self.list[group];
        let mut found = BTreeSet::new();
        for &member in &own.members {
            if own.kind == Kind::Reduce(member) {
                self.prologue(source, member).1.iter().for_each(|&root| {
                    found.insert(root);
                });
            } else {
                found.extend(self.external_inputs(source, member));
            }
        }
        found.retain(|root| !own.members.contains(root));
        found
    }

    /// The element-wise nodes that a reduction computes on its way in, and the roots that it then reads.
    ///
    /// Nodes of maps are taken in even where others read them too: computing again is cheaper than another pass over memory.
    pub(super) fn prologue(
        &self,
        source: &Source,
        reduce: NodeId,
    ) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let operand = source.root(source.node(reduce).inputs[0]);
        // Nodes that are computed on the way: those of no group, and with `maps` also those of maps.
        let inside = |maps: bool| {
            let mut inside = BTreeSet::new();
            let mut stack = if source.fuse {
                vec![operand]
            } else {
                Vec::new()
            };
            while let Some(root) = stack.pop() {
                let taken = match self.of[root.index()] {
                    None => true,
                    Some(g) => {
                        maps && self.list[g].kind == Kind::Map
                            && source.count(root) == source.count(operand)
                    }
                };
                if source.is_elementwise(root) && taken && inside.insert(root) {
                    stack.extend(source.node(root).inputs.iter().map(|&i| source.root(i)));
                }
            }
            inside
        };
        let outside = |inside: &BTreeSet<NodeId>| -> BTreeSet<NodeId> {
            let inputs = inside
                .iter()
                .flat_map(|&id| source.node(id).inputs.iter().map(|&i| source.root(i)));
            let inline = |root: &NodeId| match source.pattern(*root) {
                Pattern::Constant(_) => true,
                Pattern::Random { .. } => self.of[root.index()].is_none(),
                _ => inside.contains(root),
            };
            inputs.filter(|root| !inline(root)).collect()
        };
        let mut computed = inside(true);
        let mut read = outside(&computed);
        // Room is left for the result and an epilogue; otherwise what maps compute is read from memory.
        if read.len() > MAX_BUFFERS - 4 {
            computed = inside(false);
            read = outside(&computed);
        }
        if computed.is_empty() {
            read = BTreeSet::from([operand]);
        }
        (computed, read)
    }

    /// Storage buffers of the group's kernel if `id` joined: inputs, state, and every member that someone else may read.
    fn buffers_with(&self, source: &Source, group: usize, id: NodeId) -> usize {
        let own = &self.list[group];
        let mut members = own.members.clone();
        members.push(id);
        let mut inputs = self.inputs_of(source, group);
        inputs.extend(self.external_inputs(source, id));
        inputs.retain(|root| !members.contains(root));
        let read_elsewhere = |m: &&NodeId| {
            source.is_sink(**m)
                || source.consumers[m.index()]
                    .iter()
                    .any(|c| !members.contains(c))
        };
        let outputs = members.iter().filter(read_elsewhere).count();
        // The state buffer is counted always: whether a term is random shows only when the kernel is made.
        inputs.len() + outputs + usize::from(own.row_sums.is_some()) + 1
    }

    /// Groups in an order in which each comes after what it reads.
    pub(super) fn order(&self, source: &Source) -> Vec<usize> {
        fn visit(
            groups: &Groups,
            source: &Source,
            g: usize,
            done: &mut [bool],
            order: &mut Vec<usize>,
        ) {
            if std::mem::replace(&mut done[g], true) {
                return;
            }
            for input in groups.inputs_of(source, g) {
                if let Some(h) = groups.of[input.index()].filter(|&h| h != g) {
                    visit(groups, source, h, done, order);
                }
            }
            order.push(g);
        }
        let (mut done, mut order) = (vec![false; self.list.len()], Vec::new());
        (0..self.list.len()).for_each(|g| visit(self, source, g, &mut done, &mut order));
        order
    }
}
