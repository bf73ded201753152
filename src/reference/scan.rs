//! Twin of `shaders/scan.wgsl`.

use super::Twin;
use crate::kernels::scan::{Scan, Stage, TILE};
use crate::tensor::Data;

/// `base[i]`, the counts before ray i summed, `base[rays]`, their sum, and k, the rays that fit; from ray k on all begin where the samples end.
pub(crate) fn scan(counts: &[u32], capacity: usize) -> Vec<u32> {
    let (mut base, mut sum) = (vec![0], 0_u64);
    let mut kept = 0;
    for (i, &count) in counts.iter().enumerate() {
        let fits = sum + u64::from(count) <= capacity as u64;
        if kept == i && fits {
            (kept, sum) = (i + 1, sum + u64::from(count));
        }
        base.push(sum as u32);
    }
    base.push(kept as u32);
    base
}

/// The sum of each tile, which ends at `capacity + 1`.
fn sums(kernel: &Scan, counts: &[u32]) -> Vec<u64> {
    let most = kernel.capacity as u64 + 1;
    let sum = |tile: &[u32]| tile.iter().map(|&c| u64::from(c)).sum::<u64>();
    counts.chunks(TILE).map(|t| sum(t).min(most)).collect()
}

/// Where each tile would begin if nothing were dropped; k and the end of its samples.
fn starts(kernel: &Scan, counts: &[u32]) -> Vec<u32> {
    let most = kernel.capacity as u64 + 1;
    let (mut starts, mut sum) = (Vec::new(), 0);
    for total in sums(kernel, counts) {
        starts.push(sum as u32);
        sum = most.min(sum + total);
    }
    let base = scan(counts, kernel.capacity);
    starts.extend([base[counts.len() + 1], base[counts.len()]]);
    starts
}

impl Twin for Scan {
    fn reference(&self, buffers: &mut [Data]) {
        let counts = buffers[0].as_u32();
        let out = match self.stage {
            Stage::Sums => sums(self, counts).iter().map(|&n| n as u32).collect(),
            Stage::Starts => starts(self, counts),
            Stage::Base => scan(counts, self.capacity),
        };
        if let Some(last) = buffers.last_mut() {
            *last = Data::U32(out);
        }
    }
}
