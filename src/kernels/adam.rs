//! Adam and AdamW over a flat segment: `shaders/adam.wgsl`.

use super::{
    Binding, CONTROL_FLOATS, Cost, Kernel, Launch, SCHEDULE_COLUMNS, bytes_of, flat_launch,
    one_minus,
};
use crate::tensor::DType;

/// One Adam step of `count` parameters; rates and bias corrections are in the schedule.
#[derive(Clone, Debug)]
pub struct Adam {
    /// Floats of the segment, a multiple of 4.
    pub count: usize,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the denominator.
    pub epsilon: f32,
    /// Weight decay.
    pub decay: f32,
    /// AdamW's decoupled decay instead of an L2 term in the gradient.
    pub decoupled: bool,
}

impl Kernel for Adam {
    fn family(&self) -> &'static str {
        "adam"
    }

    fn variant(&self) -> String {
        if self.decoupled {
            "flat vec4, decoupled decay"
        } else {
            "flat vec4"
        }
        .to_owned()
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
            "adam",
            self.count,
            &[
                one_minus(self.beta1).to_bits(),
                self.beta2.to_bits(),
                one_minus(self.beta2).to_bits(),
                self.epsilon.to_bits(),
                self.decay.to_bits(),
                u32::from(self.decoupled),
            ],
        )
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 14.0 * self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
