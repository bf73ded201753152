//! Dispatches into encoders and submissions, none of which takes too long.

use std::ops::Range;

use super::Plan;
use crate::error::Result;
use crate::kernels::Cost;

/// No segment, and no dispatch, should take longer by estimate: drivers reset a device that does not answer for about 2 s.
const LONGEST: f64 = 0.1;

impl Plan {
    /// Records one step into the caller's encoder: one compute pass, nothing else made.
    pub fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        self.record_range(encoder, 0..self.bound.len());
    }

    /// Records a range of [`Plan::segments`].
    pub fn record_range(&self, encoder: &mut wgpu::CommandEncoder, range: Range<usize>) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.record_range_into(range, &mut pass);
    }

    /// Records one step into a pass of the caller's, who may put timestamps around it or dispatches of his own beside it.
    pub fn record_into(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.record_range_into(0..self.bound.len(), pass);
    }

    fn record_range_into(&self, range: Range<usize>, pass: &mut wgpu::ComputePass<'_>) {
        let last = range.end == self.bound.len() && !range.is_empty();
        self.bound[range]
            .iter()
            .for_each(|bound| bound.record(pass));
        if last {
            self.pictures
                .iter()
                .for_each(|(_, bound)| bound.record(pass));
        }
    }

    /// Records one dispatch of the program into a pass of the caller's.
    pub(crate) fn record_one_into(&self, index: usize, pass: &mut wgpu::ComputePass<'_>) {
        let parts = self.parts[index].clone();
        self.bound[parts]
            .iter()
            .for_each(|bound| bound.record(pass));
    }

    /// The step cut into ranges of less than 100 ms by estimate, to be submitted one by one. A dispatch that alone would take longer
    /// is several, each a part of its grid.
    pub fn segments(&self) -> &[Range<usize>] {
        &self.segments
    }

    /// Runs `steps` steps, in submissions of less than 100 ms by estimate (1 s on a software adapter).
    ///
    /// # Errors
    /// When the device is lost.
    pub fn run(&self, steps: usize) -> Result<()> {
        if self.segments.len() == 1 {
            let longest = longest_submission(self.gpu.caps().software);
            let together = ((longest / self.estimate.max(1e-9)) as usize).max(1);
            let mut left = steps;
            while left > 0 {
                let now = left.min(together);
                self.submit(&|encoder| (0..now).for_each(|_| self.record(encoder)));
                left -= now;
            }
        } else {
            for _ in 0..steps {
                self.segments
                    .iter()
                    .for_each(|s| self.submit(&|encoder| self.record_range(encoder, s.clone())));
            }
        }
        self.gpu.check()
    }

    /// Runs one dispatch alone and waits for it: for verification.
    ///
    /// # Errors
    /// When the device is lost.
    pub(crate) fn run_one(&self, index: usize) -> Result<()> {
        self.submit(&|encoder| {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.record_one_into(index, &mut pass);
        });
        self.gpu.wait()
    }

    /// Submits what `record` puts into an encoder.
    pub(super) fn submit(&self, record: &dyn Fn(&mut wgpu::CommandEncoder)) {
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = self.gpu.device().create_command_encoder(&descriptor);
        record(&mut encoder);
        self.gpu.queue().submit([encoder.finish()]);
    }
}

/// How long the steps of one submission may take by estimate. A software adapter has no watchdog, and its threads compete with
/// the one that submits: there submissions are fewer and longer.
fn longest_submission(software: bool) -> f64 {
    if software { 1.0 } else { LONGEST }
}

/// Seconds of a dispatch at the rates of a slow device of its kind: an estimate that is too long costs a submission, one that is too
/// short may cost the driver.
pub(super) fn estimate(cost: Cost, software: bool) -> f64 {
    let (flops_a_second, bytes_a_second) = if software { (2e10, 2e9) } else { (2e11, 1e10) };
    (cost.flops / flops_a_second).max(cost.bytes / bytes_a_second)
}

/// Into how many parts a dispatch of this length is cut.
pub(super) fn parts_for(estimate: f64) -> usize {
    (estimate / LONGEST).ceil().max(1.0) as usize
}

/// Cuts a step where its estimate passes the longest submission's.
pub(super) fn segments(estimates: &[f64]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut sum) = (0, 0.0);
    for (i, own) in estimates.iter().enumerate() {
        if i > start && sum + own > LONGEST {
            ranges.push(start..i);
            (start, sum) = (i, 0.0);
        }
        sum += own;
    }
    ranges.push(start..estimates.len());
    ranges
}
