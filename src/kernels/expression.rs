//! Element-wise expressions as data: what a [`map`](super::map) computes, and what products and reductions do to an element besides.
//! Operands broadcast; [`Expression::context`] writes the WGSL.
//!
//! ```
//! use wgen::kernels::expression::{Expression, Indexing, Term, Width};
//! use wgen::kernels::functions::Function::{Add, Relu};
//!
//! // relu(result + bias) behind a product with a result of [2, 3], the bias being [3].
//! let terms = vec![Term::Accumulator, Term::Operand(0), Term::Call(Add, vec![0, 1]), Term::Call(Relu, vec![2])];
//! let bias = Indexing::broadcast(&[2, 3].into(), &[3].into());
//! let epilogue = Expression { terms, operands: vec![bias], results: vec![3] };
//! assert_eq!(epilogue.operands[0].source(4), 1); // element [1, 1] of the result
//! assert_eq!(epilogue.context("e", Width::One, 0, None)["lines"][3], "let t3 = max(t2, real(0.0));");
//! ```

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::functions::{Distribution, Function};
use super::philox::Key;
use super::{Binding, STATE_WORDS};
use crate::tensor::{DType, Shape};

/// How a kernel finds an operand's element for element `index` of its domain: `sum of (index / divisor) % modulus * stride`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexing {
    /// Divisor, modulus and stride of each run of axes that do not broadcast. Empty for a scalar.
    pub groups: Vec<[u32; 3]>,
    /// Whether the operand's index is the domain's.
    pub dense: bool,
    /// Added to the index: a scalar inside of a larger buffer.
    pub base: u32,
    /// The operand's number of elements.
    pub count: usize,
}

impl Indexing {
    /// Of an operand of shape `small` that broadcasts to `domain`.
    pub fn broadcast(domain: &Shape, small: &Shape) -> Self {
        let missing = domain.rank() - small.rank();
        let strides = small.strides();
        let mut groups: Vec<[u32; 3]> = Vec::new();
        let mut divisor = 1_usize;
        let mut open = false;
        for axis in (0..domain.rank()).rev() {
            let size = domain.dims()[axis];
            let own = if axis < missing {
                1
            } else {
                small.dims()[axis - missing]
            };
            if size != 1 {
                if own == 1 {
                    open = false;
                } else if open {
                    if let Some(group) = groups.last_mut() {
                        group[1] *= size as u32;
                    }
                } else {
                    groups.push([divisor as u32, size as u32, strides[axis - missing] as u32]);
                    open = true;
                }
            }
            divisor *= size;
        }
        Self {
            groups,
            dense: domain.count() == small.count() && small.count() != 1,
            base: 0,
            count: small.count(),
        }
    }

    /// An operand with one element for each of the domain's.
    pub fn dense(count: usize) -> Self {
        Self {
            groups: Vec::new(),
            dense: true,
            base: 0,
            count,
        }
    }

    /// Element `base` of a buffer of `count`, for every element of the domain.
    pub(crate) fn scalar_at(base: usize, count: usize) -> Self {
        Self {
            groups: Vec::new(),
            dense: false,
            base: base as u32,
            count,
        }
    }

    /// The operand's index for element `index` of the domain.
    pub fn source(&self, index: usize) -> usize {
        if self.dense {
            return index;
        }
        self.base as usize
            + self
                .groups
                .iter()
                .map(|&[d, m, s]| index / d as usize % m as usize * s as usize)
                .sum::<usize>()
    }

    /// The same operand for `count` elements of the domain from `start` on, and the first element of it that they read where it is
    /// dense; `None` where no [`Indexing`] says that. `total` is the domain's size.
    fn piece(&self, start: usize, count: usize, total: usize) -> Option<(Self, usize)> {
        if self.dense {
            return Some((Self::dense(count), start));
        }
        let mut base = self.base as usize;
        for &[divisor, modulus, stride] in &self.groups {
            let (divisor, period) = (divisor as usize, divisor as usize * modulus as usize);
            if start.is_multiple_of(period) {
                continue;
            }
            // Only the outermost group does not come round again within the domain.
            if period < total || !start.is_multiple_of(divisor) {
                return None;
            }
            base += start / divisor * stride as usize;
        }
        let piece = Self {
            base: base as u32,
            ..self.clone()
        };
        Some((piece, 0))
    }

    /// What the first element of a piece must be a multiple of.
    fn grain(&self, total: usize) -> usize {
        self.groups.iter().fold(1, |grain, &[d, m, _]| {
            let (divisor, period) = (d as usize, d as usize * m as usize);
            lcm(grain, if period < total { period } else { divisor })
        })
    }

    /// Whether it is read four elements at a time.
    fn is_vector(&self, width: Width) -> bool {
        width == Width::Four && matches!(self.access(width), "dense" | "row" | "rows")
    }

    /// The way the kernel reads it.
    fn access(&self, width: Width) -> &'static str {
        let vector = width == Width::Four;
        match self.groups.as_slice() {
            _ if self.dense && width == Width::Splat => "dense_splat",
            _ if self.dense => "dense",
            [] => "scalar",
            [[1, modulus, 1]] if vector && modulus % 4 == 0 && self.base == 0 => "row",
            // Four neighbours lie next to each other, and begin at a multiple of four, wherever the outer axes are.
            [[1, modulus, 1], outer @ ..]
                if vector
                    && modulus % 4 == 0
                    && self.base.is_multiple_of(4)
                    && self.count.is_multiple_of(4)
                    && outer.iter().all(|g| g[0] % 4 == 0 && g[2] % 4 == 0) =>
            {
                "rows"
            }
            groups if vector && groups.iter().any(|g| g[0] % 4 != 0) => "gather",
            _ => "splat",
        }
    }
}

/// The result of a kernel that makes it column by column: what an epilogue's operands can be told once a tile.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Elements of a row.
    pub row: usize,
    /// Elements of all.
    pub count: usize,
}

/// What a `real` of a kernel's expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One element.
    One,
    /// Four consecutive elements; the index is that of the first.
    Four,
    /// One element, four times: for the end of a kernel whose body works on four.
    Splat,
}

/// A step of an expression; steps refer to earlier ones by position.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// The value that the kernel computed before the expression: an accumulator.
    Accumulator,
    /// Operand number n.
    Operand(usize),
    /// A literal.
    Constant(f64),
    /// A random number of the element.
    Random {
        /// Its distribution.
        distribution: Distribution,
        /// What it belongs to.
        key: Key,
        /// Its stream.
        stream: u32,
    },
    /// A function of earlier steps.
    Call(Function, Vec<usize>),
}

/// A straight-line program over one element: terms in order, some of which are results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expression {
    /// The steps.
    pub terms: Vec<Term>,
    /// Operands in the order of `Term::Operand`.
    pub operands: Vec<Indexing>,
    /// Terms that are results, in order.
    pub results: Vec<usize>,
}

impl Expression {
    /// The accumulator itself.
    pub fn accumulator() -> Self {
        Self {
            terms: vec![Term::Accumulator],
            operands: Vec::new(),
            results: vec![0],
        }
    }

    /// The one operand of an unfused kernel, unchanged.
    pub fn operand(count: usize) -> Self {
        Self {
            terms: vec![Term::Operand(0)],
            operands: vec![Indexing::dense(count)],
            results: vec![0],
        }
    }

    /// Whether any term is random, so that the kernel binds `state`.
    pub(crate) fn is_random(&self) -> bool {
        self.terms.iter().any(|t| matches!(t, Term::Random { .. }))
    }

    /// Storage buffers that the expression needs beside the kernel's own.
    pub fn buffers(&self) -> usize {
        self.operands.len() + self.results.len() + usize::from(self.is_random())
    }

    /// The bindings that a kernel of this width reads: operands named `prefix0`, `prefix1`, ...
    pub(crate) fn read_bindings(&self, prefix: &str, width: Width) -> Vec<Binding> {
        let binding = |(i, operand): (usize, &Indexing)| {
            Binding::read(format!("{prefix}{i}"), DType::F32, operand.count)
                .vector(operand.is_vector(width))
                .or_half()
        };
        self.operands.iter().enumerate().map(binding).collect()
    }

    /// The `state` binding, where it is needed.
    pub(crate) fn state_binding(&self) -> Option<Binding> {
        self.is_random()
            .then(|| Binding::read("state", DType::U32, STATE_WORDS))
    }

    /// The runs of axes by which operands are found, each once: a compiler then sees that rows of one kind share their remainder.
    fn distinct_groups(&self) -> Vec<[u32; 3]> {
        let mut distinct: Vec<[u32; 3]> = Vec::new();
        let all = self.operands.iter().filter(|o| !o.dense);
        for group in all.flat_map(|o| &o.groups) {
            if !distinct.contains(group) {
                distinct.push(*group);
            }
        }
        distinct
    }

    /// Words of the `groups` array in the uniform buffer: a vec4 each.
    pub(crate) fn group_words(&self) -> Vec<u32> {
        let distinct = self.distinct_groups().into_iter();
        distinct.flat_map(|[d, m, s]| [d, m, s, 0]).collect()
    }

    /// Flops of one evaluation.
    pub fn flops(&self) -> f64 {
        self.terms
            .iter()
            .map(|t| match t {
                Term::Call(f, _) => f.flops(),
                Term::Random { .. } => 40.0,
                _ => 0.0,
            })
            .sum()
    }

    /// The expression for `count` elements of its domain of `total` from `start` on, and the first element of each operand's binding.
    /// `None` where it draws random numbers, which belong to their places, or an operand cannot be cut there.
    pub fn piece(&self, start: usize, count: usize, total: usize) -> Option<(Self, Vec<usize>)> {
        if self.is_random() {
            return None;
        }
        let cut: Option<Vec<_>> = self
            .operands
            .iter()
            .map(|o| o.piece(start, count, total))
            .collect();
        let (operands, offsets) = cut?.into_iter().unzip();
        Some((
            Self {
                operands,
                ..self.clone()
            },
            offsets,
        ))
    }

    /// What the first element of a piece must be a multiple of.
    pub(crate) fn grain(&self, total: usize) -> usize {
        self.operands
            .iter()
            .fold(1, |grain, o| lcm(grain, o.grain(total)))
    }

    /// Functions whose WGSL must be included, with what they call.
    pub fn functions(&self) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        for term in &self.terms {
            if let Term::Call(function, _) = term {
                let mut next = Some(*function);
                while let Some(f) = next {
                    names.insert(f.name());
                    next = f.needs();
                }
            }
        }
        names
    }

    /// Template variables: operands with their access, and the body as lines of WGSL over `index` and `accumulator`.
    ///
    /// `first_group` is the number of `groups` before this expression's. With `columns` an operand that lies as the result's rows do is
    /// found by the column, which the kernel announces once a tile: a remainder less for each element, and of a bias also a read.
    pub fn context(
        &self,
        prefix: &str,
        width: Width,
        first_group: usize,
        columns: Option<Columns>,
    ) -> Json {
        let distinct = self.distinct_groups();
        let operands: Vec<Json> = self
            .operands
            .iter()
            .enumerate()
            .map(|(i, operand)| {
                let place = |g: &[u32; 3]| distinct.iter().position(|d| d == g).unwrap_or(0);
                let access = operand.access(width);
                let column = matches!(access, "row" | "rows")
                    && columns.is_some_and(|c| c.row == operand.groups[0][1] as usize);
                let groups: Vec<usize> = if operand.dense {
                    Vec::new()
                } else {
                    let places = operand.groups.iter().skip(usize::from(column)).map(place);
                    places.map(|p| first_group + p).collect()
                };
                // The outermost run of axes does not come round again within the result.
                let open = operand.groups.last().is_some_and(|&[d, m, _]| {
                    columns.is_some_and(|c| d as usize * m as usize >= c.count)
                });
                json!({
                    "name": format!("{prefix}{i}"),
                    "access": access,
                    "vector": operand.is_vector(width),
                    "column": column,
                    "open": open,
                    "base": operand.base,
                    "groups": groups,
                })
            })
            .collect();
        let mut lines = Vec::new();
        let name = |t: usize| format!("t{t}");
        for (t, term) in self.terms.iter().enumerate() {
            let text = match term {
                Term::Accumulator => "accumulator".to_owned(),
                Term::Operand(i) => format!("load_{prefix}{i}(index)"),
                Term::Constant(x) => format!("real({})", literal(*x)),
                Term::Random {
                    distribution,
                    key,
                    stream,
                } => {
                    let (counter, arguments) = match key {
                        Key::Step => ("step", format!("index, {stream}u")),
                        Key::Example {
                            examples,
                            draws,
                            width: columns,
                        } => (
                            "example",
                            format!(
                                "index, {stream}u, vec3<u32>({examples}u, {draws}u, {columns}u)"
                            ),
                        ),
                    };
                    let (kind, below) = match distribution {
                        Distribution::Bernoulli(p) => ("uniform", Some(literal(f64::from(*p)))),
                        other => (other.name(), None),
                    };
                    // Four numbers have functions of their own; one is drawn where it stands, repeated if `real` is four.
                    let number = if width == Width::Four {
                        format!("{kind}_by_{counter}({arguments})")
                    } else {
                        format!("real({kind}_of(block_by_{counter}({arguments})))")
                    };
                    below.map_or(number.clone(), |p| format!("less({number}, real({p}))"))
                }
                Term::Call(function, arguments) => {
                    let names: Vec<String> = arguments.iter().map(|&a| name(a)).collect();
                    function.wgsl(&names.iter().map(String::as_str).collect::<Vec<_>>())
                }
            };
            lines.push(format!("let t{t} = {text};"));
        }
        json!({
            "operands": operands,
            "lines": lines,
            "results": self.results.iter().map(|&r| name(r)).collect::<Vec<_>>(),
            "functions": self.functions(),
            "random": self.is_random(),
            "columns": columns.is_some(),
            "by_example": width == Width::Four && self.terms.iter().any(|t| matches!(t, Term::Random { key: Key::Example { .. }, .. })),
            "by_step": width == Width::Four && self.terms.iter().any(|t| matches!(t, Term::Random { key: Key::Step, .. })),
            "groups": first_group + distinct.len(),
            "store": match width { Width::One => "element", Width::Four => "vector", Width::Splat => "splat" },
        })
    }
}

/// The least common multiple.
pub(crate) fn lcm(a: usize, b: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    a / gcd(a, b).max(1) * b
}

/// A float literal that WGSL reads back to the same f32.
pub fn literal(x: f64) -> String {
    let x = (x as f32).clamp(f32::MIN, f32::MAX);
    format!("{x:?}f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexing_agrees_with_numpy_broadcasting() {
        let domain = Shape::from([3, 4, 5, 2]);
        for small in [
            Shape::scalar(),
            [2].into(),
            [5, 2].into(),
            [5, 1].into(),
            [4, 1, 1].into(),
            [3, 1, 5, 1].into(),
            [1, 4, 1, 2].into(),
            domain.clone(),
        ] {
            let indexing = Indexing::broadcast(&domain, &small);
            for index in 0..domain.count() {
                assert_eq!(
                    indexing.source(index),
                    domain.broadcast_index(&small, index),
                    "{small:?} at {index}"
                );
            }
        }
    }

    #[test]
    fn literals_round_trip() {
        for x in [0.1, 1.0, -2.5e-30, 3e38, 1.0 / 3.0] {
            let text = literal(x);
            assert_eq!(text.trim_end_matches('f').parse::<f32>().unwrap(), x as f32);
        }
    }
}
