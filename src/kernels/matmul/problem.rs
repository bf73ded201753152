//! What is known of a product before its body is chosen.

use super::Layout;

/// What of a product the choice of its body may look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    /// How the operands lie.
    pub layout: Layout,
    /// Rows of the result.
    pub m: usize,
    /// Its columns.
    pub n: usize,
    /// Terms of each sum.
    pub terms: usize,
    /// Terms of a segment of the sum; all of them but in a convolution.
    pub segment: usize,
    /// Matrices.
    pub matrices: usize,
    /// Into how many parts the sum may be cut to fill the device.
    pub parts: usize,
}

impl Problem {
    /// One product whose sum stays whole.
    pub(crate) fn plain(layout: Layout, [m, n, k]: [usize; 3]) -> Self {
        Self {
            layout,
            m,
            n,
            terms: k,
            segment: k,
            matrices: 1,
            parts: 1,
        }
    }
}

/// Workgroups that a product should be cut into where its sums can be cut: some for every core of a large device.
pub(super) const WANTED_WORKGROUPS: usize = 256;

/// Into how many parts a sum is cut whose result makes so many workgroups, if it may be cut into `most`.
pub(crate) fn parts(workgroups: usize, most: usize) -> usize {
    (WANTED_WORKGROUPS / workgroups.max(1)).clamp(1, most.max(1))
}
