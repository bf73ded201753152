//! Scaled dot-product attention of several heads, and its gradient: `shaders/attention.wgsl`.
//!
//! Scores of queries and keys are made a few at a time and used at once, by a running softmax (as in FlashAttention): the matrix of all
//! of them is never in memory.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::{Caps, Kernel};
//! use wgen::kernels::attention::{Attention, Mode, Sizes};
//! use wgen::tensor::Data;
//!
//! let sizes = Sizes { batch: 1, queries: 1, keys: 2, heads: 1, size: 2 };
//! // A query that fits both keys equally well gets the mean of their values.
//! let (query, keys, values) = (vec![1.0, 0.0], vec![3.0, 1.0, 3.0, -1.0], vec![0.0, 2.0, 4.0, 6.0]);
//! let mut buffers = [query, keys, values, vec![0.0; 2]].map(Data::F64);
//! Attention::new(&Caps::portable(), sizes, Mode::Forward).reference(&mut buffers);
//! assert_eq!(buffers[3], Data::F64(vec![2.0, 4.0]));
//!
//! // Memory traffic is queries, keys, values and results, 4 bytes each: it grows with the rows, not with queries times keys.
//! let large = Sizes { queries: 4096, keys: 4096, heads: 8, size: 32, ..sizes };
//! assert_eq!(Attention::new(&Caps::portable(), large, Mode::Forward).cost().bytes, 4.0 * 4.0 * (4096 * 8 * 32) as f64);
//! ```

use serde_json::json;

use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// What is computed; the shader's header has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The value.
    Forward,
    /// Logarithms of the sums that the softmax divides by: what the gradients need of it.
    LogSums,
    /// The gradient by queries.
    ByQuery,
    /// By keys.
    ByKey,
    /// By values.
    ByValue,
}

impl Mode {
    /// Names of the operands that are rows of channels, and of those that are a number a query, in the order of the bindings.
    pub fn operands(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Forward => (&["query", "key", "value"], &[]),
            Self::LogSums => (&["query", "key"], &[]),
            Self::ByQuery | Self::ByKey => (
                &["query", "key", "value", "upstream"],
                &["log_sums", "dots"],
            ),
            Self::ByValue => (&["query", "key", "upstream"], &["log_sums"]),
        }
    }

    /// Whether an invocation owns rows of the queries' side.
    fn owns_queries(self) -> bool {
        matches!(self, Self::Forward | Self::LogSums | Self::ByQuery)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::LogSums => "log_sums",
            Self::ByQuery => "by_query",
            Self::ByKey => "by_key",
            Self::ByValue => "by_value",
        }
    }
}

/// Queries `[batch, queries, heads, size]`; keys and values `[batch, keys, heads, size]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Queries of one.
    pub queries: usize,
    /// Keys of one.
    pub keys: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub size: usize,
}

/// The largest head: 64 lanes of two vec4 each sum its results.
pub(crate) const LARGEST_HEAD: usize = 512;

/// vec4 of workgroup memory an invocation: 16 KiB for 128 of them, which every device has, and half for 64, so that several workgroups find room.
const SHARED: usize = 8;

/// Lanes that share four rows of heads of `size` channels: as many as leave each with two vec4 of every result at most, so that the results
/// are 32 registers.
fn lanes(size: usize) -> usize {
    size.div_ceil(8).next_power_of_two().max(4)
}

impl Sizes {
    /// Refuses what the kernel cannot hold.
    ///
    /// # Errors
    /// When a head has more channels than a workgroup has registers for, or there is nothing to attend to.
    pub fn check(&self) -> Result<()> {
        if self.size > LARGEST_HEAD {
            return Err(Error::Limit {
                what: format!("an attention head of {} channels", self.size),
                needed: self.size as u64,
                limit_name: "channels of a head that a workgroup's registers hold",
                limit: LARGEST_HEAD as u64,
                hint: "use more heads of fewer channels".to_owned(),
            });
        }
        if [self.batch, self.queries, self.keys, self.heads, self.size].contains(&0) {
            return Err(Error::shape(
                "attention",
                format!("{self:?} has a size of 0"),
            ));
        }
        Ok(())
    }

    /// Elements of the queries.
    pub(crate) fn query_count(&self) -> usize {
        self.batch * self.queries * self.heads * self.size
    }

    /// Elements of the keys.
    pub(crate) fn key_count(&self) -> usize {
        self.batch * self.keys * self.heads * self.size
    }
}

/// Attention, or one of the kernels of its gradient.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Sizes.
    pub sizes: Sizes,
    /// What is computed.
    pub mode: Mode,
    /// Rows of the other side of which a lane makes the weights, in each tile.
    pub each: usize,
    /// vec4 of the other side's rows that go through workgroup memory at once; 0 where each lane reads them for itself.
    pub staged: usize,
}

impl Attention {
    /// In the variant that `caps` suggests.
    ///
    /// On a software adapter lanes run one after the other: what neighbours read costs no less, and workgroup memory is memory like any other. Loads are
    /// what counts there, of which eight others a lane need fewer than four (figures in `docs/results.md`).
    pub fn new(caps: &Caps, sizes: Sizes, mode: Mode) -> Self {
        let mut kernel = Self {
            sizes,
            mode,
            each: match lanes(sizes.size) {
                0..=16 if caps.software => 8,
                0..=8 => 4,
                9..=32 => 2,
                _ => 1,
            },
            staged: 0,
        };
        if !caps.software {
            let (own, tile) = (kernel.groups(), kernel.tile());
            let invocations = own * kernel.lanes();
            let taken = invocations + own * (tile + 1);
            let room = (SHARED * invocations - taken) / tile;
            let fits = [8, 4, 2].into_iter().find(|quads| quads < &room);
            kernel.staged = fits.unwrap_or(0);
        }
        kernel
    }

    /// Lanes that share four own rows.
    pub fn lanes(&self) -> usize {
        lanes(self.sizes.size)
    }

    /// Blocks of four own rows a workgroup.
    fn groups(&self) -> usize {
        match self.lanes() {
            few if few <= 8 => 64 / few,
            many => 128 / many,
        }
    }

    /// Rows of the other side that are gone over at a time.
    fn tile(&self) -> usize {
        self.lanes() * self.each
    }

    /// The operands whose rows are multiplied with each other, own ones first: for the scores, and for the upstream gradient along the values.
    fn pairs(&self) -> Vec<[&'static str; 2]> {
        match self.mode {
            Mode::Forward | Mode::LogSums => vec![["query", "key"]],
            Mode::ByQuery => vec![["query", "key"], ["upstream", "value"]],
            Mode::ByKey => vec![["key", "query"], ["value", "upstream"]],
            Mode::ByValue => vec![["key", "query"]],
        }
    }

    /// The operand of the other side whose rows, weighted, are added up.
    fn summed(&self) -> Option<&'static str> {
        match self.mode {
            Mode::Forward => Some("value"),
            Mode::LogSums => None,
            Mode::ByQuery => Some("key"),
            Mode::ByKey => Some("query"),
            Mode::ByValue => Some("upstream"),
        }
    }

    /// Own rows of a head, and rows of the other side.
    fn sides(&self) -> (usize, usize) {
        let s = &self.sizes;
        if self.mode.owns_queries() {
            (s.queries, s.keys)
        } else {
            (s.keys, s.queries)
        }
    }

    /// Whether rows are read and written four elements at a time.
    fn is_vector(&self) -> bool {
        self.sizes.size.is_multiple_of(4)
    }

    /// What products of queries and keys are multiplied by.
    pub fn scale(&self) -> f32 {
        (1.0 / (self.sizes.size as f64).sqrt()) as f32
    }

    /// Flops a pair of rows and channel.
    fn flops(&self) -> usize {
        match self.mode {
            Mode::LogSums => 2,
            Mode::Forward | Mode::ByValue => 4,
            Mode::ByQuery | Mode::ByKey => 6,
        }
    }
}

impl Kernel for Attention {
    fn family(&self) -> &'static str {
        "attention"
    }

    fn variant(&self) -> String {
        format!(
            "{} {} channels, {} lanes, {} at a time{}",
            self.mode.name(),
            self.sizes.size,
            self.lanes(),
            self.tile(),
            if self.staged > 0 { " +staged" } else { "" }
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let s = &self.sizes;
        let (vectors, numbers) = self.mode.operands();
        let rows = s.batch * s.queries * s.heads;
        let count = |name: &str| match name {
            "query" | "upstream" => s.query_count(),
            _ => s.key_count(),
        };
        let mut bindings: Vec<Binding> = vectors
            .iter()
            .map(|&name| {
                Binding::read(name, DType::F32, count(name))
                    .vector(self.is_vector())
                    .or_half()
            })
            .collect();
        bindings.extend(
            numbers
                .iter()
                .map(|&name| Binding::read(name, DType::F32, rows)),
        );
        let result = match self.mode {
            Mode::LogSums => rows,
            Mode::Forward | Mode::ByQuery => s.query_count(),
            Mode::ByKey | Mode::ByValue => s.key_count(),
        };
        let vector = self.is_vector() && self.mode != Mode::LogSums;
        let out = Binding::write("out", DType::F32, result).vector(vector);
        // Logarithms of sums go into exponentials again, where an error in them is one of the whole row.
        bindings.push(match self.mode {
            Mode::LogSums => out,
            _ => out.or_half(),
        });
        bindings
    }

    fn launch(&self) -> Launch {
        let s = &self.sizes;
        let (own, others) = self.sides();
        // Where rows of the other side are shared, a workgroup's own rows are of one head.
        let blocks = match self.staged {
            0 => own.div_ceil(4),
            _ => own.div_ceil(4).next_multiple_of(self.groups()),
        };
        let units = s.batch * s.heads * blocks;
        let words = [units, s.heads, blocks, own, others, 0];
        let mut params: Vec<u32> = words.iter().map(|&w| w as u32).collect();
        params.push(self.scale().to_bits());
        params.extend([s.size.div_ceil(4) as u32, self.lanes() as u32]);
        Launch {
            template: "attention",
            entry: "attention",
            context: json!({
                "mode": self.mode.name(),
                "owns_queries": self.mode.owns_queries(),
                "size": s.size,
                "lanes": self.lanes(),
                "groups": self.groups(),
                "each": self.each,
                "tile": self.tile(),
                "sums": s.size.div_ceil(4 * self.lanes()),
                "staged": self.staged,
                "flops": self.flops(),
                "vectors": self.mode.operands().0,
                "pairs": self.pairs(),
                "summed": self.summed(),
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: Vec::new(),
            params,
            workgroups: fold(units.div_ceil(self.groups()) as u64),
            grid: Grid::Line { first: 5 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let s = &self.sizes;
        let pairs = (s.batch * s.heads * s.queries * s.keys) as f64;
        Cost {
            flops: pairs * (self.flops() * s.size + 10) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
