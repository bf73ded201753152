//! Conversion between element types: `shaders/cast.wgsl`.

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
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

impl Kernel for Cast {
    fn family(&self) -> &'static str {
        "cast"
    }

    fn variant(&self) -> String {
        format!("{} to {}", self.from.name(), self.to.name())
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("source", self.from, self.count),
            Binding::write("out", self.to, self.count),
        ]
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "cast",
            entry: "convert",
            context: json!({
                "from": self.from.name(),
                "to": self.to.name(),
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![self.count as u32, 0],
            workgroups: fold(self.count.div_ceil(4 * 64) as u64),
            grid: Grid::Line { first: 1 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
