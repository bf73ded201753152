//! Concatenation of up to [`MAX_PARTS`] tensors along one axis: `shaders/concat.wgsl`.
//!
//! Each tensor is seen as `[outer, length, inner]`, the axis in the middle: sizes before it are multiplied to `outer`, sizes behind it to
//! `inner`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::concat::Concat;
//! use wgen::tensor::{DType, Data};
//!
//! // [2, 1] and [2, 2] along the last axis: [2, 3].
//! let concat = Concat { outer: 2, inner: 1, lengths: vec![1, 2], dtype: DType::F32 };
//! let parts = (vec![1.0, 2.0], vec![10.0, 11.0, 20.0, 21.0]);
//! let mut buffers = [parts.0, parts.1, vec![0.0; 6]].map(Data::F32);
//! concat.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F32(vec![1.0, 10.0, 11.0, 2.0, 20.0, 21.0]));
//! ```

use serde_json::json;

use super::divide::divisor;
use super::{Binding, Cost, Kernel, Launch, bytes_of, moving_launch};
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
        let mut params = divisor(total).to_vec();
        params.extend([units as u32, 0, 0, 0]);
        params.extend(lengths.flat_map(|l| [l as u32, 0, 0, 0]));
        // Moved as bits: no arithmetic, so u32 whatever the type.
        let wgsl = if each == 4 { "vec4<u32>" } else { "u32" };
        let bits: Vec<_> = self
            .bindings()
            .iter()
            .map(|b| json!({"name": b.name, "access": format!("{:?}", b.access), "wgsl": wgsl}))
            .collect();
        let context = json!({"parts": self.lengths.len(), "vector": each == 4, "bindings": bits});
        moving_launch("concat", "concat", units, context, (params, 5))
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 0.0,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
