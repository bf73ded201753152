//! Matrix products, batched, in three layouts, with an element-wise epilogue: `shaders/matmul.wgsl`.
//!
//! The layout says whether an operand is transposed where it lies; the epilogue is what becomes of a finished element before it is stored,
//! such as a bias and an activation.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::matmul::{Layout, Matmul};
//! use wgen::kernels::{Caps, Kernel};
//! use wgen::tensor::Data;
//!
//! // Layout nt is the linear layer x W^T: x [1, 2], W [2, 2] with a row for each output.
//! let layer = |batch, outputs, inputs| Matmul::new(&Caps::portable(), Layout::Nt, 1, batch, outputs, inputs);
//! let mut buffers = [vec![1.0, 2.0], vec![1.0, 10.0, 100.0, 1000.0], vec![0.0; 2]].map(Data::F64);
//! layer(1, 2, 2)?.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F64(vec![21.0, 2100.0]));
//!
//! // A product of [m, k] and [k, n] takes 2 m n k flops.
//! assert_eq!(layer(128, 400, 784)?.cost().flops, 2.0 * 128.0 * 400.0 * 784.0);
//! # Ok::<(), wgen::Error>(())
//! ```

use serde_json::json;

use super::expression::{Columns, Expression, Width};
use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, check_grid};
use crate::error::Result;
use crate::tensor::DType;

/// How the operands of a product lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A: [m, k], B: [k, n].
    Nn,
    /// A: [m, k], B: [n, k]: x W^T of a linear layer.
    Nt,
    /// A: [k, m], B: [k, n]: the gradient of that layer's weight.
    Tn,
}

impl Layout {
    /// The name in templates and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nn => "nn",
            Self::Nt => "nt",
            Self::Tn => "tn",
        }
    }
}

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

/// Workgroups of a product whose sums are cut into parts: a few for each core of a large device (an H100 has 132).
const WORKGROUPS: usize = 512;

/// Terms that a part should have at least: fewer cost as much to add up again.
const SHORTEST_PART: usize = 64;

/// Workgroups that keep a large device busy: a guess until one was measured on.
const ENOUGH_WORKGROUPS: usize = 128;

/// `C = finish(A B)`.
#[derive(Clone, Debug)]
pub struct Matmul {
    /// How the operands lie.
    pub layout: Layout,
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Matrices in the batch.
    pub batch: usize,
    /// Whether A has a matrix for each of the batch, or one for all.
    pub a_batched: bool,
    /// Likewise B.
    pub b_batched: bool,
    /// What becomes of a finished element; its domain is `[batch, m, n]`.
    pub epilogue: Expression,
    /// Adds to what the results hold instead of replacing it.
    pub accumulate: bool,
    /// Also writes the sums over k of A's columns, `[batch, m]`; layout tn only.
    pub row_sums: bool,
    /// The body.
    pub variant: Variant,
}

impl Matmul {
    /// A product with nothing fused, in the variant that `caps` suggests.
    ///
    /// # Errors
    /// When the grid is over the limit of workgroups.
    pub fn new(
        caps: &Caps,
        layout: Layout,
        batch: usize,
        m: usize,
        n: usize,
        k: usize,
    ) -> Result<Self> {
        let variant = Variant::candidates(caps, [m, n, k], layout)[0];
        let kernel = Self {
            layout,
            m,
            n,
            k,
            batch,
            a_batched: true,
            b_batched: true,
            epilogue: Expression::accumulator(),
            accumulate: false,
            row_sums: false,
            variant,
        };
        check_grid("matmul", kernel.workgroups())?;
        Ok(kernel)
    }

    /// Into how many products, each of as many terms, the sums over k should be cut: 1 where the result's tiles fill the device, or k is short. Of a
    /// single product in layout tn alone, whose operands then are a batch as they lie.
    pub(crate) fn wanted_parts(&self, caps: &Caps) -> usize {
        if caps.software || self.layout != Layout::Tn || self.batch > 1 {
            return 1;
        }
        let workgroups: u32 = self.workgroups().iter().product();
        let most = (WORKGROUPS / workgroups.max(1) as usize).min(self.k / SHORTEST_PART);
        (1..=most)
            .rev()
            .find(|&parts| self.k.is_multiple_of(parts))
            .unwrap_or(1)
    }

    /// Elements of A, B and C.
    pub fn counts(&self) -> (usize, usize, usize) {
        let of = |batched: bool| if batched { self.batch } else { 1 };
        (
            of(self.a_batched) * self.m * self.k,
            of(self.b_batched) * self.k * self.n,
            self.batch * self.m * self.n,
        )
    }

    fn workgroups(&self) -> [u32; 3] {
        let (rows, columns) = self.variant.tile();
        [
            self.n.div_ceil(columns) as u32,
            self.m.div_ceil(rows) as u32,
            self.batch as u32,
        ]
    }

    fn vectors(&self) -> (bool, bool, bool) {
        let a = if self.layout == Layout::Tn {
            self.m
        } else {
            self.k
        };
        let b = if self.layout == Layout::Nt {
            self.k
        } else {
            self.n
        };
        (
            a.is_multiple_of(4),
            b.is_multiple_of(4),
            self.n.is_multiple_of(4),
        )
    }

    /// What an element of the epilogue is.
    fn width(&self) -> Width {
        if self.vectors().2 {
            Width::Four
        } else {
            Width::One
        }
    }
}

impl Kernel for Matmul {
    fn family(&self) -> &'static str {
        "matmul"
    }

    fn variant(&self) -> String {
        let (_, _, vector) = self.vectors();
        let body = self.variant.describe();
        let marks = [
            (vector, "vec4"),
            (self.accumulate, "accumulate"),
            (self.row_sums, "row_sums"),
            (self.epilogue.terms.len() > 1, "epilogue"),
        ];
        let marks: String = marks
            .iter()
            .filter(|m| m.0)
            .map(|m| format!(" +{}", m.1))
            .collect();
        format!("{} {body}{marks}", self.layout.name())
    }

    fn bindings(&self) -> Vec<Binding> {
        let (a, b, c) = self.counts();
        let (a_vector, b_vector, vector) = self.vectors();
        let mut bindings = vec![
            Binding::read("a", DType::F32, a).vector(a_vector).or_half(),
            Binding::read("b", DType::F32, b).vector(b_vector).or_half(),
        ];
        bindings.extend(self.epilogue.read_bindings("e", self.width()));
        bindings.extend(self.epilogue.state_binding());
        for i in 0..self.epilogue.results.len() {
            let name = format!("out{i}");
            let binding = if self.accumulate {
                Binding::read_write(name, DType::F32, c)
            } else {
                Binding::write(name, DType::F32, c)
            };
            bindings.push(binding.vector(vector).or_half());
        }
        if self.row_sums && self.accumulate {
            bindings.push(Binding::read_write(
                "row_sums",
                DType::F32,
                self.batch * self.m,
            ));
        } else if self.row_sums {
            bindings.push(Binding::write("row_sums", DType::F32, self.batch * self.m));
        }
        bindings
    }

    fn launch(&self) -> Launch {
        let (a_vector, b_vector, vector) = self.vectors();
        let columns = Columns {
            row: self.n,
            count: self.counts().2,
        };
        let mut context = self.epilogue.context("e", self.width(), 0, Some(columns));
        let more = json!({
                "entry": "matmul",
                "segmented": false,
                "vector": vector,
                "a_vector": a_vector,
                "b_vector": b_vector,
                "accumulate": self.accumulate,
                "row_sums": self.row_sums,
                "bindings": super::wgsl_bindings(&self.bindings()),
        });
        super::merge(&mut context, more);
        let body = self.variant.context(self.layout, self.k.is_multiple_of(4));
        super::merge(&mut context, body);
        let stride = |batched: bool, count: usize| if batched { count as u32 } else { 0 };
        let mut params = vec![
            self.m as u32,
            self.n as u32,
            self.k as u32,
            stride(self.a_batched, self.m * self.k),
            stride(self.b_batched, self.k * self.n),
            0,
            0,
            0,
        ];
        params.extend(self.epilogue.group_words());
        Launch {
            template: "matmul",
            entry: "matmul",
            context,
            constants: Vec::new(),
            params: super::pad_groups(params, 8),
            workgroups: self.workgroups(),
            grid: Grid::Box {
                first_y: 5,
                first_z: 6,
            },
            subgroups: self.variant.is_subgroup(),
        }
    }

    fn cost(&self) -> Cost {
        let (_, _, c) = self.counts();
        Cost {
            flops: 2.0 * c as f64 * self.k as f64 + c as f64 * self.epilogue.flops(),
            bytes: bytes_of(&self.bindings()),
        }
    }
}
