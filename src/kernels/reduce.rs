//! Reductions along an axis (sum, extremes, argmax, log-sum-exp), with an element-wise expression before and after:
//! `shaders/reduce.wgsl`.
//!
//! A few long sums would keep few invocations busy. They are cut into chunks, and a second dispatch combines the partial results.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Caps;
//! use wgen::kernels::reduce::{Combine, Reduce};
//! use wgen::tensor::Data;
//!
//! // The sums of the rows of [2, 3], seen as [outer, length, inner] = [2, 3, 1].
//! let mut buffers = [vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![0.0; 2]].map(Data::F64);
//! Reduce::new(&Caps::portable(), Combine::Sum, 2, 3, 1).reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F64(vec![6.0, 15.0]));
//!
//! // One sum of a million elements, in two dispatches.
//! let (caps, length) = (Caps::portable(), 1 << 20);
//! let chunks = Reduce::split(&caps, Combine::Sum, 1, length, 1);
//! let (first, second) = Reduce::new(&caps, Combine::Sum, 1, length, 1).in_two(&caps, chunks);
//! assert_eq!((first.results(), second.length, second.results()), (chunks, chunks, 1));
//! ```

use serde_json::json;

use super::expression::{Expression, Width};
use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    /// The sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Where the largest stands first, as u32.
    Argmax,
    /// ln of the sum of exponentials.
    LogSumExp,
}

impl Combine {
    /// The name in templates and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::Argmax => "argmax",
            Self::LogSumExp => "log_sum_exp",
        }
    }
}

/// One dispatch of a reduction over `[outer, length, inner]` along `length`.
#[derive(Clone, Debug)]
pub struct Reduce {
    /// How elements are combined.
    pub combine: Combine,
    /// Sizes of the domain.
    pub outer: usize,
    /// Elements of one reduction.
    pub length: usize,
    /// Results that lie next to each other.
    pub inner: usize,
    /// The number of chunks that `length` is cut into; results are `[chunks, outer, inner]`.
    pub chunks: usize,
    /// The value that is reduced, over the domain.
    pub prologue: Expression,
    /// What becomes of a result, over `[chunks, outer, inner]`.
    pub epilogue: Expression,
    /// One workgroup a result instead of one invocation.
    pub cooperative: bool,
    /// Invocations a workgroup.
    pub workgroup: u32,
    /// Where the first result goes: 0 but in a piece of a larger reduction, whose chunks before wrote theirs.
    pub first: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Columns,
    Rows,
    Elements,
}

impl Reduce {
    /// A reduction in one dispatch, nothing fused.
    pub fn new(caps: &Caps, combine: Combine, outer: usize, length: usize, inner: usize) -> Self {
        Self {
            combine,
            outer,
            length,
            inner,
            chunks: 1,
            prologue: Expression::operand(outer * length * inner),
            epilogue: Expression::accumulator(),
            cooperative: !caps.software && inner == 1 && length >= 512,
            workgroup: if caps.software { 8 } else { 64 },
            first: 0,
        }
    }

    /// Into how many chunks a reduction of this shape should be cut: 1 where its results already fill the device.
    pub fn split(
        caps: &Caps,
        combine: Combine,
        outer: usize,
        length: usize,
        inner: usize,
    ) -> usize {
        let results = outer * inner;
        let wanted = if caps.software { 256 } else { 8192 };
        // A second dispatch costs more than a short serial loop saves. Argmax has pairs, which do not combine twice.
        if combine == Combine::Argmax
            || results == 0
            || results * length < 1 << 15
            || results * 4 > wanted
        {
            return 1;
        }
        wanted.div_ceil(results).min(length / 64).max(1)
    }

    /// Two dispatches for what would be one: partial results of `chunks` chunks, and their combination with the epilogue.
    pub fn in_two(self, caps: &Caps, chunks: usize) -> (Self, Self) {
        let results = self.outer * self.inner;
        let second = Self {
            epilogue: self.epilogue.clone(),
            ..Self::new(caps, self.combine, 1, chunks, results)
        };
        let first = Self {
            chunks,
            epilogue: Expression::accumulator(),
            ..self
        };
        (first, second)
    }

    /// r of one chunk: a multiple of four, so that chunks stay aligned.
    pub fn chunk(&self) -> usize {
        self.length.div_ceil(self.chunks).next_multiple_of(4)
    }

    /// Results of this dispatch.
    pub fn results(&self) -> usize {
        self.chunks * self.outer * self.inner
    }

    fn mode(&self) -> Mode {
        if self.inner.is_multiple_of(4) {
            Mode::Columns
        } else if self.inner == 1 && self.length.is_multiple_of(4) {
            Mode::Rows
        } else {
            Mode::Elements
        }
    }

    /// The mode's name, and what an element is before and after the sum.
    fn widths(&self) -> (&'static str, Width, Width) {
        match self.mode() {
            Mode::Columns => ("columns", Width::Four, Width::Four),
            Mode::Rows => ("rows", Width::Four, Width::Splat),
            Mode::Elements => ("elements", Width::One, Width::One),
        }
    }

    fn groups(&self) -> u64 {
        let units = (self.results() / if self.mode() == Mode::Columns { 4 } else { 1 }) as u64;
        if self.cooperative {
            units
        } else {
            units.div_ceil(u64::from(self.workgroup))
        }
    }
}

impl Kernel for Reduce {
    fn family(&self) -> &'static str {
        "reduce"
    }

    fn variant(&self) -> String {
        let mode = match self.mode() {
            Mode::Columns => "columns vec4",
            Mode::Rows => "rows vec4",
            Mode::Elements => "elements",
        };
        let tree = if self.cooperative { " tree" } else { "" };
        let fused = [
            (&self.prologue, " +prologue"),
            (&self.epilogue, " +epilogue"),
        ];
        let fused: String = fused
            .iter()
            .filter(|f| f.0.terms.len() > 1)
            .map(|f| f.1)
            .collect();
        format!(
            "{} {mode}{tree} /{}{fused}",
            self.combine.name(),
            self.chunks
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let (_, body, end) = self.widths();
        let mut bindings = self.prologue.read_bindings("x", body);
        bindings.extend(self.epilogue.read_bindings("e", end));
        bindings.extend(
            self.prologue
                .state_binding()
                .or_else(|| self.epilogue.state_binding()),
        );
        let dtype = if self.combine == Combine::Argmax {
            DType::U32
        } else {
            DType::F32
        };
        let results = 0..self.epilogue.results.len();
        bindings.extend(results.map(|i| {
            let (name, count) = (format!("out{i}"), self.first + self.results());
            let binding = if self.first > 0 {
                Binding::read_write(name, dtype, count)
            } else {
                Binding::write(name, dtype, count)
            };
            // Never f16: many terms went into it. Indices are stored one by one.
            binding.vector(self.mode() == Mode::Columns && dtype == DType::F32)
        }));
        bindings
    }

    fn launch(&self) -> Launch {
        let mode = self.mode();
        let (name, body, end) = self.widths();
        let value = self.prologue.context("x", body, 0, None);
        let first_group = value["groups"].as_u64().unwrap_or(0) as usize;
        let mut context = self.epilogue.context("e", end, first_group, None);
        let both = |field: &str| {
            let list = |c: &serde_json::Value| c[field].as_array().cloned().unwrap_or_default();
            [list(&value), list(&context)].concat()
        };
        let any = |field: &str| value[field] == true || context[field] == true;
        let mut more = json!({
            "kind": self.combine.name(),
            "mode": name,
            "cooperative": self.cooperative,
            "accumulate": false,
            "functions": both("functions"),
            "random": any("random"),
            "by_step": any("by_step"),
            "by_example": any("by_example"),
            "bindings": super::wgsl_bindings(&self.bindings()),
            "operands": both("operands"),
            "value": value,
        });
        if self.combine == Combine::Argmax {
            // Indices are stored by `write`; `finish` has nothing to do.
            super::merge(&mut more, json!({"lines": [], "results": []}));
        }
        super::merge(&mut context, more);
        let per_unit = if mode == Mode::Columns { 4 } else { 1 };
        let mut params = vec![
            (self.results() / per_unit) as u32,
            (self.outer * self.inner / per_unit) as u32,
            self.length as u32,
            self.inner as u32,
            self.chunk() as u32,
            0,
            (self.first / per_unit) as u32,
            0,
        ];
        params.extend(self.prologue.group_words());
        params.extend(self.epilogue.group_words());
        Launch {
            template: "reduce",
            entry: "reduce",
            context,
            constants: vec![("WORKGROUP", f64::from(self.workgroup))],
            params: super::pad_groups(params, 8),
            workgroups: fold(self.groups()),
            grid: Grid::Line { first: 5 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let elements = (self.outer * self.length * self.inner) as f64;
        Cost {
            flops: elements * (1.0 + self.prologue.flops()),
            bytes: bytes_of(&self.bindings()),
        }
    }
}
