//! A training step in two halves, with a seam between them for whoever has something to do with the gradients.

use std::ops::Range;

use super::Plan;
use crate::error::Result;

impl Plan {
    /// Runs the first half of a step: forward and backward, up to the update. Gradients are then in the store, metrics in the outputs.
    /// Without an update in the graph that is the whole plan. In submissions of less than 100 ms by estimate.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn run_gradients(&self) -> Result<()> {
        self.run_within(0..self.seam())
    }

    /// Runs the second half: norm, verdict, optimiser, moving average, counters, with the gradients that are in the store. Together with
    /// [`Plan::run_gradients`] before it the same dispatches as one [`Plan::run`], and the same bits. Nothing where the graph has no update.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn run_update(&self) -> Result<()> {
        self.run_within(self.seam()..self.bound.len())
    }

    /// Records the first half into the caller's encoder: see [`Plan::run_gradients`].
    pub fn record_gradients(&self, encoder: &mut wgpu::CommandEncoder) {
        self.record_range(encoder, 0..self.seam());
    }

    /// Records the second half into the caller's encoder: see [`Plan::run_update`].
    pub fn record_update(&self, encoder: &mut wgpu::CommandEncoder) {
        self.record_range(encoder, self.seam()..self.bound.len());
    }

    /// The first of the recorded dispatches that belongs to the update.
    fn seam(&self) -> usize {
        let first = self.parts.get(self.baked.update);
        first.map_or(self.bound.len(), |parts| parts.start)
    }

    /// Submits what the segments have in common with `range`, one after the other.
    fn run_within(&self, range: Range<usize>) -> Result<()> {
        for segment in &self.segments {
            let part = segment.start.max(range.start)..segment.end.min(range.end);
            if !part.is_empty() {
                self.submit(&|encoder| self.record_range(encoder, part.clone()));
            }
        }
        self.gpu.check()
    }
}
