//! Which nodes share a kernel.
//!
//! Products and reductions take in the element-wise nodes after them (epilogue), reductions also those before them (prologue), the
//! rest of the element-wise nodes form maps. A node joins a group only if that makes no cycle between groups and leaves the kernel
//! within its storage buffers.

use std::collections::{BTreeSet, HashMap, HashSet};

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

/// What a reduction computes on its way in.
#[derive(Clone, Debug, Default)]
pub(super) struct Prologue {
    /// The element-wise nodes.
    pub(super) inside: BTreeSet<NodeId>,
    /// The roots that it then reads.
    pub(super) reads: BTreeSet<NodeId>,
}

/// Nodes that share a kernel.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    /// The head and the element-wise nodes that joined.
    pub(super) members: Vec<NodeId>,
    /// Sums over the rows of a product's first operand, computed on the side.
    pub(super) row_sums: Option<NodeId>,
    /// Everything that it reads and does not compute itself.
    pub(super) inputs: BTreeSet<NodeId>,
    /// Of a reduction.
    pub(super) prologue: Prologue,
    /// How many members someone else may read.
    outputs: usize,
    /// Above that of every group whose results it reads, so that it can be needed by those of higher levels alone.
    level: usize,
    /// Groups that read its results; some more than once.
    readers: Vec<usize>,
}

/// All groups, and where each node is computed.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) list: Vec<Group>,
    /// The group of each node; `None` for leaves, aliases, and nodes that are computed inside of whoever reads them.
    pub(super) of: Vec<Option<usize>>,
    /// Roots that each element-wise node or head of a group reads from memory, seen through nodes that are computed inside of their
    /// readers; in order.
    external: Vec<Vec<NodeId>>,
    /// How many nodes outside of its group read each member.
    outside: Vec<usize>,
    /// Maps that read a root, by it and by how many elements they have.
    maps: HashMap<(NodeId, usize), BTreeSet<usize>>,
}

pub(super) fn form(source: &Source) -> Groups {
    let count = source.nodes.len();
    let mut groups = Groups {
        list: Vec::new(),
        of: vec![None; count],
        external: vec![Vec::new(); count],
        outside: vec![0; count],
        maps: HashMap::new(),
    };
    let row_sums = RowSums::find(source);
    let in_passing = read_in_passing(source);
    for index in (0..count).filter(|&i| source.needed[i]) {
        let id = NodeId(index as u32);
        match source.pattern(id) {
            Pattern::Leaf | Pattern::Constant(_) | Pattern::Alias => {}
            Pattern::Random { .. } if source.fuse && only_read_elementwise(source, id) => {}
            Pattern::Random { .. } => groups.open(source, Kind::Map, id),
            Pattern::Product { .. } => {
                groups.open(source, Kind::Product(id), id);
                if let Some(&sum) = row_sums.of.get(&id) {
                    let group = groups.list.len() - 1;
                    groups.list[group].row_sums = Some(sum);
                    groups.of[sum.index()] = Some(group);
                }
            }
            Pattern::Reduce { .. } if row_sums.taken.contains(&id) => {}
            Pattern::Reduce { .. } => groups.open(source, Kind::Reduce(id), id),
            Pattern::Opaque => groups.open(source, Kind::Opaque(id), id),
            Pattern::Elementwise(_) => groups.place(source, &in_passing, id),
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

/// For each node whether all who read it do so in passing: element for element, or as a reduction's operand.
fn read_in_passing(source: &Source) -> Vec<bool> {
    let in_passing = |index: usize| {
        let count = source.nodes[index].ty.shape.count();
        source.consumers[index].iter().all(|&c| {
            source.is_elementwise(c) && source.count(c) == count
                || matches!(source.pattern(c), Pattern::Reduce { .. })
                    && source.count(source.node(c).inputs[0]) == count
        })
    };
    (0..source.nodes.len()).map(in_passing).collect()
}

/// Whether a node is best computed by whoever reads it: it depends on one tensor alone, so that reading that tensor instead costs
/// nothing, and it is cheap, or that tensor is in memory in any case.
fn computed_again(source: &Source, in_passing: &[bool], id: NodeId, inputs: &[NodeId]) -> bool {
    if source.is_sink(id) || !in_passing[id.index()] {
        return false;
    }
    let mut tensors = inputs.iter().filter(|r| source.count(**r) != 1);
    let (Some(&tensor), None) = (tensors.next(), tensors.next()) else {
        return false;
    };
    let cheap = matches!(source.pattern(id), Pattern::Elementwise(f) if f.flops() <= 1.0);
    let in_memory = source.is_sink(tensor) || !in_passing[tensor.index()];
    source.count(tensor) == source.count(id) && (cheap || in_memory)
}

/// Column sums that a product in layout tn gives on the side: the gradient of a bias beside that of its weight.
#[derive(Default)]
struct RowSums {
    /// By their product.
    of: HashMap<NodeId, NodeId>,
    taken: HashSet<NodeId>,
}

impl RowSums {
    fn find(source: &Source) -> Self {
        let mut found = Self::default();
        if !source.fuse {
            return found;
        }
        for index in (0..source.nodes.len()).filter(|&i| source.needed[i]) {
            let product = NodeId(index as u32);
            let node = source.node(product);
            let Pattern::Product { row_sums: true } = source.pattern(product) else {
                continue;
            };
            let a = &source.node(node.inputs[0]).ty.shape;
            let columns = a.dims().last().copied().unwrap_or(1);
            let column_sums = Pattern::Reduce {
                combine: Combine::Sum,
                domain: [1, a.count() / columns.max(1), columns],
            };
            let readers = &source.consumers[source.root(node.inputs[0]).index()];
            let sum = readers.iter().copied().find(|&r| {
                *source.pattern(r) == column_sums
                    && source.consumers[r.index()].is_empty()
                    && !found.taken.contains(&r)
            });
            if let Some(sum) = sum {
                found.of.insert(product, sum);
                found.taken.insert(sum);
            }
        }
        found
    }
}

impl Groups {
    /// Makes a group of which `id` is the head.
    fn open(&mut self, source: &Source, kind: Kind, id: NodeId) {
        self.external[id.index()] = self.external_inputs(source, id);
        let (prologue, reads) = match kind {
            Kind::Reduce(_) => {
                let prologue = self.prologue(source, id);
                let reads = prologue.reads.iter().copied().collect();
                (prologue, reads)
            }
            _ => (Prologue::default(), self.external[id.index()].clone()),
        };
        self.list.push(Group {
            kind,
            members: Vec::new(),
            row_sums: None,
            inputs: BTreeSet::new(),
            prologue,
            outputs: 0,
            level: 0,
            readers: Vec::new(),
        });
        self.join(source, self.list.len() - 1, id, &reads);
    }

    /// Adds `id`, which reads `reads` from memory, to a group.
    fn join(&mut self, source: &Source, group: usize, id: NodeId, reads: &[NodeId]) {
        for member in self.read_of(source, group, id) {
            self.outside[member.index()] -= 1;
            if !self.is_output(source, member) {
                self.list[group].outputs -= 1;
            }
        }
        self.of[id.index()] = Some(group);
        self.outside[id.index()] = source.consumers[id.index()].len();
        let is_output = self.is_output(source, id);
        let own = &mut self.list[group];
        own.outputs += usize::from(is_output);
        own.members.push(id);
        let (is_map, elements) = (own.kind == Kind::Map, source.count(own.members[0]));
        for &root in reads {
            if is_map {
                let maps = self.maps.entry((root, elements)).or_default();
                maps.insert(group);
            }
            let from = self.of[root.index()];
            if from != Some(group)
                && self.list[group].inputs.insert(root)
                && let Some(from) = from
            {
                self.list[from].readers.push(group);
                self.raise(group, self.list[from].level + 1);
            }
        }
    }

    /// Lifts a group to a level, and above it those that read it.
    fn raise(&mut self, group: usize, level: usize) {
        let mut stack = vec![(group, level)];
        while let Some((g, level)) = stack.pop() {
            if self.list[g].level < level {
                self.list[g].level = level;
                stack.extend(self.list[g].readers.iter().map(|&r| (r, level + 1)));
            }
        }
    }

    /// Whether someone outside of its group may read a member.
    fn is_output(&self, source: &Source, member: NodeId) -> bool {
        source.is_sink(member) || self.outside[member.index()] > 0
    }

    /// Members of `group` that are operands of `id`.
    fn read_of(&self, source: &Source, group: usize, id: NodeId) -> BTreeSet<NodeId> {
        let inputs = source.node(id).inputs.iter().map(|&i| source.root(i));
        inputs
            .filter(|root| self.of[root.index()] == Some(group))
            .collect()
    }

    /// Finds a group for an element-wise node, or makes one, or leaves it to be computed by its readers.
    fn place(&mut self, source: &Source, in_passing: &[bool], id: NodeId) {
        if source.fuse {
            let inputs = self.external_inputs(source, id);
            self.external[id.index()].clone_from(&inputs);
            if computed_again(source, in_passing, id, &inputs) {
                return;
            }
            let count = source.count(id);
            let mut candidates: BTreeSet<usize> =
                inputs.iter().filter_map(|i| self.of[i.index()]).collect();
            // A map that reads the same values: one pass over memory instead of two. A small operand that is repeated saves none, and would
            // tie together what may lie far apart.
            for &large in inputs.iter().filter(|&&i| source.count(i) >= count) {
                candidates.extend(self.maps.get(&(large, count)).into_iter().flatten());
            }
            for group in candidates.into_iter().rev() {
                if self.accepts(source, group, id) {
                    self.join(source, group, id, &inputs);
                    return;
                }
            }
            let inlined = |&c: &NodeId| {
                source.is_elementwise(c)
                    || matches!(source.pattern(c), Pattern::Reduce { .. }) && source.count(c) != 1
            };
            if count == 1 && !source.is_sink(id) && source.consumers[id.index()].iter().all(inlined)
            {
                return;
            }
        }
        self.open(source, Kind::Map, id);
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
        fits && self.buffers_with(source, group, id) <= MAX_BUFFERS && !self.depends(id, group)
    }

    /// Whether what `id` reads of other groups needs a result of group `on`, directly or through others.
    fn depends(&self, id: NodeId, on: usize) -> bool {
        let level = |g: usize| self.list[g].level;
        let above = |inputs: &mut dyn Iterator<Item = &NodeId>| -> Vec<usize> {
            let groups = inputs.filter_map(|i| self.of[i.index()]);
            groups.filter(|&g| level(g) > level(on)).collect()
        };
        let mut seen = HashSet::new();
        let mut stack = above(
            &mut self.external[id.index()]
                .iter()
                .filter(|i| self.of[i.index()] != Some(on)),
        );
        while let Some(g) = stack.pop() {
            if !seen.insert(g) {
                continue;
            }
            let inputs = &self.list[g].inputs;
            if inputs.iter().any(|i| self.of[i.index()] == Some(on)) {
                return true;
            }
            // The lowest first: what a gradient reads of the values before the loss is near `on` where the gradients before it are not.
            let mut next = above(&mut inputs.iter());
            next.sort_unstable_by_key(|&g| std::cmp::Reverse(level(g)));
            stack.extend(next);
        }
        false
    }

    /// See [`Groups::external`].
    fn external_inputs(&self, source: &Source, id: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        for root in source.node(id).inputs.iter().map(|&i| source.root(i)) {
            let placed = self.of[root.index()].is_some();
            match source.pattern(root) {
                Pattern::Elementwise(_) if !placed => found.extend(&self.external[root.index()]),
                Pattern::Constant(_) => {}
                Pattern::Random { .. } if !placed => {}
                _ => found.push(root),
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What a reduction computes on its way in.
    ///
    /// Nodes of maps are taken in even where others read them too: computing again is cheaper than another pass over memory.
    fn prologue(&self, source: &Source, reduce: NodeId) -> Prologue {
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
        let mut reads = outside(&computed);
        // Room is left for the result and an epilogue; otherwise what maps compute is read from memory.
        if reads.len() > MAX_BUFFERS - 4 {
            computed = inside(false);
            reads = outside(&computed);
        }
        if computed.is_empty() {
            reads = BTreeSet::from([operand]);
        }
        Prologue {
            inside: computed,
            reads,
        }
    }

    /// Storage buffers of the group's kernel if `id` joined: inputs, state, and every member that someone else may read.
    fn buffers_with(&self, source: &Source, group: usize, id: NodeId) -> usize {
        let own = &self.list[group];
        let more = self.external[id.index()]
            .iter()
            .filter(|root| self.of[root.index()] != Some(group) && !own.inputs.contains(root));
        // Members that `id` alone still reads are no longer written.
        let kept = |m: &NodeId| !source.is_sink(*m) && self.outside[m.index()] == 1;
        let kept = self.read_of(source, group, id).into_iter().filter(kept);
        let own_output = source.is_sink(id) || !source.consumers[id.index()].is_empty();
        let outputs = own.outputs - kept.count() + usize::from(own_output);
        // The state buffer is counted always: whether a term is random shows only when the kernel is made.
        own.inputs.len() + more.count() + outputs + usize::from(own.row_sums.is_some()) + 1
    }

    /// Groups in an order in which each comes after what it reads.
    pub(super) fn order(&self) -> Vec<usize> {
        let (mut done, mut order) = (vec![false; self.list.len()], Vec::new());
        for first in 0..self.list.len() {
            if std::mem::replace(&mut done[first], true) {
                continue;
            }
            // Groups that are being visited, and which of what they read is yet to be.
            let mut path = vec![(first, self.list[first].inputs.iter())];
            while let Some((g, inputs)) = path.last_mut() {
                let g = *g;
                match inputs.next() {
                    Some(input) => {
                        if let Some(h) = self.of[input.index()]
                            && !std::mem::replace(&mut done[h], true)
                        {
                            path.push((h, self.list[h].inputs.iter()));
                        }
                    }
                    None => {
                        order.push(g);
                        path.pop();
                    }
                }
            }
        }
        order
    }
}
