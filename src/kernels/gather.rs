//! Rows of a data set by a list of indices, for instance a batch: `shaders/gather.wgsl`.
//!
//! The data set may lie on the device as bytes; they become f32 here, scaled and shifted to the range that the model wants.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::gather::Gather;
//! use wgen::kernels::{STATE_WORDS, state};
//! use wgen::tensor::{DType, Data};
//!
//! // Three examples of two bytes, brought to [-1, 1); the epoch's order is 2, 0, 1, and the batch begins at its last position.
//! let (dtype, scale, shift) = (DType::U8, 1.0 / 128.0, -1.0);
//! let gather = Gather { rows: 3, width: 2, batch: 2, indices: 3, cursor: true, dtype, scale, shift, first: 0 };
//! let mut words = vec![0; STATE_WORDS];
//! words[state::CURSOR] = 2;
//! let (data, order) = (Data::U8(vec![0, 0, 64, 128, 192, 255]), Data::U32(vec![2, 0, 1]));
//! let mut buffers = [data, order, Data::U32(words), Data::F32(vec![0.0; 4])];
//! gather.reference(&mut buffers);
//! assert_eq!(buffers[3], Data::F32(vec![-0.5, 0.0, 0.5, 0.9921875])); // rows 1 and, round the list's end, 2
//! ```

use serde_json::json;

use super::divide::divisor;
use super::{Binding, Cost, Kernel, Launch, STATE_WORDS, moving_launch};
use crate::tensor::DType;

/// `out[b, :] = data[index[b], :] * scale + shift`.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Rows of the data set.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Rows of the result.
    pub batch: usize,
    /// Length of the list of indices.
    pub indices: usize,
    /// Whether the list is read from `state.cursor` on (round its end), or from its start.
    pub cursor: bool,
    /// The data set's element type. u32 is copied, others become f32.
    pub dtype: DType,
    /// Factor.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
    /// Which row of the batch the first row of the result is: 0 but in a piece of a larger gather.
    pub first: usize,
}

impl Gather {
    /// The result's element type.
    pub(crate) fn out_dtype(&self) -> DType {
        if self.dtype == DType::U32 {
            DType::U32
        } else {
            DType::F32
        }
    }

    fn is_vector(&self) -> bool {
        self.width.is_multiple_of(4)
    }
}

impl Kernel for Gather {
    fn family(&self) -> &'static str {
        "gather"
    }

    fn variant(&self) -> String {
        format!(
            "{}{}",
            self.dtype.name(),
            if self.is_vector() { " vec4" } else { "" }
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![
            Binding::read("data", self.dtype, self.rows * self.width).vector(self.is_vector()),
            Binding::read("index", DType::U32, self.indices),
        ];
        if self.cursor {
            bindings.push(Binding::read("state", DType::U32, STATE_WORDS));
        }
        let out = Binding::write("out", self.out_dtype(), self.batch * self.width);
        bindings.push(out.vector(self.is_vector()).or_half());
        bindings
    }

    fn launch(&self) -> Launch {
        let vector = self.is_vector();
        let each = if vector { 4 } else { 1 };
        let context = json!({
            "dtype": self.dtype.name(),
            "cursor": self.cursor,
            // Whether positions may lie behind the list's end.
            "wraps": self.cursor || self.first + self.batch > self.indices,
            "width_each": each,
            "bindings": super::wgsl_bindings(&self.bindings()),
        });
        let units = self.batch * self.width / each;
        let divisors = [divisor(self.width / each), divisor(self.indices)];
        let mut params = divisors.concat();
        params.extend([
            units as u32,
            self.rows as u32,
            self.scale.to_bits(),
            self.shift.to_bits(),
            0,
            self.first as u32,
        ]);
        moving_launch("gather", "gather", units, context, (params, 12))
    }

    fn cost(&self) -> Cost {
        let elements = (self.batch * self.width) as f64;
        let read = if self.dtype == DType::U8 { 1.0 } else { 4.0 };
        Cost {
            flops: 2.0 * elements,
            bytes: elements * (read + 4.0) + 4.0 * self.batch as f64,
        }
    }
}
