//! Volume rendering, from the thickness and colour of samples along rays to each ray's colour, opacity and depth:
//! `shaders/composite.wgsl`.
//!
//! `tau` is a sample's optical thickness, density times the length that the sample stands for; `t` its distance along the ray, in whatever
//! unit the depth is wanted in. With `alpha_k = 1 - exp(-tau_k)` and `T_k` the light that comes as far as sample k, the weight of a sample is
//! `w_k = T_k alpha_k`, and colour, opacity and depth are sums of `w_k colour_k`, `w_k` and `w_k t_k`. The background is the caller's: what of
//! it is seen is 1 - opacity.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::composite::{Composite, Samples, Wanted};
//! use wgen::tensor::Data;
//!
//! // One ray through a haze of thickness ln 2, which holds half of the light back, before a wall.
//! let samples = Samples::Dense { each: 2, epsilon: 0.0 };
//! let kernel = Composite { rays: 1, samples, wanted: Wanted::Value };
//! let (tau, colour, t) = (vec![2_f64.ln(), 50.0], vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0], vec![2.0, 4.0]);
//! let mut buffers = [tau, colour, t, vec![0.0; 5]].map(Data::F64);
//! kernel.reference(&mut buffers);
//! let expected = [0.5, 0.5, 0.0, 1.0, 3.0];
//! assert!(buffers[3].to_f64().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// What a ray comes to: red, green, blue, opacity, depth.
pub const COLUMNS: usize = 5;

/// How the samples of rays lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Samples {
    /// The same number a ray.
    Dense {
        /// Samples of a ray.
        each: usize,
        /// What nerf-pytorch adds to the light that a sample lets through, 1e-10. With 0 the light is the exponential of the summed
        /// thickness, which is more accurate.
        epsilon: f32,
    },
    /// Those of each ray behind those of the one before, from `base[ray]` to `base[ray + 1]`; those from `base[rays]` on belong to none.
    Packed {
        /// Samples that there is room for.
        capacity: usize,
    },
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Red, green, blue, opacity and depth of each ray.
    Value,
    /// The weight of each sample.
    Weights,
    /// The gradient by tau, from the value and the upstream gradient of each ray.
    GradientByTau,
    /// The gradient by colour, from the upstream gradient of each ray.
    GradientByColour,
    /// The gradient by t, from the upstream gradient of each ray.
    GradientByT,
}

impl Wanted {
    /// What the template calls it.
    fn stage(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Weights => "weights",
            Self::GradientByTau => "tau",
            Self::GradientByColour => "colour",
            Self::GradientByT => "t",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Self::Value => "composite_value",
            Self::Weights => "composite_weights",
            Self::GradientByTau => "composite_tau",
            Self::GradientByColour => "composite_colour",
            Self::GradientByT => "composite_t",
        }
    }

    /// Operations a sample.
    fn flops(self) -> usize {
        match self {
            Self::Value => 40,
            Self::GradientByTau => 70,
            Self::Weights | Self::GradientByColour | Self::GradientByT => 30,
        }
    }

    /// Bytes a sample, the ray's own aside.
    fn bytes(self) -> usize {
        match self {
            Self::Value => 20,
            Self::GradientByTau => 24,
            Self::GradientByColour => 16,
            Self::Weights | Self::GradientByT => 8,
        }
    }
}

/// Colour, opacity and depth of rays, or one of the gradients.
#[derive(Clone, Debug)]
pub struct Composite {
    /// Rays.
    pub rays: usize,
    /// How their samples lie.
    pub samples: Samples,
    /// What is computed.
    pub wanted: Wanted,
}

impl Composite {
    /// Samples of all rays, with those that belong to none.
    pub fn count(&self) -> usize {
        match self.samples {
            Samples::Dense { each, .. } => self.rays * each,
            Samples::Packed { capacity } => capacity,
        }
    }

    /// Whether the samples lie packed.
    pub fn packed(&self) -> bool {
        matches!(self.samples, Samples::Packed { .. })
    }

    /// What is added to the light that a sample lets through.
    pub fn epsilon(&self) -> f32 {
        match self.samples {
            Samples::Dense { epsilon, .. } => epsilon,
            Samples::Packed { .. } => 0.0,
        }
    }
}

impl Kernel for Composite {
    fn family(&self) -> &'static str {
        "composite"
    }

    fn variant(&self) -> String {
        let wanted = match self.wanted {
            Wanted::Value => "value",
            Wanted::Weights => "weights",
            Wanted::GradientByTau => "gradient by tau",
            Wanted::GradientByColour => "gradient by colour",
            Wanted::GradientByT => "gradient by t",
        };
        let samples = match self.samples {
            Samples::Packed { .. } => "packed",
            Samples::Dense { epsilon: 0.0, .. } => "dense",
            Samples::Dense { .. } => "dense, epsilon",
        };
        format!("{wanted}, {samples}")
    }

    fn bindings(&self) -> Vec<Binding> {
        let (count, rays) = (self.count(), COLUMNS * self.rays);
        let read = |name: &str, count: usize| Binding::read(name, DType::F32, count);
        let mut bindings = vec![read("tau", count)];
        if matches!(self.wanted, Wanted::Value | Wanted::GradientByTau) {
            bindings.extend([read("colour", 3 * count), read("t", count)]);
        }
        match self.wanted {
            Wanted::Value | Wanted::Weights => {}
            Wanted::GradientByTau => bindings.extend([read("value", rays), read("upstream", rays)]),
            Wanted::GradientByColour | Wanted::GradientByT => bindings.push(read("upstream", rays)),
        }
        if self.packed() {
            bindings.push(Binding::read("base", DType::U32, self.rays + 2));
        }
        let out = match self.wanted {
            Wanted::Value => rays,
            Wanted::GradientByColour => 3 * count,
            Wanted::Weights | Wanted::GradientByTau | Wanted::GradientByT => count,
        };
        bindings.push(Binding::write("out", DType::F32, out));
        bindings
    }

    fn launch(&self) -> Launch {
        let samples = match self.samples {
            Samples::Dense { each, .. } => each,
            Samples::Packed { capacity } => capacity,
        };
        let epsilon = self.epsilon();
        Launch {
            template: "composite",
            entry: self.wanted.entry(),
            context: json!({
                "stage": self.wanted.stage(),
                "packed": self.packed(),
                "epsilon": epsilon != 0.0,
                "flops": self.wanted.flops(),
                "bytes": self.wanted.bytes(),
                "functions": ["exp_minus_one"],
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![self.rays as u32, samples as u32, 0, epsilon.to_bits()],
            workgroups: fold(self.rays.div_ceil(64) as u64),
            grid: Grid::Line { first: 2 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: (self.wanted.flops() * self.count()) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
