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
    /// Invocations of a workgroup share a result: all of them, or where neighbours in memory belong to different results, some.
    pub cooperative: bool,
    /// Fours of neighbouring results that one invocation makes; 1 where the invocations share them. `inner / 4` is a multiple of it.
    pub span: usize,
    /// Elements that are loaded before they are combined.
    pub ahead: usize,
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
        let fours = inner / 4;
        let columns = inner.is_multiple_of(4);
        // A subgroup of a software adapter goes down its columns alone: the more of a row it takes, the fewer the pages that it touches.
        let fits = |span: &usize| fours.is_multiple_of(*span) && fours >= 8 * span;
        let span = [4, 2].into_iter().find(fits).unwrap_or(1);
        let whole = Self {
            combine,
            outer,
            length,
            inner,
            chunks: 1,
            prologue: Expression::operand(outer * length * inner),
            epilogue: Expression::accumulator(),
            cooperative: false,
            span: 1,
            ahead: 1,
            workgroup: 64,
            first: 0,
        };
        match (caps.software, columns) {
            (true, true) => Self {
                workgroup: 8,
                span,
                ..whole
            },
            (true, false) => Self {
                workgroup: 8,
                ..whole
            },
            (false, true) => Self {
                cooperative: length >= 16,
                ahead: 4,
                workgroup: 256,
                ..whole
            },
            (false, false) => Self {
                cooperative: inner == 1 && length >= 512,
                ahead: 4,
                ..whole
            },
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
        // A second dispatch costs more than a short serial loop saves. Argmax has pairs, which do not combine twice.
        if combine == Combine::Argmax || results == 0 || results * length < 1 << 15 {
            return 1;
        }
        if !caps.software && inner.is_multiple_of(4) {
            // Each lane adds up sixteen rows at least, and the second dispatch 128 at most.
            let lanes = Self::new(caps, combine, outer, length, inner).lanes();
            let wanted = (1_usize << 15).div_ceil(results / 4 * lanes);
            return wanted.min(length / (16 * lanes)).clamp(1, 128);
        }
        let wanted: usize = if caps.software { 256 } else { 8192 };
        if results * 4 > wanted {
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

    /// Invocations that share a result.
    fn lanes(&self) -> usize {
        let workgroup = self.workgroup as usize;
        match (self.cooperative, self.mode()) {
            (false, _) => 1,
            // As many next to each other as there are fours in a row, up to 64: whole lines of memory.
            (true, Mode::Columns) => {
                let across = (self.inner / 4).next_power_of_two().min(64);
                (workgroup / across).max(1)
            }
            (true, _) => workgroup,
        }
    }

    /// Results of a unit.
    fn per_unit(&self) -> usize {
        match self.mode() {
            Mode::Columns => 4 * self.span,
            _ => 1,
        }
    }

    /// Fours from one of a unit's to the next: as many as the workgroup's neighbours take, where they all lie in one row.
    fn spacing(&self) -> usize {
        let (row, workgroup) = (self.inner / self.per_unit(), self.workgroup as usize);
        if row.is_multiple_of(workgroup) {
            workgroup
        } else {
            row.max(1)
        }
    }

    fn groups(&self) -> u64 {
        let units = self.results() / self.per_unit();
        units.div_ceil(self.workgroup as usize / self.lanes()) as u64
    }
}

impl Kernel for Reduce {
    fn family(&self) -> &'static str {
        "reduce"
    }

    fn variant(&self) -> String {
        let mode = match (self.mode(), self.span) {
            (Mode::Columns, 1) => "columns vec4".to_owned(),
            (Mode::Columns, span) => format!("columns vec4 x{span}"),
            (Mode::Rows, _) => "rows vec4".to_owned(),
            (Mode::Elements, _) => "elements".to_owned(),
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
            "span": self.span,
            "ahead": self.ahead,
            "accumulate": false,
            "noise_kept": true,
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
        let per_unit = self.per_unit();
        let mut params = vec![
            (self.results() / per_unit) as u32,
            (self.outer * self.inner / per_unit) as u32,
            self.length as u32,
            self.inner as u32,
            self.chunk() as u32,
            0,
            self.first as u32,
            self.spacing() as u32,
        ];
        params.extend(self.prologue.group_words());
        params.extend(self.epilogue.group_words());
        Launch {
            template: "reduce",
            entry: "reduce",
            context,
            constants: vec![
                ("WORKGROUP", f64::from(self.workgroup)),
                ("LANES", self.lanes() as f64),
            ],
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
