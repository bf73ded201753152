//! A program as plain data: everything that a caller of compute shaders needs to run it, and nothing of how it was made.
//!
//! [`Program::baked`](super::Program::baked) makes it, without a device; a [`Plan`](crate::plan::Plan) is made from nothing else. It has
//! serde's traits, so that a page, a test or a program in another language can read it. What must be exact is whole numbers: floats are
//! the words of their bits. To run a program once:
//!
//! 1. make each of [`Baked::slots`] and each buffer that is not transient, and fill it as [`Fill`] says;
//! 2. for each of [`Baked::dispatches`], in order: bind the ranges of its buffers and, as the last binding, a uniform buffer with its
//!    parameter words, and dispatch its workgroups of its shader's entry point;
//! 3. read [`Baked::outputs`].
//!
//! [`Routine`] says how programs are run many times: in turns, with what is written before and between.
//!
//! ```
//! use wgen::graph::layout::{Init, Layout, Parameter};
//! use wgen::graph::Graph;
//! use wgen::kernels::{Caps, philox::Domain};
//! use wgen::program::baked::Baked;
//! use wgen::program::lower::{LowerOptions, lower};
//! use wgen::program::{memory, template::Templates};
//!
//! let graph = Graph::new(Domain::Sampling);
//! let w = graph.parameter("w", [64]);
//! graph.output("y", (w * 2.0).exp());
//! let layout = Layout::new(vec![Parameter::new("w", [64], Init::Constant(0.5))], 1 << 27)?;
//!
//! let options = LowerOptions { fuse: true, half: false };
//! let program = lower(&graph, &Caps::portable(), &layout, options)?;
//! let templates = Templates::embedded();
//! let slots = memory::assign(&program, true);
//! let baked = program.baked(&|launch| templates.expand(launch), &slots, &layout)?;
//!
//! let text = serde_json::to_string(&baked).unwrap();
//! let again: Baked = serde_json::from_str(&text).unwrap();
//! assert_eq!(again, baked);
//! assert_eq!(again.shaders[0].bindings[0].name, "x0");
//! # Ok::<(), wgen::Error>(())
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Flat;
use crate::kernels::{Access, Cost, Grid};
use crate::tensor::{DType, Shape};

mod check;
mod cut;
mod make;
mod routine;
mod stored;

pub use cut::Part;
pub(crate) use make::alone;
pub use routine::{Epochs, Refill, Routine, Target, Turn, Write};
pub use stored::{Initial, Segment, Stored, Tensor};

/// The version of the form that this library writes and reads.
pub const FORMAT: u32 = 1;

/// A program as plain data. See the module's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baked {
    /// [`FORMAT`].
    pub format: u32,
    /// The distinct shaders.
    pub shaders: Vec<Shader>,
    /// What is dispatched, in order.
    pub dispatches: Vec<Dispatch>,
    /// The first of the dispatches that is of the update: those before give outputs and gradients, those from here on change parameters,
    /// moments and state by the gradients. The number of all of them where the program has no update.
    pub update: usize,
    /// The buffers that dispatches name by position.
    pub buffers: Vec<Buffer>,
    /// Bytes of each slot: memory that transient buffers share, each while it is alive.
    pub slots: Vec<u64>,
    /// What can be read by name after a run; several names may be of one buffer.
    pub outputs: Vec<Output>,
    /// Where parameters, their gradients, moments and moving average lie.
    pub store: Stored,
}

/// A shader, ready to be compiled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shader {
    /// The stem of the template in `shaders/` that it was expanded from.
    pub name: String,
    /// The source.
    pub wgsl: String,
    /// The entry point in it.
    pub entry: String,
    /// `override` constants by name.
    pub constants: BTreeMap<String, f64>,
    /// Bindings 0 and on of group 0.
    pub bindings: Vec<Binding>,
    /// The binding, also of group 0, of the uniform buffer.
    pub uniform: u32,
    /// The smallest subgroup that a device's may have for the subgroup operations in it; `None` where it has none.
    pub subgroups: Option<u32>,
    /// Whether it computes with f16, in buffers or in matrices.
    pub f16: bool,
    /// What its cooperative matrices want of a device; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrices: Option<Matrices>,
}

/// What a shader with cooperative matrices wants of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrices {
    /// The side of the blocks that its matrix units multiply, f16 with sums in f32.
    pub side: u32,
    /// The lanes of its widest subgroup, at most.
    pub lanes: u32,
    /// Whether every subgroup must have so many.
    pub exactly: bool,
    /// The lanes of its narrowest subgroup, at least: there is room for so many of them. Absent (0) where there is room for all.
    #[serde(default)]
    pub least: u32,
}

/// A storage binding of a shader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The variable's name in WGSL.
    pub name: String,
    /// How it is used.
    pub access: Access,
    /// Its elements.
    pub dtype: DType,
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Which shader.
    pub shader: usize,
    /// The kernel family, for people.
    pub family: String,
    /// The kernel's variant, for people.
    pub variant: String,
    /// Flops and bytes.
    pub cost: Cost,
    /// Words of the uniform buffer, whole rows of four.
    pub params: Vec<u32>,
    /// Workgroups in x, y, z. A zero means that there is nothing to do.
    pub workgroups: [u32; 3],
    /// How it may be cut into several: see [`Dispatch::parts`].
    pub grid: Grid,
    /// What is bound to the shader's bindings.
    pub bindings: Vec<Bound>,
}

/// A range of a buffer, bound to a shader's binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Which buffer.
    pub buffer: usize,
    /// Its first element that is bound.
    pub first: usize,
    /// How many elements are bound.
    pub count: usize,
}

/// A buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Sizes of what it holds, row-major.
    pub shape: Shape,
    /// Its elements: U8 four to a word, f16 two.
    pub dtype: DType,
    /// Bytes, whole words.
    pub bytes: u64,
    /// What is in it before the first run.
    pub fill: Fill,
}

/// Where a buffer's memory is and what is in it before the first run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fill {
    /// Nothing: it is written before it is read, in every run.
    Transient {
        /// The slot that it lies in, from its beginning; `None` where nothing uses it.
        slot: Option<usize>,
    },
    /// Nothing: a result that is kept until the next run.
    Output {
        /// The name that it was first given; all are in [`Baked::outputs`].
        name: String,
    },
    /// What the caller gives. Inputs of one name are one buffer.
    Input {
        /// Its name.
        name: String,
        /// The words that it has where the caller gives none.
        words: Option<Vec<u32>>,
    },
    /// A tensor of the store.
    Parameter {
        /// Which of [`Stored::tensors`].
        tensor: usize,
    },
    /// Its gradient, which lies in the gradients' segment as the tensor in the parameters'. Zeros.
    Gradient {
        /// Which of [`Stored::tensors`].
        tensor: usize,
    },
    /// A whole segment of a flat buffer of the store. Tensors where they lie, zeros between them; gradients and moments are zeros, the
    /// moving average begins with the parameters.
    Segment {
        /// Which flat buffer.
        flat: Flat,
        /// Which of [`Stored::segments`].
        segment: usize,
    },
    /// Step, seed and cursor: see [`crate::kernels::state`] for its words.
    State,
    /// The row of the schedule of the step that runs next: see [`crate::kernels::schedule`] for its columns.
    Schedule,
    /// The rows of the steps to come, a ring by step.
    Table,
    /// The step's verdict. Zeros.
    Control,
    /// The steps' figures, a ring by step. Zeros.
    Ring,
}

/// A result by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its buffer, which results of other shapes may share.
    pub buffer: usize,
    /// Its own shape.
    pub shape: Shape,
}

impl Baked {
    /// The output `name`.
    pub fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().find(|o| o.name == name)
    }

    /// The buffer of input `name`.
    pub fn input(&self, name: &str) -> Option<usize> {
        let is = |b: &Buffer| matches!(&b.fill, Fill::Input { name: n, .. } if n == name);
        self.buffers.iter().position(is)
    }

    /// Names of the inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.buffers.iter().filter_map(|b| match &b.fill {
            Fill::Input { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it uses a flat buffer of the store.
    pub fn uses(&self, flat: Flat) -> bool {
        self.buffers.iter().any(|b| match &b.fill {
            Fill::Parameter { .. } => flat == Flat::Parameters,
            Fill::Gradient { .. } => flat == Flat::Gradients,
            Fill::Segment { flat: of, .. } => *of == flat,
            _ => false,
        })
    }

    /// Flops and bytes of one run.
    pub fn cost(&self) -> Cost {
        let add = |sum: Cost, d: &Dispatch| Cost {
            flops: sum.flops + d.cost.flops,
            bytes: sum.bytes + d.cost.bytes,
        };
        self.dispatches.iter().fold(Cost::default(), add)
    }

    /// Family and variant of each dispatch, in order.
    pub fn variants(&self) -> impl Iterator<Item = String> {
        let text = |d: &Dispatch| format!("{} {}", d.family, d.variant);
        self.dispatches.iter().map(text)
    }
}
