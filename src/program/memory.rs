//! Where transient buffers live: slots, reused as soon as their last reader has run.

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
    // The dispatch after which each slot is free.
    let mut busy_until: Vec<usize> = Vec::new();
    for b in order {
        let Some((first, last)) = lives[b] else {
            continue;
        };
        let bytes = program.buffers[b].ty.bytes();
        // A small tensor that lives long had better not sit in a large slot: the next large one would need a new one.
        let near = |size: u64| size <= FACTOR * bytes && bytes <= FACTOR * size;
        let free = (0..slots.sizes.len())
            .filter(|&s| reuse && busy_until[s] < first && near(slots.sizes[s]));
        // The smallest that is large enough, else the largest, which then grows.
        let best = free.min_by_key(|&s| (slots.sizes[s] < bytes, slots.sizes[s].abs_diff(bytes)));
        let slot = best.unwrap_or_else(|| {
            slots.sizes.push(0);
            busy_until.push(0);
            slots.sizes.len() - 1
        });
        slots.sizes[slot] = slots.sizes[slot].max(bytes);
        busy_until[slot] = last;
        slots.of[b] = Some(slot);
    }
    slots
}

/// Whether two transient buffers that are alive in the same dispatch share a slot: never, or the plan is wrong.
pub fn overlap(program: &Program, slots: &Slots) -> Option<(BufferId, BufferId)> {
    let lives = lifetimes(program);
    for a in 0..program.buffers.len() {
        for b in 0..a {
            if let (Some(x), Some(y), Some((a0, a1)), Some((b0, b1))) =
                (slots.of[a], slots.of[b], lives[a], lives[b])
                && x == y
                && a0 <= b1
                && b0 <= a1
            {
                return Some((BufferId(b), BufferId(a)));
            }
        }
    }
    None
}
