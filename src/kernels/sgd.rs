//! Stochastic gradient descent with momentum over a flat segment: `shaders/sgd.wgsl`.

use super::{Binding, CONTROL_FLOATS, Cost, Kernel, Launch, SCHEDULE_COLUMNS, bytes_of, fold};
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
        let units = self.count / 4;
        Launch {
            template: "sgd",
            entry: "sgd",
            context: serde_json::json!({}),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![
                units as u32,
                self.momentum.to_bits(),
                self.decay.to_bits(),
                u32::from(self.nesterov),
            ],
            workgroups: fold(units.div_ceil(64) as u64),
            linear: true,
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 6.0 * self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
