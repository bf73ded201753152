//! A program as a table, for people: which kernels, in which variant, how many flops and bytes, what each reads and writes.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::graph::layout::{Init, Layout, Parameter};
//! use wgen::kernels::{Caps, philox::Domain};
//! use wgen::program::lower::{LowerOptions, lower};
//! use wgen::program::{explain, memory};
//! use wgen::tensor::TensorType;
//!
//! let graph = Graph::new(Domain::Sampling);
//! let x = graph.input("x", TensorType::f32([16, 8]));
//! graph.output("y", x.matmul(graph.parameter("w", [8, 4])).relu());
//! let layout = Layout::new(vec![Parameter::new("w", [8, 4], Init::Constant(0.0))], 1 << 27)?;
//! let program = lower(&graph, &Caps::portable(), &layout, LowerOptions { fuse: true, half: false })?;
//! let table = explain::explain(&program, &memory::assign(&program, true));
//! print!("{table}");
//! assert!(table.contains("x [16, 8], parameter 0 [8, 4] -> y [16, 4]"), "{table}");
//! assert_eq!(table.lines().count(), 3); // the head, a dispatch, the sums
//! # Ok::<(), wgen::Error>(())
//! ```

use std::fmt::Write as _;

use super::baked::{Baked, Fill};
use super::memory;
use super::{Origin, Program};
use crate::kernels::{Access, Cost};
use crate::tensor::Shape;

/// A program as a table. See [`Plan::explain`](crate::plan::Plan::explain).
pub fn explain(program: &Program, slots: &memory::Slots) -> String {
    let mut table = Table::new();
    for dispatch in &program.dispatches {
        let kernel = dispatch.kernel.as_ref();
        let bindings = kernel.bindings();
        let buffers = dispatch.buffers.iter().zip(&bindings);
        let buffers = buffers.map(|(id, binding)| {
            let spec = &program.buffers[id.0];
            let place = match &spec.origin {
                Origin::Transient => format!("slot {}", slots.of[id.0].unwrap_or(0)),
                Origin::Output(name) | Origin::Input(name) => name.clone(),
                Origin::Parameter(i) => format!("parameter {i}"),
                Origin::Gradient(i) => format!("gradient {i}"),
                Origin::Segment(flat, i) => format!("{flat:?} {i}").to_lowercase(),
                other => format!("{other:?}").to_lowercase(),
            };
            (place, &spec.ty.shape, binding.access)
        });
        table.row(kernel.family(), &kernel.variant(), kernel.cost(), buffers);
    }
    table.finish(&slots.sizes)
}

impl Baked {
    /// The program as a table: the dispatches in order with kernel, variant, flops, bytes, and what each reads and writes with its shape.
    pub fn explain(&self) -> String {
        let mut table = Table::new();
        for dispatch in &self.dispatches {
            let bindings = self.shaders[dispatch.shader].bindings.iter();
            let buffers = dispatch.bindings.iter().zip(bindings);
            let buffers = buffers.map(|(bound, binding)| {
                let buffer = &self.buffers[bound.buffer];
                let place = match &buffer.fill {
                    Fill::Transient { slot } => format!("slot {}", slot.unwrap_or(0)),
                    Fill::Output { name } | Fill::Input { name, .. } => name.clone(),
                    Fill::Parameter { tensor } => format!("parameter {tensor}"),
                    Fill::Gradient { tensor } => format!("gradient {tensor}"),
                    Fill::Segment { flat, segment } => format!("{flat:?} {segment}").to_lowercase(),
                    other => format!("{other:?}").to_lowercase(),
                };
                (place, &buffer.shape, binding.access)
            });
            table.row(&dispatch.family, &dispatch.variant, dispatch.cost, buffers);
        }
        table.finish(&self.slots)
    }
}

/// The text so far.
struct Table {
    text: String,
    rows: usize,
    total: Cost,
}

impl Table {
    fn new() -> Self {
        let text = format!(
            "{:>3}  {:<14} {:<46} {:>9} {:>9}  buffers\n",
            "#", "kernel", "variant", "MFLOP", "KiB"
        );
        Self {
            text,
            rows: 0,
            total: Cost::default(),
        }
    }

    fn row<'a>(
        &mut self,
        family: &str,
        variant: &str,
        cost: Cost,
        buffers: impl Iterator<Item = (String, &'a Shape, Access)>,
    ) {
        self.total = Cost {
            flops: self.total.flops + cost.flops,
            bytes: self.total.bytes + cost.bytes,
        };
        let mut parts: [Vec<String>; 2] = Default::default();
        for (place, shape, access) in buffers {
            let written = usize::from(access != Access::Read);
            parts[written].push(format!("{place} {shape:?}"));
        }
        let _ = writeln!(
            self.text,
            "{:>3}  {family:<14} {variant:<46} {:>9.3} {:>9.1}  {} -> {}",
            self.rows,
            cost.flops / 1e6,
            cost.bytes / 1024.0,
            parts[0].join(", "),
            parts[1].join(", "),
        );
        self.rows += 1;
    }

    fn finish(mut self, slots: &[u64]) -> String {
        let bytes: u64 = slots.iter().sum();
        let _ = writeln!(
            self.text,
            "{} dispatches, {:.1} MFLOP, {:.1} KiB moved, {} slots of {:.1} KiB together",
            self.rows,
            self.total.flops / 1e6,
            self.total.bytes / 1024.0,
            slots.len(),
            bytes as f64 / 1024.0
        );
        self.text
    }
}
