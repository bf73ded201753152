//! What a group computes for each element, as one expression.

use std::collections::{BTreeSet, HashMap};

use super::Source;
use super::groups::{Group, Groups, Kind};
use crate::graph::NodeId;
use crate::graph::op::Pattern;
use crate::graph::ops::leaf::LeafKind;
use crate::kernels::SCHEDULE_COLUMNS;
use crate::kernels::expression::{Expression, Indexing, Term};
use crate::tensor::Shape;

/// Builds the expression of a group, or of a reduction's prologue.
pub(super) struct Builder<'a> {
    source: &'a Source,
    groups: &'a Groups,
    /// Nodes to be computed in this expression.
    inside: BTreeSet<NodeId>,
    accumulator: Option<NodeId>,
    expression: Expression,
    terms: HashMap<(NodeId, Vec<usize>), usize>,
    pub(super) operands: Vec<(NodeId, Indexing)>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(source: &'a Source, groups: &'a Groups, group: &Group) -> Self {
        let accumulator = match group.kind {
            Kind::Product(head) | Kind::Reduce(head) => Some(head),
            _ => None,
        };
        Self::with(
            source,
            groups,
            group.members.iter().copied().collect(),
            accumulator,
        )
    }

    pub(super) fn with(
        source: &'a Source,
        groups: &'a Groups,
        inside: BTreeSet<NodeId>,
        accumulator: Option<NodeId>,
    ) -> Self {
        Self {
            source,
            groups,
            inside,
            accumulator,
            expression: Expression::default(),
            terms: HashMap::new(),
            operands: Vec::new(),
        }
    }

    /// The expression whose results are `results`.
    pub(super) fn finish(&mut self, results: &[NodeId]) -> Expression {
        for &result in results {
            let shape = self.source.node(result).ty.shape.clone();
            let term = self.term(result, &shape);
            self.expression.results.push(term);
        }
        self.expression.operands = self
            .operands
            .iter()
            .map(|(_, indexing)| indexing.clone())
            .collect();
        self.expression.clone()
    }

    /// The term of `id` as an operand of something of shape `domain`.
    pub(super) fn term(&mut self, id: NodeId, domain: &Shape) -> usize {
        let root = self.source.root(id);
        let own = self.source.node(id).ty.shape.clone();
        // The same value may be read through different broadcasts; inside of the expression it has one element a domain element.
        let inside = self.accumulator == Some(root)
            || match self.source.pattern(root) {
                Pattern::Constant(_) => true,
                Pattern::Random { .. } => self.groups.of[root.index()].is_none(),
                Pattern::Elementwise(_) => {
                    self.inside.contains(&root) || self.groups.of[root.index()].is_none()
                }
                _ => false,
            };
        let key = (
            root,
            if inside {
                Vec::new()
            } else {
                [domain.dims(), &[usize::MAX], own.dims()].concat()
            },
        );
        if let Some(&term) = self.terms.get(&key) {
            return term;
        }
        let term = if self.accumulator == Some(root) {
            Term::Accumulator
        } else {
            match self.source.pattern(root).clone() {
                Pattern::Constant(value) => Term::Constant(value),
                Pattern::Random {
                    distribution,
                    key,
                    stream,
                } if self.groups.of[root.index()].is_none() => Term::Random {
                    distribution,
                    key,
                    stream,
                },
                Pattern::Elementwise(function) if inside => {
                    let node = self.source.node(root).clone();
                    // A scalar computed inside of a larger domain reads scalars, whatever the domain.
                    let arguments = node
                        .inputs
                        .iter()
                        .map(|&i| self.term(i, &node.ty.shape))
                        .collect();
                    Term::Call(function, arguments)
                }
                _ => Term::Operand(self.operand(root, domain, &own)),
            }
        };
        self.expression.terms.push(term);
        let at = self.expression.terms.len() - 1;
        self.terms.insert(key, at);
        at
    }

    pub(super) fn operand(&mut self, root: NodeId, domain: &Shape, own: &Shape) -> usize {
        let indexing = match leaf_kind(self.source, root) {
            Some(LeafKind::Schedule(column)) => Indexing::scalar_at(column, SCHEDULE_COLUMNS),
            _ => Indexing::broadcast(domain, own),
        };
        let found = self
            .operands
            .iter()
            .position(|(r, i)| *r == root && *i == indexing);
        found.unwrap_or_else(|| {
            self.operands.push((root, indexing));
            self.operands.len() - 1
        })
    }
}

pub(super) fn leaf_kind(source: &Source, root: NodeId) -> Option<LeafKind> {
    leaf(source, root).map(|(kind, _)| kind)
}

/// What a leaf is and its name.
pub(super) fn leaf(source: &Source, root: NodeId) -> Option<(LeafKind, String)> {
    source
        .node(root)
        .op
        .as_leaf()
        .map(|leaf| (leaf.kind, leaf.name.clone()))
}
