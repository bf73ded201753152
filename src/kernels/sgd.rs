//! One step of stochastic gradient descent with momentum: `shaders/sgd.wgsl`.
//!
//! It updates a flat run of parameters in place; `moment1` is the velocity, to which each step adds its gradient.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::sgd::Sgd;
//! use wgen::kernels::{SCHEDULE_COLUMNS, schedule};
//! use wgen::tensor::Data;
//!
//! let sgd = Sgd { count: 4, momentum: 0.5, decay: 0.0, nesterov: false };
//! let mut row = vec![0.0; SCHEDULE_COLUMNS];
//! row[schedule::LEARNING_RATE] = 0.25;
//! let control = vec![1.0, 0.0, 0.0, 0.0];
//! let mut buffers = [vec![0.0; 4], vec![4.0; 4], vec![0.0; 4], row, control].map(Data::F32);
//! sgd.reference(&mut buffers);
//! assert_eq!(buffers[0], Data::F32(vec![-1.0; 4]));
//! sgd.reference(&mut buffers); // the velocity is now 0.5 * 4 + 4
//! assert_eq!(buffers[0], Data::F32(vec![-2.5; 4]));
//! ```

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
