//! The occupancy grid of a radiance field: which cells of the unit cube hold something. `shaders/occupancy.wgsl`.
//!
//! Every cell has a value, the optical thickness of a step in it. In each step some cells are looked at ([`Stage::All`], [`Stage::Pick`]), the
//! field is asked at a random point of each ([`Stage::Points`]), and the values become the larger of what they were, a little less, and what was found
//! ([`Stage::Clear`], [`Stage::Largest`], [`Stage::Merge`]). A cell above a threshold is occupied ([`Stage::Bits`]).
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::occupancy::{Occupancy, Stage};
//! use wgen::tensor::Data;
//!
//! let grid = |stage| Occupancy { side: 4, cascades: 1, count: 3, stream: 0, decay: 0.5, stage };
//! // Cell 7 was looked at twice, cell 9 once.
//! let found = [Data::U32(vec![7, 9, 7]), Data::F32(vec![0.25, 3.0, 0.75])];
//! let [cells, thickness] = found;
//! let mut buffers = [cells, thickness, Data::U32(vec![0; 64])];
//! grid(Stage::Largest).reference(&mut buffers);
//! let [_, _, fresh] = buffers;
//!
//! let mut values = vec![1.0; 64];
//! values[9] = -1.0; // no camera sees this one
//! let mut buffers = [Data::F32(values), fresh, Data::F32(vec![0.0; 64])];
//! grid(Stage::Merge).reference(&mut buffers);
//! let Data::F32(merged) = &buffers[2] else { unreachable!() };
//! assert_eq!(merged[6..10], [0.5, 0.75, 0.5, -1.0]);
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, STATE_WORDS, bytes_of, fold};
use crate::tensor::DType;

/// Random cells that are tried, until one is above the threshold.
pub const ATTEMPTS: u32 = 10;

/// Steps in which all cells that are looked at lie anywhere: as instant-ngp begins.
pub const EARLY: u64 = 256;

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Every cell.
    All,
    /// Half of them wherever they lie, half where the value is above a threshold.
    Pick,
    /// A random point in each cell.
    Points,
    /// Nothing found yet.
    Clear,
    /// The largest thickness found in each cell.
    Largest,
    /// The larger of the decayed value and that.
    Merge,
    /// Which cells are above a threshold, a bit each.
    Bits,
}

/// A kernel of a grid of `side`^3 cells, or of several.
#[derive(Clone, Debug)]
pub struct Occupancy {
    /// Cells along an axis, a power of two from 4 to 512.
    pub side: usize,
    /// Grids over cubes in one another, from 1 to 8: see [`March`](super::march::March).
    pub cascades: usize,
    /// Cells that are looked at: of [`Stage::All`] all of them, of [`Stage::Pick`] an even number.
    pub count: usize,
    /// The stream of its random numbers; 0 where there are none.
    pub stream: u32,
    /// What a value is multiplied by where nothing larger is found.
    pub decay: f32,
    /// The kernel.
    pub stage: Stage,
}

impl Occupancy {
    /// All cells.
    pub fn cells(&self) -> usize {
        self.cascades * self.side.pow(3)
    }

    fn name(&self) -> (&'static str, &'static str) {
        match self.stage {
            Stage::All => ("all", "occupancy_all"),
            Stage::Pick => ("pick", "occupancy_pick"),
            Stage::Points => ("points", "occupancy_points"),
            Stage::Clear => ("clear", "occupancy_clear"),
            Stage::Largest => ("largest", "occupancy_largest"),
            Stage::Merge => ("merge", "occupancy_merge"),
            Stage::Bits => ("bits", "occupancy_bits"),
        }
    }

    fn units(&self) -> usize {
        match self.stage {
            Stage::All | Stage::Pick | Stage::Points | Stage::Largest => self.count,
            Stage::Clear | Stage::Merge => self.cells(),
            Stage::Bits => self.cells() / 32,
        }
    }
}

impl Kernel for Occupancy {
    fn family(&self) -> &'static str {
        "occupancy"
    }

    fn variant(&self) -> String {
        let (stage, side) = (self.name().0, self.side);
        match self.cascades {
            1 => format!("{stage}, {side}^3 cells"),
            cascades => format!("{stage}, {cascades} x {side}^3 cells"),
        }
    }

    fn bindings(&self) -> Vec<Binding> {
        let (all, count) = (self.cells(), self.count);
        let values = Binding::read("values", DType::F32, all);
        let threshold = Binding::read("threshold", DType::F32, 1);
        let state = Binding::read("state", DType::U32, STATE_WORDS);
        match self.stage {
            Stage::All => vec![Binding::write("cells", DType::U32, count)],
            Stage::Pick => vec![
                values,
                threshold,
                state,
                Binding::write("cells", DType::U32, count),
            ],
            Stage::Points => vec![
                Binding::read("cells", DType::U32, count),
                state,
                Binding::write("points", DType::F32, 3 * count),
            ],
            Stage::Clear => vec![Binding::write("fresh", DType::U32, all)],
            Stage::Largest => vec![
                Binding::read("cells", DType::U32, count),
                Binding::read("thickness", DType::F32, count),
                Binding::atomic("fresh", all),
            ],
            Stage::Merge => vec![
                values,
                Binding::read("fresh", DType::U32, all),
                Binding::write("out", DType::F32, all),
            ],
            Stage::Bits => vec![
                values,
                threshold,
                Binding::write("bits", DType::U32, all / 32),
            ],
        }
    }

    fn launch(&self) -> Launch {
        let (stage, entry) = self.name();
        let units = self.units();
        Launch {
            template: "occupancy",
            entry,
            context: json!({
                "early": EARLY,
                "stage": stage,
                "cascades": self.cascades,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![
                units as u32,
                self.side as u32,
                self.stream,
                self.decay.to_bits(),
                0,
            ],
            workgroups: fold(units.div_ceil(64) as u64),
            grid: Grid::Line { first: 4 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let flops = match self.stage {
            Stage::Pick | Stage::Points => 200.0,
            Stage::Bits => 32.0,
            _ => 2.0,
        };
        Cost {
            flops: flops * self.units() as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
