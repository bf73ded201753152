//! The bodies of a product, and which of them suit a device and a shape.

use serde_json::json;

use super::Layout;
use crate::kernels::Caps;

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
}

impl Tile {
    /// 128 x 128: the least traffic, for products that fill a device even so.
    pub(crate) const LARGE: Self = Self {
        threads: 16,
        row_quads: 2,
        quads: 2,
        depth: 8,
    };
    /// 128 x 64.
    pub(crate) const TALL: Self = Self {
        threads: 16,
        row_quads: 2,
        quads: 1,
        depth: 16,
    };
    /// 64 x 64.
    pub(crate) const MEDIUM: Self = Self {
        threads: 16,
        row_quads: 1,
        quads: 1,
        depth: 16,
    };
    /// 32 x 32: many workgroups from a small product.
    pub(crate) const SMALL: Self = Self {
        threads: 8,
        row_quads: 1,
        quads: 1,
        depth: 16,
    };
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LARGE, Self::TALL, Self::MEDIUM, Self::SMALL];

    fn size(self) -> (usize, usize) {
        let side = |quads: u32| (4 * self.threads * quads) as usize;
        (side(self.row_quads), side(self.quads))
    }

    /// Bytes of workgroup memory, in the layout that needs most.
    fn bytes(self) -> u32 {
        let lines = |side: usize| {
            let (side, depth) = (side as u32, self.depth);
            16 * (side * (depth / 4 + 1)).max(depth * (side / 4 + 1))
        };
        let (rows, columns) = self.size();
        lines(rows) + lines(columns)
    }

    fn fits(self, caps: &Caps) -> bool {
        self.threads * self.threads <= caps.invocations && self.bytes() <= caps.workgroup_bytes
    }
}

impl Variant {
    /// The variants that can run on `caps`, the one to take first.
    ///
    /// On a software adapter subgroup broadcasts come first, then registers: workgroup memory is no faster there than any other, and
    /// a barrier costs a pass over all lanes (figures in `docs/results.md`, from `cargo bench`). Elsewhere tiles come first.
    pub fn candidates(caps: &Caps, [m, n, k]: [usize; 3], layout: Layout) -> Vec<Self> {
        let mut variants = Vec::new();
        if caps.subgroup_min_size >= 4 {
            let lanes = if caps.subgroup_min_size >= 8 { 8 } else { 4 };
            // Long sums in layout tn are read down both operands: the taller tile reads less.
            let rows = if layout == Layout::Tn && m >= 64 && k >= 256 {
                64
            } else if layout != Layout::Tn && caps.software && m * n * k < SMALL_PRODUCT {
                8
            } else if layout == Layout::Tn || m > 16 {
                32
            } else if m > 8 {
                16
            } else {
                8
            };
            // The wider tile wants enough columns to keep every core busy. Layout tn is a quarter slower with it.
            let wide = n >= 16 * lanes as usize && rows == 32 && layout != Layout::Tn;
            let quads = if wide { 2 } else { 1 };
            variants.push(Self::Subgroup { lanes, rows, quads });
        }
        let mut tiled: Vec<Self> = Tile::ALL
            .into_iter()
            .filter(|t| t.fits(caps))
            .map(Self::Tiled)
            .collect();
        if caps.software {
            variants.push(Self::Registers);
            variants.extend(tiled.into_iter().next_back());
            return variants;
        }
        // The largest tile that still makes workgroups enough for every core of a large device, then smaller ones, then the larger.
        let workgroups = |v: &Self| {
            let (rows, columns) = v.size();
            m.div_ceil(rows) * n.div_ceil(columns)
        };
        tiled.sort_by_key(|v| match workgroups(v) {
            enough if enough >= ENOUGH_WORKGROUPS => (0, enough),
            few => (1, usize::MAX - few),
        });
        variants.splice(0..0, tiled);
        variants.push(Self::Registers);
        variants
    }

    fn size(self) -> (usize, usize) {
        match self {
            Self::Subgroup { lanes, rows, quads } => (rows as usize, (4 * lanes * quads) as usize),
            Self::Registers => (64, 64),
            Self::Tiled(tile) => tile.size(),
        }
    }

    /// Whether its source uses subgroup operations.
    pub(crate) fn is_subgroup(self) -> bool {
        matches!(self, Self::Subgroup { .. })
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
                format!("tiled {rows}x{columns}x{}", tile.depth)
            }
        }
    }

    /// Rows and columns of a workgroup.
    pub(crate) fn tile(self) -> (usize, usize) {
        self.size()
    }

    /// What `shared/product.wgsl` wants to know of it, for a product whose k are, or are not, a multiple of four.
    pub(crate) fn context(self, layout: Layout, k_aligned: bool) -> serde_json::Value {
        let (variant, lanes, rows, quads) = match self {
            Self::Subgroup { lanes, rows, quads } => ("subgroup", lanes, rows, quads),
            Self::Registers => ("registers", 1, 8, 2),
            Self::Tiled(tile) => ("tiled", 1, 4 * tile.row_quads, tile.quads),
        };
        let tile = match self {
            Self::Tiled(tile) => tile,
            _ => Tile::MEDIUM,
        };
        json!({
            "layout": layout.name(),
            "variant": variant,
            "lanes": lanes,
            "rows": rows,
            "quads": quads,
            "threads": tile.threads,
            "row_quads": tile.row_quads,
            "depth": tile.depth,
            "guard_k": matches!(self, Self::Tiled(_)) || !k_aligned,
        })
    }
}

/// Below this many terms a product takes so little time that the compiler's counts for more: a tile of 8 rows is a quarter of the text.
const SMALL_PRODUCT: usize = 3 << 20;

/// Workgroups that keep a large device busy: a guess until one was measured on.
const ENOUGH_WORKGROUPS: usize = 128;
