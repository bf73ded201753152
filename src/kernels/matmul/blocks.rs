//! The shape of a product on matrix units.

use serde_json::json;

use super::Layout;
use crate::kernels::Caps;
use crate::kernels::devices::AMD;

/// The shape of a cooperative product's workgroup: subgroups in two rows, each with a rectangle of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// Side of a block: what the matrix units multiply, 8 or 16.
    pub side: u32,
    /// Subgroups.
    pub subgroups: u32,
    /// Rows and columns of blocks that each has.
    pub count: [u32; 2],
    /// Lanes of a subgroup where it is the widest that the device makes.
    pub lanes: u32,
    /// Lanes of the narrowest one. Where it is narrower there may be more of them: those beyond help with loads and stores, and their products are thrown
    /// away.
    pub least: u32,
    /// Whether operands that lie across k are transposed on the way into workgroup memory: more stores, and units that want four neighbours in k find them.
    pub transposed: bool,
}

impl Blocks {
    /// k that are in workgroup memory at once.
    pub(super) const DEPTH: u32 = 32;

    /// Rows and columns of the result.
    fn size(self) -> [u32; 2] {
        let [high, wide] = self.count;
        [2 * high * self.side, self.subgroups / 2 * wide * self.side]
    }

    /// As [`Variant::tile`](super::Variant) has it.
    pub(super) fn tile(self) -> (usize, usize) {
        let [rows, columns] = self.size();
        (rows as usize, columns as usize)
    }

    /// Its name in `explain`.
    pub(super) fn describe(self) -> String {
        let ([rows, columns], [high, wide]) = (self.size(), self.count);
        let (side, depth) = (self.side, Self::DEPTH);
        let mark = if self.transposed { " transposed" } else { "" };
        format!("cooperative{side} {rows}x{columns}x{depth} of {high}x{wide}{mark}")
    }

    /// What `shared/cooperative.wgsl` wants to know of it.
    pub(super) fn context(self, layout: Layout) -> serde_json::Value {
        let [rows, columns] = self.size();
        let line = |along: bool, length: u32| {
            Self::line(if along || self.transposed {
                Self::DEPTH
            } else {
                length
            })
        };
        json!({
            "variant": "cooperative",
            "invocations": self.invocations(),
            "side": self.side,
            "subgroups": self.subgroups,
            "count": self.count,
            "lanes": self.lanes,
            "least": self.least,
            "surplus": self.least < self.lanes,
            "transposed": self.transposed,
            "depth": Self::DEPTH,
            "a_line": line(layout != Layout::Tn, rows),
            "b_line": line(layout == Layout::Nt, columns),
            "scratch": self.scratch(),
        })
    }

    fn invocations(self) -> u32 {
        self.subgroups * self.lanes
    }

    /// Elements of a line of a tile in workgroup memory that has `length` of the operand's: eight more keep lines apart in the banks, and aligned.
    fn line(length: u32) -> u32 {
        length + 8
    }

    /// f32 through which results leave the matrices: a block of each subgroup that there may be, or where that is more, four of each invocation.
    fn scratch(self) -> u32 {
        let blocks = self.invocations().div_ceil(self.least.max(1));
        (blocks * self.side * self.side).max(4 * self.invocations())
    }

    /// Bytes of workgroup memory, in the layout that needs most.
    fn bytes(self) -> u32 {
        let tile = |length: u32| {
            let (along, across) = (length * Self::line(Self::DEPTH), Self::line(length));
            2 * along.max(Self::DEPTH * across)
        };
        let [rows, columns] = self.size();
        tile(rows) + tile(columns) + 4 * self.scratch()
    }

    /// Whether a device can run it, and all of its invocations load as many elements.
    pub(crate) fn fits(self, caps: &Caps) -> bool {
        let invocations = self.invocations();
        let divides = |length: u32| {
            (length * Self::DEPTH / 4).is_multiple_of(invocations)
                && invocations.is_multiple_of(length / 4)
        };
        caps.f16
            && self.lanes > 0
            && invocations <= caps.invocations
            && self.bytes() <= caps.workgroup_bytes
            && self.size().into_iter().all(divides)
    }

    /// The same with the other way into workgroup memory, for a device whose subgroups may be twice as wide as they are: each of its paths, wherever it runs.
    #[must_use]
    pub fn other_way(self) -> Self {
        Self {
            lanes: 2 * self.lanes,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Those that a device with matrix units can run, the larger first.
    pub fn all(caps: &Caps) -> Vec<Self> {
        let of = |(subgroups, count)| Self {
            side: caps.matrix_units,
            subgroups,
            count,
            lanes: caps.subgroup_max_size,
            least: caps.subgroup_min_size,
            // RADV loads what lies across k by single elements otherwise; NVIDIA transposes on the way out of workgroup memory (ldmatrix).
            transposed: caps.vendor == AMD,
        };
        // Of four by two blocks a subgroup keeps 64 registers' worth of sums: four by four spill on NVIDIA (NAK, Mesa 26.2).
        let mut all: Vec<Self> = [(8, [4, 2]), (4, [2, 2])].map(of).to_vec();
        all.retain(|blocks| blocks.side > 0 && blocks.fits(caps));
        all
    }
}
