//! Concatenation along one axis: `shaders/concat.wgsl`.

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// The most parts that one dispatch takes: with the result, the portable eight storage buffers are not exceeded.
pub const MAX_PARTS: usize = 7;

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
    fn count(&self) -> usize {
        self.outer * self.inner * self.lengths.iter().sum::<usize>()
    }
}

impl Kernel for Concat {
    fn family(&self) -> &'static str {
        "concat"
    }

    fn variant(&self) -> String {
        format!("{} parts", self.lengths.len())
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
        let mut params = vec![
            self.count() as u32,
            self.inner as u32,
            self.lengths.iter().sum::<usize>() as u32,
            0,
        ];
        params.extend(self.lengths.iter().flat_map(|&l| [l as u32, 0, 0, 0]));
        // Moved as bits: no arithmetic, so u32 whatever the type.
        let bits: Vec<_> = self
            .bindings()
            .into_iter()
            .map(|b| Binding {
                dtype: DType::U32,
                ..b
            })
            .collect();
        Launch {
            template: "concat",
            entry: "concat",
            context: json!({"parts": self.lengths.len(), "bindings": super::wgsl_bindings(&bits, |_| false)}),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(self.count().div_ceil(64) as u64),
            grid: Grid::Line { first: 3 },
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
