//! A program as a table, for people.

use std::fmt::Write as _;

use super::memory;
use super::{Origin, Program};
use crate::kernels::{Access, Cost};

/// A program as a table. See [`Plan::explain`](crate::plan::Plan::explain).
pub fn explain(program: &Program, slots: &memory::Slots) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:>3}  {:<14} {:<46} {:>9} {:>9}  buffers",
        "#", "kernel", "variant", "MFLOP", "KiB"
    );
    let mut total = Cost::default();
    for (i, dispatch) in program.dispatches.iter().enumerate() {
        let cost = dispatch.kernel.cost();
        total = Cost {
            flops: total.flops + cost.flops,
            bytes: total.bytes + cost.bytes,
        };
        let bindings = dispatch.kernel.bindings();
        let mut parts: [Vec<String>; 2] = Default::default();
        for (id, binding) in dispatch.buffers.iter().zip(&bindings) {
            let spec = &program.buffers[id.0];
            let place = match &spec.origin {
                Origin::Transient => format!("slot {}", slots.of[id.0].unwrap_or(0)),
                Origin::Output(name) | Origin::Input(name) => name.clone(),
                Origin::Parameter(i) => format!("parameter {i}"),
                Origin::Gradient(i) => format!("gradient {i}"),
                Origin::Segment(flat, i) => format!("{flat:?} {i}").to_lowercase(),
                other => format!("{other:?}").to_lowercase(),
            };
            let written = usize::from(binding.access != Access::Read);
            parts[written].push(format!("{place} {:?}", spec.ty.shape));
        }
        let _ = writeln!(
            text,
            "{i:>3}  {:<14} {:<46} {:>9.3} {:>9.1}  {} -> {}",
            dispatch.kernel.family(),
            dispatch.kernel.variant(),
            cost.flops / 1e6,
            cost.bytes / 1024.0,
            parts[0].join(", "),
            parts[1].join(", "),
        );
    }
    let bytes: u64 = slots.sizes.iter().sum();
    let _ = writeln!(
        text,
        "{} dispatches, {:.1} MFLOP, {:.1} KiB moved, {} slots of {:.1} KiB together",
        program.dispatches.len(),
        total.flops / 1e6,
        total.bytes / 1024.0,
        slots.sizes.len(),
        bytes as f64 / 1024.0
    );
    text
}
