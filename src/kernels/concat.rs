//! Concatenation along one axis: `shaders/concat.wgsl`.

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// The most parts that one dispatch takes: with the result, the portable eight storage buffers are not exceeded.
pub(crate) const MAX_PARTS: usize = 7;

/// `[outer, sum of lengths, inner]` from parts `[outer, length, inner]`.
#[derive(Clone, Debug)]
pub struct Concat {
    /// Sizes before the axis.
    pub outer: usize,
    /// Sizes after it.
    pub inner: usize,
    /// Each part's size along it.
    pub lengths: Vec<usize>,
    /// The element type.
    pub dtype: DType,
}

impl Concat {
    /// Elements that an invocation moves.
    fn each(&self) -> usize {
        let whole = |&length: &usize| (length * self.inner).is_multiple_of(4);
        if self.lengths.iter().all(whole) { 4 } else { 1 }
    }

    fn count(&self) -> usize {
        self.outer * self.inner * self.lengths.iter().sum::<usize>()
    }
}

impl Kernel for Concat {
    fn family(&self) -> &'static str {
        "concat"
    }

    fn variant(&self) -> String {
        let vector = if self.each() == 4 { " vec4" } else { "" };
        format!("{} parts{vector}", self.lengths.len())
    }

    fn bindings(&self) -> Vec<Binding> {
        let part = |(j, length): (usize, &usize)| {
            Binding::read(
                format!("part{j}"),
                self.dtype,
                self.outer * self.inner * length,
            )
        };
        let mut bindings: Vec<_> = self.lengths.iter().enumerate().map(part).collect();
        bindings.push(Binding::write("out", self.dtype, self.count()));
        bindings
    }

    fn launch(&self) -> Launch {
        let each = self.each();
        let lengths = self.lengths.iter().map(|l| l * self.inner / each);
        let units = self.count() / each;
        let total: usize = lengths.clone().sum();
        let mut params = vec![units as u32, total as u32, 0, 0];
        params.extend(lengths.flat_map(|l| [l as u32, 0, 0, 0]));
        // Moved as bits: no arithmetic, so u32 whatever the type.
        let wgsl = if each == 4 { "vec4<u32>" } else { "u32" };
        let bits: Vec<_> = self
            .bindings()
            .iter()
            .map(|b| json!({"name": b.name, "access": format!("{:?}", b.access), "wgsl": wgsl}))
            .collect();
        Launch {
            template: "concat",
            entry: "concat",
            context: json!({"parts": self.lengths.len(), "vector": each == 4, "bindings": bits}),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(units.div_ceil(64) as u64),
            grid: Grid::Line { first: 2 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
