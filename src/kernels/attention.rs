//! Scaled dot-product attention of several heads, and its gradient: `shaders/attention.wgsl`.
//!
//! Scores of queries and keys are made a few at a time and used at once, by a running softmax (as in FlashAttention): the matrix of all
//! of them is never in memory.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Kernel;
//! use wgen::kernels::attention::{Attention, Mode, Sizes};
//! use wgen::tensor::Data;
//!
//! let sizes = Sizes { batch: 1, queries: 1, keys: 2, heads: 1, size: 2 };
//! // A query that fits both keys equally well gets the mean of their values.
//! let (query, keys, values) = (vec![1.0, 0.0], vec![3.0, 1.0, 3.0, -1.0], vec![0.0, 2.0, 4.0, 6.0]);
//! let mut buffers = [query, keys, values, vec![0.0; 2]].map(Data::F64);
//! Attention::new(sizes, Mode::Forward).reference(&mut buffers);
//! assert_eq!(buffers[3], Data::F64(vec![2.0, 4.0]));
//!
//! // Memory traffic is queries, keys, values and results, 4 bytes each: it grows with the rows, not with queries times keys.
//! let large = Sizes { queries: 4096, keys: 4096, heads: 8, size: 32, ..sizes };
//! assert_eq!(Attention::new(large, Mode::Forward).cost().bytes, 4.0 * 4.0 * (4096 * 8 * 32) as f64);
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
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

/// The largest head: its rows of queries, upstream gradients and results, three times this many floats, are an invocation's registers.
pub(crate) const LARGEST_HEAD: usize = 256;

impl Sizes {
    /// Refuses what the kernel cannot hold.
    ///
    /// # Errors
    /// When a head has more channels than an invocation has registers for, or there is nothing to attend to.
    pub fn check(&self) -> Result<()> {
        if self.size > LARGEST_HEAD {
            return Err(Error::Limit {
                what: format!("an attention head of {} channels", self.size),
                needed: self.size as u64,
                limit_name: "channels of a head that an invocation's registers hold",
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
    /// Rows that an invocation owns.
    pub rows: usize,
    /// Rows of the other side that it takes at a time.
    pub tile: usize,
}

impl Attention {
    /// With as many rows in registers as they hold.
    pub fn new(sizes: Sizes, mode: Mode) -> Self {
        let rows = match sizes.size {
            0..=16 => 4,
            17..=32 => 2,
            _ => 1,
        };
        let tile = if sizes.size <= 64 { 4 } else { 1 };
        Self {
            sizes,
            mode,
            rows,
            tile,
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
            "{} {} channels, {} rows by {}",
            self.mode.name(),
            self.sizes.size,
            self.rows,
            self.tile
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
            .map(|&name| Binding::read(name, DType::F32, count(name)).vector(self.is_vector()))
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
        bindings.push(Binding::write("out", DType::F32, result).vector(vector));
        bindings
    }

    fn launch(&self) -> Launch {
        let s = &self.sizes;
        let (own, others) = self.sides();
        let blocks = own.div_ceil(self.rows);
        let units = s.batch * s.heads * blocks;
        let words = [units, s.heads, blocks, own, others, 0];
        let mut params: Vec<u32> = words.iter().map(|&w| w as u32).collect();
        params.push(self.scale().to_bits());
        let (vectors, _) = self.mode.operands();
        let (own_score, other_score) = if self.mode.owns_queries() {
            ("query", "key")
        } else {
            ("key", "query")
        };
        // Whose rows are kept, and whose are gone over: scores of own and other rows, and what else the mode takes.
        let owned: &[&str] = match self.mode {
            Mode::Forward | Mode::LogSums => &["query"],
            Mode::ByQuery => &["query", "upstream"],
            Mode::ByKey => &["key", "value"],
            Mode::ByValue => &["key"],
        };
        let gone_over: Vec<&str> = vectors
            .iter()
            .copied()
            .filter(|name| !owned.contains(name))
            .collect();
        Launch {
            template: "attention",
            entry: "attention",
            context: json!({
                "mode": self.mode.name(),
                "size": s.size,
                "quads": s.size.div_ceil(4),
                "rows": self.rows,
                "tile": self.tile,
                "flops": self.flops(),
                "vectors": vectors,
                "owned": owned,
                "others": gone_over,
                "own_score": own_score,
                "other_score": other_score,
                "scaled": own_score,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(units.div_ceil(64) as u64),
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
