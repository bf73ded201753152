//! One step of the exponential moving average of the parameters: `shaders/ema.wgsl`.
//!
//! `average += rate (param - average)`, the rate (1 minus the decay) from the [`schedule`](super::schedule). Samples are often drawn from
//! the averaged parameters.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::ema::Ema;
//! use wgen::kernels::{SCHEDULE_COLUMNS, schedule};
//! use wgen::tensor::Data;
//!
//! let mut row = vec![0.0; SCHEDULE_COLUMNS];
//! row[schedule::EMA_RATE] = 0.25;
//! let control = vec![1.0, 0.0, 0.0, 0.0];
//! let mut buffers = [vec![8.0; 4], vec![0.0, 4.0, 8.0, 12.0], row, control].map(Data::F32);
//! Ema { count: 4 }.reference(&mut buffers);
//! assert_eq!(buffers[0], Data::F32(vec![6.0, 7.0, 8.0, 9.0]));
//!
//! // A step that was refused, for instance because a gradient was not finite, changes nothing.
//! buffers[3] = Data::F32(vec![1.0, 1.0, 0.0, 0.0]);
//! Ema { count: 4 }.reference(&mut buffers);
//! assert_eq!(buffers[0], Data::F32(vec![6.0, 7.0, 8.0, 9.0]));
//! ```

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
