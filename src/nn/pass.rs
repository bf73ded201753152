//! One way of data through a network: whether it trains, and what becomes of its state.

use std::cell::RefCell;

use crate::graph::{Graph, Var};

/// How a network is applied, and the state that its layers replace meanwhile.
#[derive(Debug)]
pub struct Pass<'g> {
    graph: &'g Graph,
    training: bool,
    /// Which part of a step this is, where it is made in several.
    part: usize,
    states: RefCell<Vec<(String, Var<'g>)>>,
}

impl<'g> Pass<'g> {
    /// A step of training: batch statistics, dropout, state that moves.
    pub fn training(graph: &'g Graph) -> Self {
        Self {
            graph,
            training: true,
            part: 0,
            states: RefCell::default(),
        }
    }

    /// Part number `part` of a step of training that is made in several: its random numbers are its own.
    pub(crate) fn training_part(graph: &'g Graph, part: usize) -> Self {
        Self {
            part,
            ..Self::training(graph)
        }
    }

    /// The name of a random node of this pass.
    pub(crate) fn random_name(&self, name: &str) -> String {
        match self.part {
            0 => name.to_owned(),
            part => format!("{name}, part {part}"),
        }
    }

    /// Evaluation and sampling: running statistics, no dropout, nothing moves.
    pub fn evaluation(graph: &'g Graph) -> Self {
        Self {
            training: false,
            ..Self::training(graph)
        }
    }

    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Whether this is a step of training.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// The value of a state tensor as the layers before left it: where a network is applied twice in a step, the second time goes on
    /// from the first.
    pub fn state(&self, name: &str, shape: &[usize]) -> Var<'g> {
        let states = self.states.borrow();
        let moved = states.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        moved.unwrap_or_else(|| self.graph.parameter(name, shape))
    }

    /// What the state tensor is to become.
    pub fn replace(&self, name: &str, next: Var<'g>) {
        let mut states = self.states.borrow_mut();
        match states.iter_mut().find(|(n, _)| n == name) {
            Some((_, value)) => *value = next,
            None => states.push((name.to_owned(), next)),
        }
    }

    /// Every state tensor that was replaced, with its next value.
    pub fn states(&self) -> Vec<(String, Var<'g>)> {
        self.states.borrow().clone()
    }
}
