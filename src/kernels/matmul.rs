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

mod blocks;
mod choice;
mod problem;
mod variant;

pub use blocks::Blocks;
pub(crate) use problem::{Problem, parts};
pub use variant::{Tile, Variant};

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

/// Terms that a part should have at least. On an H100 the two dispatches that add parts up again took 5.3 us each, and a term of a lone tile's sum 32 ns
/// (`benches/results/h100`, profiles of the VAE's step and of the U-Net's before): as long as 330 terms.
const SHORTEST_PART: usize = 256;

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
        let mut kernel = Self {
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
            variant: Variant::Registers,
        };
        kernel.variant = kernel.candidates(caps)[0];
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
        let most = parts(workgroups as usize, self.k / SHORTEST_PART);
        (1..=most)
            .rev()
            .find(|&parts| self.k.is_multiple_of(parts))
            .unwrap_or(1)
    }

    /// The bodies that can run on `caps`, the one to take first.
    pub fn candidates(&self, caps: &Caps) -> Vec<Variant> {
        let problem = Problem {
            matrices: self.batch,
            ..Problem::plain(self.layout, [self.m, self.n, self.k])
        };
        Variant::of(caps, &problem)
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
        let body = self.variant.context(self.layout, self.k);
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
