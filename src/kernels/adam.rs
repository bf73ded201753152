//! One step of the optimisers Adam and AdamW: `shaders/adam.wgsl`.
//!
//! It updates a flat run of parameters in place, with their two moments. What changes from step to step comes in buffers: learning rate and
//! bias corrections in the [`schedule`](super::schedule), the factor of gradient clipping in `control`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::graph::update::Rule;
//! use wgen::kernels::adam::Adam;
//! use wgen::tensor::Data;
//!
//! let adam = Adam { count: 4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0, decoupled: false };
//! let schedule = Rule::ADAM.schedule_row(0, 0.01, 0.0, 0.0).to_vec();
//! let control = vec![1.0, 0.0, 0.0, 0.0]; // gradients as they are, the step not refused
//! let gradient = vec![5.0, -5.0, 0.001, 0.0];
//! let buffers = [vec![0.0; 4], gradient, vec![0.0; 4], vec![0.0; 4], schedule, control];
//! let mut buffers = buffers.map(Data::F32);
//! adam.reference(&mut buffers);
//! // The first step is as long as the learning rate, whatever the size of the gradient.
//! for (moved, expected) in buffers[0].to_f64().iter().zip([-0.01, 0.01, -0.01, 0.0]) {
//!     assert!((moved - expected).abs() < 1e-6);
//! }
//! ```

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
