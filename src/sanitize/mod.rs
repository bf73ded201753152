//! A sanitizer for WGSL: executes compute shaders on the CPU, invocation by invocation, in orders that no driver here would choose, over memory that
//! knows who wrote it last.
//!
//! What is interpreted is naga's validated module of the shader's text. Accesses that nothing orders are found in any order (each cell knows its last
//! accesses, and barriers count); the orders show what comes of it. See `docs/sanitizer.md` for what it finds and what it cannot.
//!
//! ```
//! use wgen::sanitize::{Input, Kind, Options, Program};
//!
//! let reverse = "
//!     @group(0) @binding(0) var<storage, read_write> x: array<f32>;
//!     var<workgroup> tile: array<f32, 64>;
//!
//!     @compute @workgroup_size(64)
//!     fn reverse(@builtin(local_invocation_index) i: u32) {
//!         tile[i] = x[i];
//!         x[i] = tile[63u - i];
//!     }
//! ";
//! let program = Program::new(reverse, None, &[])?;
//! let x: Vec<u8> = (0..64).flat_map(|i| (i as f32).to_le_bytes()).collect();
//! let report = program.run(&[Input::buffer(x)], [1, 1, 1], &Options::default())?;
//! let first = &report.findings[0];
//! assert_eq!((first.kind, first.line.text.as_str()), (Kind::Race, "tile[i] = x[i];"));
//! assert_eq!(first.other.as_ref().map(|line| line.text.as_str()), Some("x[i] = tile[63u - i];"));
//! # Ok::<(), wgen::Error>(())
//! ```

mod code;
mod compile;
mod finding;
mod log;
mod machine;
mod program;
mod resources;
mod results;

use serde::Serialize;

pub use finding::{Finding, Kind, Line};
pub use program::Program;
pub use resources::{Input, Resource, ResourceKind, read_inputs};

/// In which order invocations run between barriers, and workgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// One after the other from the first on, each as far as the next barrier.
    Forward,
    /// The same from the last on.
    Backward,
    /// Another one after each access that others may see, and among four workgroups, by a seed.
    Shuffled(u64),
}

impl Order {
    fn name(self) -> String {
        match self {
            Self::Forward => "in order".to_owned(),
            Self::Backward => "in reverse".to_owned(),
            Self::Shuffled(seed) => format!("shuffled by seed {seed}"),
        }
    }
}

/// How a shader is examined.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each is a run.
    pub orders: Vec<Order>,
    /// Each is a run of a shader that has to do with subgroups, in each order.
    pub subgroup_sizes: Vec<u32>,
    /// Whether a workgroup's memory begins as zeros, as WGSL says and wgpu does unless it is told otherwise. Else reading it before it is written is a
    /// finding.
    pub zeroed_workgroup_memory: bool,
    /// Instructions after which an invocation is taken to be endless, if no other ended meanwhile or was let go on. Nor may many workgroups wait for one
    /// that was not begun.
    pub most_steps: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            orders: vec![
                Order::Forward,
                Order::Backward,
                Order::Shuffled(1),
                Order::Shuffled(2),
            ],
            subgroup_sizes: vec![4, 8, 16, 32, 64],
            zeroed_workgroup_memory: true,
            most_steps: 10_000_000,
        }
    }
}

/// What a run really did. Of matrices that subgroups hold together, and of what vectors are moved at once, each is one load or store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Floating point operations: one each of `+ - * / %` and of functions, two of `fma` and of a term of `dot`.
    pub flops: u64,
    /// Loads from buffers.
    pub loads: u64,
    /// Stores to buffers.
    pub stores: u64,
    /// Atomics of buffers.
    pub atomics: u64,
    /// Bytes that the loads took.
    pub bytes_loaded: u64,
    /// Bytes that the stores took.
    pub bytes_stored: u64,
    /// Bytes of buffers that were read, each once.
    pub distinct_read: u64,
    /// Bytes of buffers and textures that were written, each once.
    pub distinct_written: u64,
    /// Loads from workgroup memory.
    pub workgroup_loads: u64,
    /// Stores to workgroup memory.
    pub workgroup_stores: u64,
    /// Loads and samples of textures.
    pub texels_loaded: u64,
    /// Stores to textures.
    pub texels_stored: u64,
    /// Barriers that a workgroup passed.
    pub barriers: u64,
}

/// What one run left in memory.
#[derive(Clone, Debug)]
pub struct Run {
    /// The order, and the size of subgroups.
    pub name: String,
    /// Of each resource that is written, in order: its bytes. Texels are four words each.
    pub outputs: Vec<Option<Vec<u8>>>,
}

/// What the sanitizer found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Each once, the likeliest first.
    pub findings: Vec<Finding>,
    /// Of the first run.
    pub counts: Counts,
    /// All runs.
    pub runs: Vec<Run>,
}
