//! One step of the optimiser RMSProp: `shaders/rmsprop.wgsl`.
//!
//! It divides the gradient by the root of a moving average of its square, and updates a flat run of parameters in place. The average is in
//! `moment2`; `moment1` is the velocity, where there is momentum.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::rmsprop::Rmsprop;
//! use wgen::kernels::{SCHEDULE_COLUMNS, schedule};
//! use wgen::tensor::Data;
//!
//! let rmsprop = Rmsprop { count: 4, alpha: 0.75, epsilon: 1e-8, momentum: 0.0, decay: 0.0 };
//! let mut row = vec![0.0; SCHEDULE_COLUMNS];
//! row[schedule::LEARNING_RATE] = 0.1;
//! let (gradient, control) = (vec![3.0, -3.0, 0.5, 0.0], vec![1.0, 0.0, 0.0, 0.0]);
//! let buffers = [vec![0.0; 4], gradient, vec![0.0; 4], vec![0.0; 4], row, control];
//! let mut buffers = buffers.map(Data::F64);
//! rmsprop.reference(&mut buffers);
//! // The average begins as (1 - alpha) g^2, so that the first step is the rate over sqrt(1 - alpha) = 1/2, whatever the gradient's size.
//! for (moved, expected) in buffers[0].to_f64().iter().zip([-0.2, 0.2, -0.2, 0.0]) {
//!     assert!((moved - expected).abs() < 1e-6);
//! }
//! ```

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
