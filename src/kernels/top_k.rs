//! The k largest along an axis, as a mask or as positions: `shaders/top_k.wgsl`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Caps;
//! use wgen::kernels::top_k::{Kept, TopK};
//! use wgen::tensor::Data;
//!
//! // The 2 largest of a row of 4; among equals the first count.
//! let row = Data::F32(vec![5.0, 9.0, 5.0, 1.0]);
//! let kernel = |kept| TopK::new(&Caps::portable(), [1, 4, 1], 2, kept);
//! let mut buffers = [row.clone(), Data::U32(vec![0; 2])];
//! kernel(Kept::Indices).reference(&mut buffers);
//! assert_eq!(buffers[1].as_u32(), [1, 0]);
//! let mut buffers = [row, Data::F32(vec![0.0; 4])];
//! kernel(Kept::Mask).reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F32(vec![1.0, 1.0, 0.0, 0.0]));
//! ```

use serde_json::json;

use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// 1 for each of the k largest, 0 for the others; as large as the operand.
    Mask,
    /// Their positions, the largest first: `[outer, k, inner]`, u32.
    Indices,
}

/// The `k` largest of each run of `length` in `[outer, length, inner]`. Among equals the first count.
#[derive(Clone, Debug)]
pub struct TopK {
    /// Runs, in sizes outside of the axis.
    pub outer: usize,
    /// The axis.
    pub length: usize,
    /// Sizes inside of the axis.
    pub inner: usize,
    /// How many; from 1 to `length`.
    pub k: usize,
    /// What is written.
    pub kept: Kept,
    /// Invocations that share a run.
    pub workgroup: u32,
}

impl TopK {
    /// For a device.
    pub fn new(caps: &Caps, [outer, length, inner]: [usize; 3], k: usize, kept: Kept) -> Self {
        Self {
            outer,
            length,
            inner,
            k,
            kept,
            workgroup: if caps.software { 8 } else { 64 },
        }
    }

    /// Elements of the result.
    pub fn results(&self) -> usize {
        let along = match self.kept {
            Kept::Mask => self.length,
            Kept::Indices => self.k,
        };
        self.outer * along * self.inner
    }
}

impl Kernel for TopK {
    fn family(&self) -> &'static str {
        "top_k"
    }

    fn variant(&self) -> String {
        let kept = match self.kept {
            Kept::Mask => "mask",
            Kept::Indices => "indices",
        };
        format!(
            "{} of {}, {kept}, {} a run",
            self.k, self.length, self.workgroup
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let dtype = match self.kept {
            Kept::Mask => DType::F32,
            Kept::Indices => DType::U32,
        };
        vec![
            Binding::read("x", DType::F32, self.outer * self.length * self.inner),
            Binding::write("out", dtype, self.results()),
        ]
    }

    fn launch(&self) -> Launch {
        let runs = self.outer * self.inner;
        let words = [runs, self.length, self.inner, self.k, 0];
        Launch {
            template: "top_k",
            entry: "top_k",
            context: json!({
                "mask": self.kept == Kept::Mask,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", f64::from(self.workgroup))],
            params: words.iter().map(|&w| w as u32).collect(),
            workgroups: fold(runs as u64),
            grid: Grid::Line { first: 4 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let elements = (self.outer * self.length * self.inner) as f64;
        Cost {
            flops: 34.0 * elements,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
