//! Exponential moving average over a flat segment: `shaders/ema.wgsl`.

use super::{
    Binding, CONTROL_FLOATS, Cost, Kernel, Launch, SCHEDULE_COLUMNS, bytes_of, flat_launch,
};
use crate::tensor::DType;

/// One step of the average of `count` parameters.
#[derive(Clone, Debug)]
pub struct Ema {
    /// Floats of the segment, a multiple of 4.
    pub count: usize,
}

impl Kernel for Ema {
    fn family(&self) -> &'static str {
        "ema"
    }

    fn variant(&self) -> String {
        "flat vec4".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read_write("average", DType::F32, self.count),
            Binding::read("param", DType::F32, self.count),
            Binding::read("schedule", DType::F32, SCHEDULE_COLUMNS),
            Binding::read("control", DType::F32, CONTROL_FLOATS),
        ]
    }

    fn launch(&self) -> Launch {
        flat_launch("ema", self.count, &[])
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 3.0 * self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
