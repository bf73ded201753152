//! Stochastic gradient descent with momentum over a flat segment: `shaders/sgd.wgsl`.

use super::{
    Binding, CONTROL_FLOATS, Cost, Kernel, Launch, SCHEDULE_COLUMNS, bytes_of, flat_launch,
};
use crate::tensor::DType;

/// One step of `count` parameters.
#[derive(Clone, Debug)]
pub struct Sgd {
    /// Floats of the segment, a multiple of 4.
    pub count: usize,
    /// Decay of the velocity.
    pub momentum: f32,
    /// L2 weight decay.
    pub decay: f32,
    /// Nesterov's direction.
    pub nesterov: bool,
}

impl Kernel for Sgd {
    fn family(&self) -> &'static str {
        "sgd"
    }

    fn variant(&self) -> String {
        "flat vec4".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read_write("param", DType::F32, self.count),
            Binding::read("gradient", DType::F32, self.count),
            Binding::read_write("moment1", DType::F32, self.count),
            Binding::read("schedule", DType::F32, SCHEDULE_COLUMNS),
            Binding::read("control", DType::F32, CONTROL_FLOATS),
        ]
    }

    fn launch(&self) -> Launch {
        flat_launch(
            "sgd",
            self.count,
            &[
                self.momentum.to_bits(),
                self.decay.to_bits(),
                u32::from(self.nesterov),
            ],
        )
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 6.0 * self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
