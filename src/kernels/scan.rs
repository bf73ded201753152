//! Where each ray's samples begin in a buffer of fixed capacity, and how many rays fit: `shaders/scan.wgsl`.
//!
//! An exclusive prefix sum of counts. The first ray whose samples would end beyond the capacity is dropped, and every ray after it: which
//! ones these are depends on nothing but the counts.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::scan::{Scan, Stage};
//! use wgen::tensor::Data;
//!
//! // Three rays of 5, 0 and 4 samples fit into 9; a fourth of 1 does not, nor what comes after.
//! let scan = |stage| Scan { rays: 5, capacity: 9, stage };
//! let counts = Data::U32(vec![5, 0, 4, 1, 0]);
//! let mut buffers = [counts.clone(), Data::U32(vec![0; scan(Stage::Sums).tiles()])];
//! scan(Stage::Sums).reference(&mut buffers);
//! let [_, totals] = buffers;
//! let mut buffers = [counts.clone(), totals, Data::U32(vec![0; scan(Stage::Starts).tiles() + 2])];
//! scan(Stage::Starts).reference(&mut buffers);
//! let [_, _, starts] = buffers;
//! let mut buffers = [counts, starts, Data::U32(vec![0; 7])];
//! scan(Stage::Base).reference(&mut buffers);
//! assert_eq!(buffers[2].as_u32(), [0, 5, 5, 9, 9, 9, 3]); // where each begins, the end, and that three fit
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// Rays of a tile: four an invocation.
pub const TILE: usize = 1024;

/// The largest capacity: two saturated sums fit a u32.
pub const MOST_CAPACITY: usize = (1 << 31) - 2;

/// Which of the three kernels, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The sum over each tile.
    Sums,
    /// Where each tile begins; behind these how many rays fit, and how many samples they have.
    Starts,
    /// Where each ray begins, `[rays + 2]`.
    Base,
}

/// A stage of the exclusive prefix sums of `rays` counts, cut off at `capacity`.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Rays, at least one.
    pub rays: usize,
    /// Samples that there is room for, up to [`MOST_CAPACITY`].
    pub capacity: usize,
    /// The kernel.
    pub stage: Stage,
}

impl Scan {
    /// Tiles of rays.
    pub fn tiles(&self) -> usize {
        self.rays.div_ceil(TILE)
    }
}

impl Kernel for Scan {
    fn family(&self) -> &'static str {
        "scan"
    }

    fn variant(&self) -> String {
        let stage = match self.stage {
            Stage::Sums => "sums",
            Stage::Starts => "starts",
            Stage::Base => "base",
        };
        format!("{stage} of tiles of {TILE}")
    }

    fn bindings(&self) -> Vec<Binding> {
        let counts = Binding::read("counts", DType::U32, self.rays);
        let tiles = self.tiles();
        match self.stage {
            Stage::Sums => vec![counts, Binding::write("totals", DType::U32, tiles)],
            Stage::Starts => vec![
                counts,
                Binding::read("totals", DType::U32, tiles),
                Binding::write("starts", DType::U32, tiles + 2),
            ],
            Stage::Base => vec![
                counts,
                Binding::read("starts", DType::U32, tiles + 2),
                Binding::write("base", DType::U32, self.rays + 2),
            ],
        }
    }

    fn launch(&self) -> Launch {
        let (stage, entry) = match self.stage {
            Stage::Sums => ("sums", "tile_sums"),
            Stage::Starts => ("starts", "tile_starts"),
            Stage::Base => ("base", "write_base"),
        };
        let words = [self.rays, self.capacity, self.tiles(), 0];
        let (workgroups, grid) = match self.stage {
            Stage::Starts => ([1; 3], Grid::Whole),
            _ => (fold(self.tiles() as u64), Grid::Line { first: 3 }),
        };
        Launch {
            template: "scan",
            entry,
            context: json!({
                "stage": stage,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", (TILE / 4) as f64)],
            params: words.iter().map(|&w| w as u32).collect(),
            workgroups,
            grid,
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let elements = match self.stage {
            Stage::Starts => self.tiles(),
            _ => self.rays,
        };
        Cost {
            flops: 6.0 * elements as f64,
            bytes: match self.stage {
                Stage::Starts => 8.0 * elements as f64,
                _ => bytes_of(&self.bindings()),
            },
        }
    }
}
