//! RMSProp over a flat segment: `shaders/rmsprop.wgsl`.

use super::{
    Binding, CONTROL_FLOATS, Cost, Kernel, Launch, SCHEDULE_COLUMNS, bytes_of, flat_launch,
    one_minus,
};
use crate::tensor::DType;

/// One step of `count` parameters.
#[derive(Clone, Debug)]
pub struct Rmsprop {
    /// Floats of the segment, a multiple of 4.
    pub count: usize,
    /// Decay of the mean square.
    pub alpha: f32,
    /// Added to the denominator.
    pub epsilon: f32,
    /// Decay of the velocity.
    pub momentum: f32,
    /// L2 weight decay.
    pub decay: f32,
}

impl Kernel for Rmsprop {
    fn family(&self) -> &'static str {
        "rmsprop"
    }

    fn variant(&self) -> String {
        "flat vec4".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read_write("param", DType::F32, self.count),
            Binding::read("gradient", DType::F32, self.count),
            Binding::read_write("moment1", DType::F32, self.count),
            Binding::read_write("moment2", DType::F32, self.count),
            Binding::read("schedule", DType::F32, SCHEDULE_COLUMNS),
            Binding::read("control", DType::F32, CONTROL_FLOATS),
        ]
    }

    fn launch(&self) -> Launch {
        flat_launch(
            "rmsprop",
            self.count,
            &[
                self.alpha.to_bits(),
                one_minus(self.alpha).to_bits(),
                self.epsilon.to_bits(),
                self.momentum.to_bits(),
                self.decay.to_bits(),
            ],
        )
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 10.0 * self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
