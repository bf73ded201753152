//! Operators applied to variables, their shapes, their gradients: a model without a device.
//!
//! A [`Graph`] is built through [`Var`]s, which read like the formulas: `mu + (log_variance * 0.5).exp() * eps`. A mistake in a shape
//! does not interrupt the building: the first one is kept, and everything that takes the graph returns it. [`Graph::interpret`] computes it
//! on the CPU; [`program`](crate::program) makes kernels of it.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::graph::op::EvalContext;
//! use wgen::kernels::philox::{Domain, RandomState};
//! use wgen::real::Precision;
//! use wgen::tensor::Value;
//!
//! let graph = Graph::new(Domain::Training);
//! let w = graph.parameter("w", [3]);
//! let loss = (w * w).sum_all();
//! let gradient = graph.gradients(loss, &[w])[0];
//! let context = EvalContext { precision: Precision::F64, state: RandomState::default() };
//! let leaves = [("w", Value::f32([3], vec![1.0, -2.0, 3.0])?)];
//! let values = graph.interpret(&[loss.id(), gradient.id()], &leaves, &context)?;
//! assert_eq!(values[0].data.to_f64(), [14.0]);
//! assert_eq!(values[1].data.to_f64(), [2.0, -4.0, 6.0]);
//!
//! let _ = w + graph.parameter("bias", [2]);
//! assert!(graph.check().unwrap_err().to_string().contains("do not broadcast"));
//! # Ok::<(), wgen::Error>(())
//! ```

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::kernels::philox::{Domain, stream};
use crate::tensor::{DType, Shape, TensorType, Value};

mod gradient;
pub(crate) mod interpreter;
pub mod layout;
pub mod op;
pub(crate) mod ops;
mod rewrite;
pub mod update;

use op::MergeKey;
pub use op::Op;
pub use ops::composite::Rows;
pub use ops::conv2d::Conv2dOptions;
use ops::leaf::{Leaf, LeafKind};
pub use ops::reverse_step::StepInputs;
pub use ops::stratified::Depths;
use update::Update;

/// A node's position in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An operator applied to earlier nodes.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operator.
    pub op: Arc<dyn Op>,
    /// What it is applied to.
    pub inputs: Vec<NodeId>,
    /// Shape and element type of its value.
    pub ty: TensorType,
}

/// Where a result of a graph goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sink {
    /// A buffer of this name, which the host can read.
    Output(String),
    /// The gradient of this parameter, in the store.
    Gradient(String),
    /// This input, for the next run.
    Input(String),
}

/// Operators applied to variables. See the module's text.
pub struct Graph {
    inner: RefCell<Inner>,
    domain: Domain,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<Arc<Node>>,
    merged: HashMap<(MergeKey, Vec<NodeId>), NodeId>,
    names: HashMap<String, NodeId>,
    /// The name of the random node of each stream.
    streams: HashMap<u32, String>,
    sinks: Vec<(Sink, NodeId)>,
    /// What `sinks` has already.
    taken: HashSet<Sink>,
    update: Option<Update>,
    error: Option<Error>,
}

/// A node of a graph, as an operand.
#[derive(Clone, Copy)]
pub struct Var<'g> {
    graph: &'g Graph,
    id: NodeId,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.inner.borrow().nodes.iter().enumerate() {
            let inputs: Vec<u32> = node.inputs.iter().map(|n| n.0).collect();
            writeln!(f, "%{i} = {:?} {inputs:?} -> {:?}", node.op, node.ty.shape)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Var<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{} {:?}", self.id.0, self.shape())
    }
}

impl Graph {
    /// An empty graph whose random numbers are for `domain`.
    pub fn new(domain: Domain) -> Self {
        Self {
            inner: RefCell::default(),
            domain,
        }
    }

    /// The domain of its random numbers.
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// A value that the caller binds by `name` before each run.
    pub fn input(&self, name: &str, ty: TensorType) -> Var<'_> {
        self.leaf(LeafKind::Input, name, ty)
    }

    /// A trained tensor of the store.
    pub fn parameter(&self, name: &str, shape: impl Into<Shape>) -> Var<'_> {
        self.leaf(LeafKind::Parameter, name, TensorType::f32(shape))
    }

    /// Column `column` of the current step's row of the schedule: a scalar. See [`crate::kernels::schedule`].
    pub fn schedule(&self, column: usize) -> Var<'_> {
        self.leaf(
            LeafKind::Schedule(column),
            &format!("schedule {column}"),
            TensorType::f32([]),
        )
    }

    /// A scalar constant.
    pub fn constant(&self, value: f64) -> Var<'_> {
        let leaf = Leaf {
            kind: LeafKind::Constant(value),
            name: String::new(),
            ty: TensorType::f32([]),
            value: None,
        };
        self.apply(leaf, &[])
    }

    /// A tensor that is known now: an input that has this value where the caller binds none.
    pub fn table(&self, name: &str, value: Value) -> Var<'_> {
        let ty = value.tensor_type();
        self.leaf_of(LeafKind::Input, name, ty, Some(Arc::new(value)))
    }

    fn leaf(&self, kind: LeafKind, name: &str, ty: TensorType) -> Var<'_> {
        self.leaf_of(kind, name, ty, None)
    }

    fn leaf_of(
        &self,
        kind: LeafKind,
        name: &str,
        ty: TensorType,
        value: Option<Arc<Value>>,
    ) -> Var<'_> {
        let leaf = Leaf {
            kind,
            name: name.to_owned(),
            ty: ty.clone(),
            value,
        };
        let before = self.inner.borrow().names.get(name).copied();
        if let Some(id) = before {
            if self.ty_of(id) != ty {
                self.fail(Error::shape(
                    format!("'{name}'"),
                    format!(
                        "is {:?} here and {:?} elsewhere in the graph",
                        ty.shape,
                        self.ty_of(id).shape
                    ),
                ));
            }
            return Var { graph: self, id };
        }
        let var = self.apply(leaf, &[]);
        self.inner
            .borrow_mut()
            .names
            .insert(name.to_owned(), var.id);
        var
    }

    /// The stream of a random node called `name`. A name can be used once: noise is never shared by accident.
    pub(crate) fn stream(&self, name: &str) -> u32 {
        let stream = stream(self.domain, name);
        let mut inner = self.inner.borrow_mut();
        // The same name has the same stream; two names may have one by chance.
        if let Some(other) = inner.streams.get(&stream) {
            let error = Error::Usage(format!(
                "random node '{name}' would repeat the noise of '{other}'; give it another name"
            ));
            inner.error.get_or_insert(error);
        }
        inner.streams.insert(stream, name.to_owned());
        stream
    }

    /// Applies an operator. Operators of the same [`Op::merge_key`] on equal operands become one node; random ones have none.
    pub fn apply<'g>(&'g self, op: impl Op + 'static, inputs: &[Var<'g>]) -> Var<'g> {
        self.apply_arc(Arc::new(op), inputs)
    }

    /// As [`Graph::apply`], for an operator that is shared.
    pub(crate) fn apply_arc<'g>(&'g self, op: Arc<dyn Op>, inputs: &[Var<'g>]) -> Var<'g> {
        let nodes: Vec<Arc<Node>> = inputs.iter().map(|v| self.node(v.id)).collect();
        let types: Vec<&TensorType> = nodes.iter().map(|node| &node.ty).collect();
        if let Some(shorter) = rewrite::simplify(self, op.as_ref(), inputs, &nodes) {
            return shorter;
        }
        let ids: Vec<NodeId> = inputs.iter().map(|v| v.id).collect();
        let ty = match op.infer(&types).and_then(|ty| {
            ty.shape.check(op.name())?;
            Ok(ty)
        }) {
            Ok(ty) => ty,
            Err(error) => {
                self.fail(error);
                // A stand-in of some shape, so that building can go on; the graph is refused later.
                types.first().map_or(TensorType::f32([]), |&ty| ty.clone())
            }
        };
        let mut inner = self.inner.borrow_mut();
        let key = op.merge_key().map(|key| (key, ids.clone()));
        if let Some(&id) = key.as_ref().and_then(|k| inner.merged.get(k)) {
            return Var { graph: self, id };
        }
        let id = NodeId(inner.nodes.len() as u32);
        inner.nodes.push(Arc::new(Node {
            op,
            inputs: ids,
            ty,
        }));
        if let Some(key) = key {
            inner.merged.insert(key, id);
        }
        Var { graph: self, id }
    }

    /// Makes `var` readable by `name` after a run.
    pub fn output(&self, name: &str, var: Var<'_>) {
        self.sink(Sink::Output(name.to_owned()), var);
    }

    /// Sends `var` to the gradient of parameter `name` in the store.
    pub fn output_gradient(&self, name: &str, var: Var<'_>) {
        self.sink(Sink::Gradient(name.to_owned()), var);
    }

    /// After each run input `name` becomes `var`: a recurrence whose state never leaves the device. All of them are replaced at the end,
    /// once nothing reads what was there before.
    pub fn feed_back(&self, name: &str, var: Var<'_>) {
        let input = self.inner.borrow().names.get(name).copied();
        let fits = input.is_some_and(|id| self.ty_of(id) == var.ty());
        if !fits || var.dtype() != DType::F32 || self.node(var.id).op.as_leaf().is_some() {
            self.fail(Error::Usage(format!(
                "'{name}' can become a computed f32 value of its own shape, not {:?}",
                var.ty()
            )));
        }
        self.sink(Sink::Input(name.to_owned()), var);
    }

    fn sink(&self, sink: Sink, var: Var<'_>) {
        if !self.inner.borrow_mut().taken.insert(sink.clone()) {
            self.fail(Error::Usage(format!(
                "{sink:?} is given twice in one graph"
            )));
        }
        self.inner.borrow_mut().sinks.push((sink, var.id));
    }

    /// What becomes of the store after the gradients are known. Each metric of `update` must be the name of a scalar output.
    pub fn set_update(&self, update: Update) {
        self.inner.borrow_mut().update = Some(update);
    }

    /// What becomes of the store.
    pub fn update(&self) -> Option<Update> {
        self.inner.borrow().update.clone()
    }

    /// Results and where they go.
    pub fn sinks(&self) -> Vec<(Sink, NodeId)> {
        self.inner.borrow().sinks.clone()
    }

    /// Whether a result depends on input `name`.
    pub fn has_input(&self, name: &str) -> bool {
        let inner = self.inner.borrow();
        let Some(input) = inner.names.get(name) else {
            return false;
        };
        let mut seen = vec![false; inner.nodes.len()];
        let mut stack: Vec<NodeId> = inner.sinks.iter().map(|(_, id)| *id).collect();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut seen[id.index()], true) {
                stack.extend(&inner.nodes[id.index()].inputs);
            }
        }
        seen[input.index()]
    }

    /// The node whose value is output `name`.
    pub fn find_output(&self, name: &str) -> Option<NodeId> {
        let inner = self.inner.borrow();
        inner
            .sinks
            .iter()
            .find(|(s, _)| matches!(s, Sink::Output(n) if n == name))
            .map(|(_, id)| *id)
    }

    /// All nodes, shared; inputs come before what they are inputs of.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.inner.borrow().nodes.clone()
    }

    /// The first mistake made while building.
    ///
    /// # Errors
    /// That mistake.
    pub fn check(&self) -> Result<()> {
        match &self.inner.borrow().error {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    pub(crate) fn fail(&self, error: Error) {
        self.inner.borrow_mut().error.get_or_insert(error);
    }

    pub(crate) fn ty_of(&self, id: NodeId) -> TensorType {
        self.inner.borrow().nodes[id.index()].ty.clone()
    }

    pub(crate) fn node(&self, id: NodeId) -> Arc<Node> {
        self.inner.borrow().nodes[id.index()].clone()
    }

    pub(crate) fn var(&self, id: NodeId) -> Var<'_> {
        Var { graph: self, id }
    }
}

impl<'g> Var<'g> {
    /// Its graph.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Its node.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Its sizes.
    pub fn shape(self) -> Shape {
        self.ty().shape
    }

    /// Its element type.
    pub fn dtype(self) -> DType {
        self.ty().dtype
    }

    /// Shape and element type.
    pub fn ty(self) -> TensorType {
        self.graph.ty_of(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mistake_is_returned_as_what_it_is() {
        let graph = Graph::new(Domain::Training);
        let x = graph.input("x", TensorType::f32([4, 8]));
        assert!(graph.check().is_ok());
        graph.output("y", x.exp());
        graph.output("y", x);
        graph.fail(Error::shape("later", "is not the first"));
        for _ in 0..2 {
            let Err(Error::Usage(message)) = graph.check() else {
                panic!("{:?}", graph.check());
            };
            assert!(message.contains("twice"), "{message}");
        }
        let graph = Graph::new(Domain::Training);
        graph.normal_by_example("noise", 1, 4, 8);
        graph.normal_by_example("noise", 1, 4, 8);
        let error = graph.check().unwrap_err().to_string();
        assert!(error.starts_with("random node 'noise'"), "{error}");
    }
}
