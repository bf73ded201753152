//! Which ray each sample belongs to: `shaders/ray_of.wgsl`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::ray_of::RayOf;
//! use wgen::tensor::Data;
//!
//! // Three rays of 2, 0 and 1 samples, all of which fit. Samples beyond the last are counted to ray 0.
//! let mut buffers = [Data::U32(vec![0, 2, 2, 3, 3]), Data::U32(vec![9; 5])];
//! RayOf { rays: 3, samples: 5 }.reference(&mut buffers);
//! assert_eq!(buffers[1].as_u32(), [0, 0, 2, 0, 0]);
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// The ray of each of `samples` samples, from where the samples of `rays` rays begin.
#[derive(Clone, Debug)]
pub struct RayOf {
    /// Rays, at least one.
    pub rays: usize,
    /// Samples.
    pub samples: usize,
}

impl Kernel for RayOf {
    fn family(&self) -> &'static str {
        "ray_of"
    }

    fn variant(&self) -> String {
        "bisection".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("base", DType::U32, self.rays + 2),
            Binding::write("ray", DType::U32, self.samples),
        ]
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "ray_of",
            entry: "ray_of",
            context: json!({"bindings": super::wgsl_bindings(&self.bindings())}),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![self.rays as u32, self.samples as u32, 0],
            workgroups: fold(self.samples.div_ceil(64) as u64),
            grid: Grid::Line { first: 2 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let turns = (self.rays.max(2) as f64).log2();
        Cost {
            flops: 2.0 * turns * self.samples as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
