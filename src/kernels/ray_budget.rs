//! How many rays the next steps should have: `shaders/ray_budget.wgsl`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::ray_budget::RayBudget;
//! use wgen::kernels::STATE_WORDS;
//! use wgen::tensor::Data;
//!
//! // 100 rays had 500 samples: 200 of them will have 1000.
//! let budget = RayBudget { rays: 256, aim: 1000, least: 16, most: 256 };
//! let mut base = vec![500; 258]; // where all but the first few begin
//! base[257] = 256; // all fit
//! let mut buffers = [
//!     Data::U32(base),
//!     Data::F32(vec![100.0]),
//!     Data::U32(vec![0; STATE_WORDS]), // step 0, one of every 16
//!     Data::F32(vec![0.0; 3]),
//! ];
//! budget.reference(&mut buffers);
//! assert_eq!(buffers[3], Data::F32(vec![100.0, 500.0, 200.0]));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, STATE_WORDS, bytes_of};
use crate::tensor::DType;

/// The number changes at every 16th step.
pub const STEPS: u32 = 16;

/// From where the samples of `rays` rays begin, and the number of rays that were asked for, to the next number.
#[derive(Clone, Debug)]
pub struct RayBudget {
    /// Rays that there is room for, at least one.
    pub rays: usize,
    /// Samples that a step should have.
    pub aim: u32,
    /// The fewest rays.
    pub least: u32,
    /// The most rays.
    pub most: u32,
}

impl Kernel for RayBudget {
    fn family(&self) -> &'static str {
        "ray_budget"
    }

    fn variant(&self) -> String {
        format!("{} samples", self.aim)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("base", DType::U32, self.rays + 2),
            Binding::read("active_rays", DType::F32, 1),
            Binding::read("state", DType::U32, STATE_WORDS),
            Binding::write("out", DType::F32, 3),
        ]
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "ray_budget",
            entry: "ray_budget",
            context: json!({"bindings": super::wgsl_bindings(&self.bindings())}),
            constants: Vec::new(),
            params: vec![self.rays as u32, self.aim, self.least, self.most],
            workgroups: [1; 3],
            grid: Grid::Whole,
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let bindings = self.bindings();
        Cost {
            flops: 100.0,
            // Two words of the first.
            bytes: 8.0 + bytes_of(&bindings[1..]),
        }
    }
}
