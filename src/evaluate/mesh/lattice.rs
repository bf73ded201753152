//! The points at which a density is asked for.

use crate::error::{Error, Result};
use crate::kernels::marching_cubes::MOST_POINTS;

/// Bytes of all arrays of a slab but the surface itself, at most: a slab has three layers of points at least.
pub const BUDGET: u64 = 1 << 30;

/// Bytes a point of a slab: density, two counts, and two bases.
pub(super) const BYTES_A_POINT: u64 = 20;

/// Cells along an axis: f32 counts as many layers.
const MOST_CELLS: usize = MOST_POINTS / 2;

/// A lattice of points over a box, its outermost points on the box's walls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    low: [f64; 3],
    high: [f64; 3],
    cells: [usize; 3],
}

impl Lattice {
    /// Over the box from `low` to `high`, with `resolution` cells along its longest side, and along the others so many that cells are about cubes.
    ///
    /// # Errors
    /// When the box is none, or `resolution` below 2 or above 2^23.
    pub fn new(low: [f64; 3], high: [f64; 3], resolution: usize) -> Result<Self> {
        let sides = [0, 1, 2].map(|i| high[i] - low[i]);
        if !sides.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(Error::field(
                "box",
                format!(
                    "from {low:?} to {high:?} is none: x, y and z of its second corner must be above the first's"
                ),
            ));
        }
        if !(2..=MOST_CELLS).contains(&resolution) {
            let why = format!("{resolution} must be from 2 to {MOST_CELLS}");
            return Err(Error::field("resolution", why));
        }
        let longest = sides.iter().copied().fold(0.0, f64::max);
        // The longest side is a share of 1 of itself, exactly.
        let cells = sides.map(|s| ((s / longest * resolution as f64).round() as usize).max(2));
        Ok(Self { low, high, cells })
    }

    /// The corners of its box.
    pub fn corners(&self) -> [[f64; 3]; 2] {
        [self.low, self.high]
    }

    /// Cells along x, y and z.
    pub fn cells(&self) -> [usize; 3] {
        self.cells
    }

    /// The sides of a cell.
    pub fn spacing(&self) -> [f64; 3] {
        [0, 1, 2].map(|i| (self.high[i] - self.low[i]) / self.cells[i] as f64)
    }

    /// Points along x, y and z.
    pub(super) fn points(&self) -> [usize; 3] {
        self.cells.map(|n| n + 1)
    }

    /// Points of a layer.
    pub(super) fn layer(&self) -> usize {
        let [columns, rows, _] = self.points();
        columns.saturating_mul(rows)
    }

    /// Where a place in units of the lattice is in the scene. The one way from the one to the other.
    pub(super) fn in_scene(&self, place: [f64; 3]) -> [f64; 3] {
        let spacing = self.spacing();
        [0, 1, 2].map(|i| self.low[i] + spacing[i] * place[i])
    }

    /// Refuses a lattice three layers of which have more than [`BUDGET`] bytes, or of which an array has more than the `bound` that a device binds at
    /// once (`Caps::binding_bytes`), and says what resolution does not.
    ///
    /// # Errors
    /// With these numbers.
    pub fn check(&self, bound: u64) -> Result<()> {
        let bytes = |layer: u64| [3 * BYTES_A_POINT, 3 * 4].map(|b| layer.saturating_mul(b));
        let fits = |layer: u64| {
            let [all, once] = bytes(layer);
            all <= BUDGET && once <= bound
        };
        let layer = self.layer() as u64;
        if fits(layer) {
            return Ok(());
        }
        // The largest that fits a box of these proportions.
        let asked = self.cells.iter().copied().max().unwrap_or(2);
        let of = |resolution: usize| {
            let other = Self::new(self.low, self.high, resolution).unwrap_or(*self);
            other.layer() as u64
        };
        let (mut least, mut most) = (2, asked.max(3));
        while most - least > 1 {
            let middle = least + (most - least) / 2;
            if fits(of(middle)) {
                least = middle;
            } else {
                most = middle;
            }
        }
        let [columns, rows, _] = self.points();
        let [all, once] = bytes(layer).map(|b| b >> 20);
        let limit = match once > bound >> 20 {
            true => format!(
                "{once} MiB of them bound at once, of {} MiB that this device binds (max_storage_buffer_binding_size)",
                bound >> 20
            ),
            false => format!("of at most {} MiB", BUDGET >> 20),
        };
        Err(Error::field(
            "resolution",
            format!(
                "is {asked}: three layers of {columns} x {rows} points have {all} MiB, {limit}; {least} fits"
            ),
        ))
    }
}
