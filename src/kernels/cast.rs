//! Conversion of a tensor's elements to another type: `shaders/cast.wgsl`.
//!
//! Reals become integers by truncation towards zero, clamped to what the integer can hold.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Kernel;
//! use wgen::kernels::cast::Cast;
//! use wgen::tensor::{DType, Data};
//!
//! let cast = Cast { count: 4, from: DType::F32, to: DType::U32 };
//! assert_eq!(cast.variant(), "f32 to u32 vec4");
//! let mut buffers = [Data::F32(vec![2.9, -1.0, 7.0, 1e12]), Data::U32(vec![0; 4])];
//! cast.reference(&mut buffers);
//! assert_eq!(buffers[1].as_u32(), [2, 0, 7, 4_294_967_040]); // the last is the largest f32 below 2^32
//! ```

use serde_json::json;

use super::{Binding, Cost, Kernel, Launch, bytes_of, moving_launch};
use crate::tensor::DType;

/// `count` elements from one type to another.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Elements.
    pub count: usize,
    /// The source's type.
    pub from: DType,
    /// The result's.
    pub to: DType,
}

impl Cast {
    /// Whether all units are whole.
    fn is_vector(&self) -> bool {
        self.count.is_multiple_of(4)
    }
}

impl Kernel for Cast {
    fn family(&self) -> &'static str {
        "cast"
    }

    fn variant(&self) -> String {
        let vector = if self.is_vector() { " vec4" } else { "" };
        format!("{} to {}{vector}", self.from.name(), self.to.name())
    }

    fn bindings(&self) -> Vec<Binding> {
        let vector = self.is_vector();
        vec![
            Binding::read("source", self.from, self.count).vector(vector),
            Binding::write("out", self.to, self.count).vector(vector),
        ]
    }

    fn launch(&self) -> Launch {
        let context = json!({
            "from": self.from.name(),
            "to": self.to.name(),
            "vector": self.is_vector(),
            "bindings": super::wgsl_bindings(&self.bindings()),
        });
        let units = self.count.div_ceil(4);
        let params = vec![self.count as u32, units as u32, 0];
        moving_launch("cast", "convert", units, context, (params, 2))
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
