//! The bodies of a product.

use serde_json::json;

use super::{Blocks, Layout};
use crate::kernels::{Caps, merge};

/// Which body of the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// One subgroup a workgroup, operands handed round by broadcasts.
    Subgroup {
        /// Lanes that work; the device's subgroups must be at least as wide.
        lanes: u32,
        /// Rows a workgroup.
        rows: u32,
        /// vec4 of columns a lane.
        quads: u32,
    },
    /// 8 x 8 elements an invocation.
    Registers,
    /// Tiles in workgroup memory.
    Tiled(Tile),
    /// The same as blocks for the device's matrix units: operands rounded to f16, sums in f32.
    Cooperative(Blocks),
}

/// The shape of a tiled product's workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Invocations along each side.
    pub threads: u32,
    /// Blocks of four rows an invocation.
    pub row_quads: u32,
    /// Blocks of four columns an invocation.
    pub quads: u32,
    /// k that are in workgroup memory at once.
    pub depth: u32,
    /// Whether operands that lie along k are transposed on the way into workgroup memory: fewer registers, more stores.
    pub transposed: bool,
    /// Whether the next block is loaded into registers before this one is multiplied.
    pub ahead: bool,
}

impl Tile {
    const fn new(threads: u32, [row_quads, quads]: [u32; 2], depth: u32) -> Self {
        Self {
            threads,
            row_quads,
            quads,
            depth,
            transposed: false,
            ahead: false,
        }
    }

    /// 128 x 128 by 256 invocations of 8 x 8: the least traffic, for products that fill a device even so.
    pub(crate) const LARGE: Self = Self::new(16, [2, 2], 8);
    /// 128 x 64 by 256 of 8 x 4.
    pub(crate) const TALL: Self = Self::new(16, [2, 1], 16);
    /// 64 x 64 by 64 of 8 x 8: as much work a load from workgroup memory as the largest.
    pub(crate) const MEDIUM: Self = Self::new(8, [2, 2], 8);
    /// 64 x 32 by 64 of 8 x 4.
    pub(crate) const LOW: Self = Self::new(8, [2, 1], 16);
    /// 32 x 32 by 64 of 4 x 4: many workgroups from a small product.
    pub(crate) const SMALL: Self = Self::new(8, [1, 1], 16);
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::LARGE,
        Self::TALL,
        Self::MEDIUM,
        Self::LOW,
        Self::SMALL,
    ];

    /// The same tile with operands transposed on the way into workgroup memory.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self {
            transposed: true,
            ..self
        }
    }

    /// The same tile with the next block loaded ahead.
    #[must_use]
    pub const fn ahead(self) -> Self {
        Self {
            ahead: true,
            ..self
        }
    }

    pub(super) fn size(self) -> (usize, usize) {
        let side = |quads: u32| (4 * self.threads * quads) as usize;
        (side(self.row_quads), side(self.quads))
    }

    /// Bytes of workgroup memory, in the layout that needs most.
    fn bytes(self) -> u32 {
        let (rows, columns) = self.size();
        let side = (rows + columns) as u32;
        // Along k, a line has one vec4 of padding; across, only where it was transposed.
        16 * if self.transposed {
            self.depth * (side / 4 + 2)
        } else {
            side * (self.depth / 4 + 1)
        }
    }

    pub(super) fn fits(self, caps: &Caps) -> bool {
        self.threads * self.threads <= caps.invocations && self.bytes() <= caps.workgroup_bytes
    }
}

impl Variant {
    fn size(self) -> (usize, usize) {
        match self {
            Self::Subgroup { lanes, rows, quads } => (rows as usize, (4 * lanes * quads) as usize),
            Self::Registers => (64, 64),
            Self::Tiled(tile) => tile.size(),
            Self::Cooperative(blocks) => blocks.tile(),
        }
    }

    /// Whether its source uses subgroup operations.
    pub(crate) fn is_subgroup(self) -> bool {
        matches!(self, Self::Subgroup { .. } | Self::Cooperative(_))
    }

    /// Whether its operands are rounded to f16, for matrix units.
    pub(crate) fn is_cooperative(self) -> bool {
        matches!(self, Self::Cooperative(_))
    }

    /// Whether it may stand in for `other`: where that does not round its operands, this one must not.
    pub(crate) fn may_replace(self, other: Self) -> bool {
        self != other && (other.is_cooperative() || !self.is_cooperative())
    }

    /// Its name in `explain`.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Subgroup { lanes, rows, quads } => {
                format!("subgroup{lanes} {rows}x{}", 4 * quads)
            }
            Self::Registers => "registers 8x8".to_owned(),
            Self::Tiled(tile) => {
                let (rows, columns) = tile.size();
                let marks = [(tile.transposed, " transposed"), (tile.ahead, " ahead")];
                let marks: String = marks.iter().filter(|m| m.0).map(|m| m.1).collect();
                format!(
                    "tiled {rows}x{columns}x{} of {}x{}{marks}",
                    tile.depth,
                    4 * tile.row_quads,
                    4 * tile.quads
                )
            }
            Self::Cooperative(blocks) => blocks.describe(),
        }
    }

    /// Rows and columns of a workgroup.
    pub(crate) fn tile(self) -> (usize, usize) {
        self.size()
    }

    /// What `shared/product.wgsl` wants to know of it, for sums (or segments of them) of `k` terms.
    pub(crate) fn context(self, layout: Layout, k: usize) -> serde_json::Value {
        let (rows, columns) = self.size();
        let mut context = json!({
            "layout": layout.name(),
            // Its operands go through workgroup memory by whole blocks of k.
            "tiles": matches!(self, Self::Tiled(_) | Self::Cooperative(_)),
            "height": rows,
            "width": columns,
        });
        let (own, depth) = match self {
            Self::Subgroup { lanes, rows, quads } => (
                json!({"variant": "subgroup", "lanes": lanes, "rows": rows, "quads": quads}),
                4,
            ),
            Self::Registers => (
                json!({"variant": "registers", "lanes": 1, "rows": 8, "quads": 2}),
                4,
            ),
            Self::Tiled(tile) => (
                json!({
                    "variant": "tiled",
                    "invocations": tile.threads * tile.threads,
                    "threads": tile.threads,
                    "row_quads": tile.row_quads,
                    "quads": tile.quads,
                    "depth": tile.depth,
                    "transposed": tile.transposed,
                    "ahead": tile.ahead,
                }),
                tile.depth,
            ),
            Self::Cooperative(blocks) => (blocks.context(layout), Blocks::DEPTH),
        };
        merge(&mut context, own);
        // Whole blocks need no guard; what is left over after them does.
        let tail = !k.is_multiple_of(depth as usize);
        let guarded = tail || context["tiles"] == true;
        merge(&mut context, json!({"tail": tail, "guard_k": guarded}));
        context
    }
}
