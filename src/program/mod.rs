//! A graph as a list of kernels over virtual buffers, which say what they hold and where it comes from but have no memory yet: what
//! lowering makes and a device or an explanation takes. No device in it.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::graph::layout::{Init, Layout, Parameter};
//! use wgen::kernels::{Caps, philox::Domain};
//! use wgen::program::Origin;
//! use wgen::program::lower::{LowerOptions, lower};
//! use wgen::tensor::TensorType;
//!
//! let graph = Graph::new(Domain::Sampling);
//! let x = graph.input("x", TensorType::f32([16, 8]));
//! graph.output("y", x.matmul(graph.parameter("w", [8, 4])).relu());
//! let layout = Layout::new(vec![Parameter::new("w", [8, 4], Init::Constant(0.0))], 1 << 27)?;
//! let program = lower(&graph, &Caps::portable(), &layout, LowerOptions { fuse: true, half: false })?;
//!
//! // One kernel, a matrix product that applies relu on its way out.
//! let [dispatch] = &program.dispatches[..] else { panic!("{:?}", program.dispatches) };
//! assert_eq!(dispatch.kernel.family(), "matmul");
//! let origins: Vec<&Origin> = dispatch.buffers.iter().map(|b| &program.buffers[b.0].origin).collect();
//! assert_eq!(origins, [&Origin::Input("x".to_owned()), &Origin::Parameter(0), &Origin::Output("y".to_owned())]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::graph::NodeId;
use crate::kernels::Caps;
use crate::reference::Twin;
use crate::tensor::{Shape, TensorType, Value};

pub mod baked;
pub mod candidates;
pub mod explain;
pub mod lower;
pub mod memory;
pub mod sampling;
pub(crate) mod state;
pub mod template;
pub mod translate;

/// How a plan is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Whether neighbouring nodes become one kernel.
    pub fuse: bool,
    /// Whether every transient buffer keeps its value until the next run: for verification.
    pub retain: bool,
    /// Whether subgroup variants may be taken.
    pub subgroups: bool,
    /// Whether variants are measured where they are not known yet; never on a software adapter.
    pub tune: bool,
    /// Whether activations and their gradients are stored as f16, and products go to matrix units where the device has them. Other arithmetic, sums,
    /// parameters and results stay f32. The device must have [`Caps::f16`](crate::kernels::Caps::f16).
    pub half: bool,
    /// Whether products may go to matrix units, where the device has them, without anything being stored as f16. Their operands are rounded to f16, beyond
    /// whose range (6e-8 to 65,504) gradients may lie: see [`Update::loss_scale`](crate::graph::update::Update::loss_scale).
    pub half_products: bool,
    /// The largest binding in bytes, where it should be smaller than the device's: tensors beyond it are cut into ranges.
    pub binding_bytes: Option<u64>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            fuse: true,
            retain: false,
            subgroups: true,
            tune: true,
            half: false,
            half_products: false,
            binding_bytes: None,
        }
    }
}

impl PlanOptions {
    /// What of a device's capabilities a plan may use.
    pub fn caps(&self, caps: &Caps) -> Caps {
        let caps = if self.subgroups {
            caps.clone()
        } else {
            caps.without_subgroups()
        };
        let binding_bytes = self.binding_bytes.unwrap_or(caps.binding_bytes);
        Caps {
            binding_bytes: binding_bytes.min(caps.binding_bytes),
            half_products: self.half || self.half_products,
            ..caps
        }
    }
}

/// A virtual buffer of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// Flat buffers of a store, one a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flat {
    /// Parameters.
    Parameters,
    /// Their gradients.
    Gradients,
    /// First moments.
    Moment1,
    /// Second moments.
    Moment2,
    /// Moving average.
    Ema,
}

/// Where a virtual buffer's memory comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The plan's own, reused by liveness.
    Transient,
    /// The plan's own, kept and readable by name.
    Output(String),
    /// The caller's, by name.
    Input(String),
    /// One parameter of the store, by its position in the layout.
    Parameter(usize),
    /// Its gradient.
    Gradient(usize),
    /// A whole segment of a flat buffer of the store.
    Segment(Flat, usize),
    /// The store's step, seed and cursor.
    State,
    /// The store's current row of the schedule.
    Schedule,
    /// The store's table of the schedule.
    Table,
    /// The store's verdict on the step.
    Control,
    /// The store's ring of the steps' figures.
    Ring,
}

/// A virtual buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BufferSpec {
    /// Its memory.
    pub origin: Origin,
    /// Its elements.
    pub ty: TensorType,
}

/// One kernel and its buffers, in the order of its bindings.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The kernel.
    pub kernel: Arc<dyn Twin>,
    /// Its buffers.
    pub buffers: Vec<BufferId>,
    /// The first element of each binding in its buffer; empty where that is 0 for all.
    pub offsets: Vec<usize>,
    /// Which group of nodes it belongs to; `None` for the update after the graph.
    pub group: Option<usize>,
}

/// Nodes that are computed together.
#[derive(Clone, Debug)]
pub struct NodeGroup {
    /// Values that the group writes, with their buffers.
    pub outputs: Vec<(NodeId, BufferId)>,
    /// Values that it reads, with their buffers.
    pub inputs: Vec<(NodeId, BufferId)>,
}

/// A result that can be read by name.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its buffer, which results of other shapes and as many elements may share.
    pub buffer: BufferId,
    /// Its own shape.
    pub shape: Shape,
}

/// A graph as kernels.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Virtual buffers.
    pub buffers: Vec<BufferSpec>,
    /// Kernels in order.
    pub dispatches: Vec<Dispatch>,
    /// Which nodes they compute.
    pub groups: Vec<NodeGroup>,
    /// Results that can be read by name; several may share a buffer.
    pub outputs: Vec<Output>,
    /// Inputs that have a value where the caller gives none: [`Graph::table`](crate::graph::Graph::table).
    pub tables: Vec<(String, Arc<Value>)>,
    /// Buffers that are not transient, by what they are: see [`Program::buffer`].
    shared: HashMap<BufferSpec, BufferId>,
}

impl Program {
    /// A virtual buffer: a new one, or that of the same origin and type if it is not transient.
    pub fn buffer(&mut self, origin: Origin, ty: TensorType) -> BufferId {
        let spec = BufferSpec { origin, ty };
        let next = BufferId(self.buffers.len());
        if spec.origin != Origin::Transient {
            let found = *self.shared.entry(spec.clone()).or_insert(next);
            if found != next {
                return found;
            }
        }
        self.buffers.push(spec);
        next
    }
}
