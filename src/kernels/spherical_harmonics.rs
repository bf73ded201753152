//! Spherical harmonics of a direction, by which a network's colour depends on where it is seen from: `shaders/spherical_harmonics.wgsl`.
//!
//! The 16 of degree 0 to 3, in the order and with the signs of tiny-cuda-nn, and their gradient by the direction.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::spherical_harmonics::{Mode, SphericalHarmonics};
//! use wgen::tensor::Data;
//!
//! let kernel = SphericalHarmonics { rows: 1, mode: Mode::Value };
//! let mut buffers = [Data::F64(vec![0.48, -0.6, 0.64]), Data::F64(vec![0.0; 16])];
//! kernel.reference(&mut buffers);
//! let values = buffers[1].to_f64();
//! // Their squares have the same sum in every direction (Unsöld's theorem).
//! let sum: f64 = values.iter().map(|v| v * v).sum();
//! assert!((sum - 4.0 / std::f64::consts::PI).abs() < 1e-12);
//! assert!(values[1] > 0.0 && values[2] > 0.0 && values[3] < 0.0); // -y, z, -x
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// How many there are.
pub const VALUES: usize = 16;

/// Their factors, by the names that the shader's header gives them.
pub(crate) mod factor {
    pub(crate) const A: f64 = 0.282_094_791_773_878_14;
    pub(crate) const B: f64 = 0.488_602_511_902_919_9;
    pub(crate) const C: f64 = 1.092_548_430_592_079_2;
    pub(crate) const D: f64 = 0.315_391_565_252_520_05;
    pub(crate) const E: f64 = 0.590_043_589_926_643_5;
    pub(crate) const F: f64 = 2.890_611_442_640_554;
    pub(crate) const G: f64 = 0.457_045_799_464_465_7;
    pub(crate) const H: f64 = 0.373_176_332_590_115_4;
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `[rows, 16]` of directions `[rows, 3]`.
    Value,
    /// Of directions and the gradient by those values, the gradient by the directions `[rows, 3]`.
    Gradient,
}

/// The harmonics of `rows` directions, or their gradient.
#[derive(Clone, Debug)]
pub struct SphericalHarmonics {
    /// Directions.
    pub rows: usize,
    /// What is computed.
    pub mode: Mode,
}

impl Kernel for SphericalHarmonics {
    fn family(&self) -> &'static str {
        "spherical_harmonics"
    }

    fn variant(&self) -> String {
        match self.mode {
            Mode::Value => "16".to_owned(),
            Mode::Gradient => "16, gradient".to_owned(),
        }
    }

    fn bindings(&self) -> Vec<Binding> {
        let direction = Binding::read("direction", DType::F32, 3 * self.rows);
        let values = VALUES * self.rows;
        match self.mode {
            Mode::Value => vec![
                direction,
                Binding::write("out", DType::F32, values).vector(true),
            ],
            Mode::Gradient => vec![
                direction,
                Binding::read("upstream", DType::F32, values).vector(true),
                Binding::write("out", DType::F32, 3 * self.rows),
            ],
        }
    }

    fn launch(&self) -> Launch {
        Launch {
            template: "spherical_harmonics",
            entry: "spherical_harmonics",
            context: json!({
                "gradient": self.mode == Mode::Gradient,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![self.rows as u32, 0],
            workgroups: fold(self.rows.div_ceil(64) as u64),
            grid: Grid::Line { first: 1 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let each = match self.mode {
            Mode::Value => 40.0,
            Mode::Gradient => 90.0,
        };
        Cost {
            flops: each * self.rows as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
