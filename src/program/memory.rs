//! Where a program's transient buffers live: in slots, reused as soon as their last reader has run, so that a step takes little memory.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::graph::layout::{Init, Layout, Parameter};
//! use wgen::kernels::{Caps, philox::Domain};
//! use wgen::program::lower::{LowerOptions, lower};
//! use wgen::program::memory;
//! use wgen::tensor::TensorType;
//!
//! let graph = Graph::new(Domain::Sampling);
//! let w = graph.parameter("w", [8, 8]);
//! let x = graph.input("x", TensorType::f32([16, 8]));
//! graph.output("y", x.matmul(w).matmul(w).matmul(w).matmul(w));
//! let layout = Layout::new(vec![Parameter::new("w", [8, 8], Init::Constant(0.0))], 1 << 27)?;
//! let program = lower(&graph, &Caps::portable(), &layout, LowerOptions { fuse: true, half: false })?;
//! // Three products between the input and the output, of which two are alive at a time.
//! assert_eq!(memory::assign(&program, false).sizes.len(), 3);
//! let slots = memory::assign(&program, true);
//! assert_eq!(slots.sizes, [4 * 16 * 8; 2]);
//! assert_eq!(memory::overlap(&program, &slots), None);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::{BufferId, Origin, Program};

/// The slot of each transient buffer, and the size of each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// By buffer; `None` for buffers that are not transient.
    pub of: Vec<Option<usize>>,
    /// Bytes.
    pub sizes: Vec<u64>,
}

/// How many times larger or smaller than a tensor a slot may be that it is put into.
const FACTOR: u64 = 4;

/// First and last dispatch that touches each buffer.
fn lifetimes(program: &Program) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    for (i, dispatch) in program.dispatches.iter().enumerate() {
        for &BufferId(b) in &dispatch.buffers {
            lives[b] = Some(lives[b].map_or((i, i), |(first, _)| (first, i)));
        }
    }
    lives
}

/// Gives every transient buffer a slot. With `reuse`, buffers whose lifetimes do not touch share one; a dispatch's inputs and
/// outputs never do. Without, each has its own.
pub fn assign(program: &Program, reuse: bool) -> Slots {
    let lives = lifetimes(program);
    let mut order: Vec<usize> = (0..program.buffers.len())
        .filter(|&b| program.buffers[b].origin == Origin::Transient && lives[b].is_some())
        .collect();
    order.sort_by_key(|&b| lives[b]);
    let mut slots = Slots {
        of: vec![None; program.buffers.len()],
        sizes: Vec::new(),
    };
    // Slots that are taken, by the dispatch after which they are free; and those that are free, by size.
    let mut busy: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    let mut free: BTreeSet<(u64, usize)> = BTreeSet::new();
    for b in order {
        let Some((first, last)) = lives[b] else {
            continue;
        };
        while let Some(&Reverse((until, slot))) = busy.peek()
            && until < first
        {
            busy.pop();
            free.insert((slots.sizes[slot], slot));
        }
        let bytes = program.buffers[b].ty.bytes();
        let best = nearest(&free, bytes).filter(|_| reuse);
        let slot = best.map_or_else(
            || {
                slots.sizes.push(0);
                slots.sizes.len() - 1
            },
            |found| {
                free.remove(&found);
                found.1
            },
        );
        slots.sizes[slot] = slots.sizes[slot].max(bytes);
        busy.push(Reverse((last, slot)));
        slots.of[b] = Some(slot);
    }
    slots
}

/// Of free slots `(size, slot)` the smallest that is large enough, else the largest, which then grows; the first of several. A small
/// tensor that lives long had better not sit in a large slot: the next large one would need a new one.
fn nearest(free: &BTreeSet<(u64, usize)>, bytes: u64) -> Option<(u64, usize)> {
    let larger = (bytes, 0)..=(FACTOR.saturating_mul(bytes), usize::MAX);
    let smaller = (bytes.div_ceil(FACTOR), 0)..(bytes, 0);
    free.range(larger).next().copied().or_else(|| {
        let (size, _) = *free.range(smaller).next_back()?;
        free.range((size, 0)..).next().copied()
    })
}

/// Two transient buffers that are alive in the same dispatch and share a slot: there are none, or the plan is wrong.
pub fn overlap(program: &Program, slots: &Slots) -> Option<(BufferId, BufferId)> {
    let lives = lifetimes(program);
    let mut of_slot: Vec<Vec<(usize, usize, usize)>> = vec![Vec::new(); slots.sizes.len()];
    for (b, life) in lives.into_iter().enumerate() {
        if let (Some(slot), Some((first, last))) = (slots.of[b], life) {
            of_slot[slot].push((first, last, b));
        }
    }
    for buffers in &mut of_slot {
        buffers.sort_unstable();
        // Where any two overlap, so do two neighbours.
        let pair = buffers.windows(2).find(|pair| pair[1].0 <= pair[0].1);
        if let Some(&[(_, _, a), (_, _, b)]) = pair {
            return Some((BufferId(a), BufferId(b)));
        }
    }
    None
}
