//! From a graph to kernels: nodes are grouped by what can be fused, groups become dispatches.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::graph::layout::{Init, Layout, Parameter};
//! use wgen::kernels::{Caps, philox::Domain};
//! use wgen::program::lower::{LowerOptions, lower};
//! use wgen::tensor::TensorType;
//!
//! let graph = Graph::new(Domain::Sampling);
//! let x = graph.input("x", TensorType::f32([16, 8]));
//! let (w, b) = (graph.parameter("w", [4, 8]), graph.parameter("b", [4]));
//! graph.output("y", x.linear(w, b).sigmoid());
//! let init = Init::Constant(0.0);
//! let layout = Layout::new(vec![Parameter::new("w", [4, 8], init), Parameter::new("b", [4], init)], 1 << 27)?;
//! let kernels = |fuse| -> wgen::Result<Vec<&str>> {
//!     let program = lower(&graph, &Caps::portable(), &layout, LowerOptions { fuse, half: false })?;
//!     Ok(program.dispatches.iter().map(|dispatch| dispatch.kernel.family()).collect())
//! };
//! assert_eq!(kernels(true)?, ["matmul"]);
//! assert_eq!(kernels(false)?, ["matmul", "map", "map"]);
//! # Ok::<(), wgen::Error>(())
//! ```

mod builder;
mod emit;
mod groups;
mod half;
mod split;
mod update;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::interpreter::read_by;
use crate::graph::layout::Layout;
use crate::graph::op::Pattern;
use crate::graph::update::Update;
use crate::graph::{Graph, Node, NodeId, Sink};
use crate::kernels::Caps;
use crate::program::{Origin, Output, Program};
use crate::tensor::TensorType;

/// The most storage buffers that a fused kernel takes, on every device: the portable floor, so that plans are the same everywhere.
const MAX_BUFFERS: usize = 8;

/// A graph as the lowering sees it.
struct Source {
    nodes: Vec<Arc<Node>>,
    patterns: Vec<Pattern>,
    /// The node whose memory a node's value lies in: itself, or what it is an alias of.
    roots: Vec<NodeId>,
    /// Nodes that some result depends on.
    needed: Vec<bool>,
    /// Needed nodes that read a root's value, aliases seen through.
    consumers: Vec<Vec<NodeId>>,
    sinks: Vec<(Sink, NodeId)>,
    /// Where each root goes: positions in `sinks`.
    sinks_of: Vec<Vec<usize>>,
    fuse: bool,
}

impl Source {
    fn new(graph: &Graph, fuse: bool) -> Self {
        let nodes = graph.nodes();
        let patterns: Vec<Pattern> = nodes
            .iter()
            .map(|node| {
                let types: Vec<&TensorType> =
                    node.inputs.iter().map(|i| &nodes[i.index()].ty).collect();
                node.op.pattern(&types)
            })
            .collect();
        let mut roots: Vec<NodeId> = Vec::with_capacity(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            roots.push(match patterns[i] {
                Pattern::Alias => roots[node.inputs[0].index()],
                _ => NodeId(i as u32),
            });
        }
        let sinks = graph.sinks();
        let mut sinks_of = vec![Vec::new(); nodes.len()];
        for (i, (_, id)) in sinks.iter().enumerate() {
            sinks_of[roots[id.index()].index()].push(i);
        }
        let mut needed = vec![false; nodes.len()];
        let mut stack: Vec<NodeId> = sinks.iter().map(|(_, id)| *id).collect();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut needed[id.index()], true) {
                stack.extend(read_by(&nodes[id.index()]));
            }
        }
        let mut consumers = vec![Vec::new(); nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            if needed[i] && patterns[i] != Pattern::Alias {
                let read: BTreeSet<NodeId> = node
                    .inputs
                    .iter()
                    .map(|&input| roots[input.index()])
                    .collect();
                read.into_iter()
                    .for_each(|root| consumers[root.index()].push(NodeId(i as u32)));
            }
        }
        Self {
            nodes,
            patterns,
            roots,
            needed,
            consumers,
            sinks,
            sinks_of,
            fuse,
        }
    }

    fn root(&self, id: NodeId) -> NodeId {
        self.roots[id.index()]
    }

    fn pattern(&self, id: NodeId) -> &Pattern {
        &self.patterns[id.index()]
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    fn count(&self, id: NodeId) -> usize {
        self.nodes[id.index()].ty.shape.count()
    }

    fn is_elementwise(&self, id: NodeId) -> bool {
        matches!(self.pattern(id), Pattern::Elementwise(_))
    }

    /// Whether a value must be in memory for someone outside of the graph.
    fn is_sink(&self, root: NodeId) -> bool {
        !self.sinks_of[root.index()].is_empty()
    }
}

/// How to lower.
#[derive(Clone, Copy, Debug)]
pub struct LowerOptions {
    /// Whether neighbouring nodes become one kernel.
    pub fuse: bool,
    /// Whether what passes between kernels is stored as f16 where every one of them can.
    pub half: bool,
}

/// The kernels of `graph` on a device with `caps`, its parameters and gradients laid out by `layout`.
///
/// # Errors
/// When the graph is not sound, a parameter is not in the layout or has another shape, or no kernel serves a node.
pub fn lower(
    graph: &Graph,
    caps: &Caps,
    layout: &Layout,
    options: LowerOptions,
) -> Result<Program> {
    graph.check()?;
    let source = Source::new(graph, options.fuse);
    let groups = groups::form(&source);
    let mut program = emit::emit(&source, &groups, caps, layout)?;
    if let Some(update) = graph.update() {
        update::append(&mut program, &update, caps, layout, &changed(graph))?;
    }
    if options.half {
        half::store(&mut program, caps)?;
    }
    split::split(&mut program, caps);
    let leaves = source.nodes.iter().filter_map(|node| node.op.as_leaf());
    let tables = leaves.filter_map(|leaf| Some((leaf.name.clone(), leaf.value.clone()?)));
    program.tables = tables.collect();
    if program.dispatches.is_empty() {
        return Err(Error::Usage(
            "the graph computes nothing; name its results with Graph::output".to_owned(),
        ));
    }
    Ok(program)
}

/// Only the kernels after the gradients, with the graph's outputs as their metrics: for the CPU, which interprets the graph itself.
///
/// # Errors
/// When a metric is not an output.
pub fn lower_update(graph: &Graph, update: &Update, layout: &Layout) -> Result<Program> {
    let mut program = Program::default();
    for (sink, id) in graph.sinks() {
        if let Sink::Output(name) = sink {
            let ty = graph.ty_of(id);
            let shape = ty.shape.clone();
            let buffer = program.buffer(Origin::Output(name.clone()), ty);
            program.outputs.push(Output {
                name,
                buffer,
                shape,
            });
        }
    }
    update::append(
        &mut program,
        update,
        &Caps {
            software: true,
            ..Caps::portable()
        },
        layout,
        &changed(graph),
    )?;
    Ok(program)
}

/// Names of the tensors that the graph has gradients or next values for.
fn changed(graph: &Graph) -> Vec<String> {
    let named = |(sink, _)| match sink {
        Sink::Gradient(name) => Some(name),
        Sink::Output(_) | Sink::Input(_) => None,
    };
    graph.sinks().into_iter().filter_map(named).collect()
}
