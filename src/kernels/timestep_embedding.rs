//! The sinusoidal embedding of timesteps, by which a diffusion network is told t: `shaders/timestep_embedding.wgsl`.
//!
//! Half of a row are sines of t times frequencies that fall geometrically, half are the cosines. Papers disagree on the order and on the
//! last frequency: that is the [`Convention`].
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::timestep_embedding::{Convention, TimestepEmbedding};
//! use wgen::tensor::Data;
//!
//! // Two frequencies by the convention of Ho et al. 2020, 1 and 1/10000, at t = 0 and t = 1.
//! let kernel = TimestepEmbedding { batch: 2, dim: 4, convention: Convention::DDPM, fraction_bits: 8, real: false };
//! let mut buffers = [Data::U32(vec![0, 1 << 8]), Data::F64(vec![0.0; 8])];
//! kernel.reference(&mut buffers);
//! let expected = [0.0, 0.0, 1.0, 1.0, 1_f64.sin(), 1e-4_f64.sin(), 1_f64.cos(), 1e-4_f64.cos()];
//! for (x, expected) in buffers[1].to_f64().iter().zip(expected) {
//!     assert!((x - expected).abs() < 1e-6);
//! }
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Which of the conventions in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convention {
    /// `[cos, sin]` (guided-diffusion), not `[sin, cos]` (Ho et al. 2020): diffusers' `flip_sin_to_cos`.
    pub cosine_first: bool,
    /// The exponent of the last frequency is `(half - 1) / (half - shift)`: 1 in Ho et al. 2020, 0 in guided-diffusion; diffusers'
    /// `freq_shift`.
    pub shift: f64,
    /// The longest wave is this times 2 pi.
    pub max_period: f64,
}

impl Convention {
    /// Ho et al. 2020.
    pub const DDPM: Self = Self {
        cosine_first: false,
        shift: 1.0,
        max_period: 10_000.0,
    };

    /// guided-diffusion.
    pub const ADM: Self = Self {
        cosine_first: true,
        shift: 0.0,
        max_period: 10_000.0,
    };
}

/// The largest embedding: its frequencies are in the uniform buffer.
const LARGEST: usize = 4096;

/// `[batch, dim]` of `batch` timesteps.
#[derive(Clone, Debug)]
pub struct TimestepEmbedding {
    /// Timesteps.
    pub batch: usize,
    /// Elements of an embedding.
    pub dim: usize,
    /// How it is laid out.
    pub convention: Convention,
    /// Timesteps come in units of 2^-this: solvers visit some between the integers that a network is trained at. Below 0 they are two's
    /// complement.
    pub fraction_bits: u32,
    /// Whether timesteps come as f32, and are rounded to those units here: training draws some of a process without timesteps.
    pub real: bool,
}

/// The most bits of a timestep's fraction: what is left of a word holds -2,048 to 2,047.
pub const MOST_FRACTION_BITS: u32 = 20;

impl TimestepEmbedding {
    /// Refuses sizes that have no frequencies, and fractions that leave no room for integers.
    ///
    /// # Errors
    /// Naming them.
    pub fn check(&self) -> Result<()> {
        let half = (self.dim / 2) as f64;
        if self.dim < 2 || self.dim > LARGEST || half <= self.convention.shift {
            return Err(Error::shape(
                "timestep_embedding",
                format!(
                    "{} columns with a frequency shift of {}: from 2 to {LARGEST} are possible, and half of them must be more than the shift",
                    self.dim, self.convention.shift
                ),
            ));
        }
        if self.fraction_bits > MOST_FRACTION_BITS {
            return Err(Error::shape(
                "timestep_embedding",
                format!(
                    "{} bits of fraction; at most {MOST_FRACTION_BITS} are possible",
                    self.fraction_bits
                ),
            ));
        }
        if self.real && self.fraction_bits == 0 {
            return Err(Error::shape(
                "timestep_embedding",
                "reals have a fraction; give it bits".to_owned(),
            ));
        }
        if !(self.convention.max_period >= 1.0 && self.convention.max_period.is_finite()) {
            return Err(Error::shape(
                "timestep_embedding",
                format!(
                    "max_period {} must be at least 1",
                    self.convention.max_period
                ),
            ));
        }
        Ok(())
    }

    /// Each frequency as turns a timestep, times 2^32.
    pub fn turns(&self) -> Vec<u32> {
        let half = self.dim / 2;
        let rate = -self.convention.max_period.ln() / (half as f64 - self.convention.shift);
        let turns = |i: usize| (rate * i as f64).exp() / std::f64::consts::TAU;
        (0..half)
            .map(|i| (turns(i) * 2_f64.powi(32)).round() as u32)
            .collect()
    }
}

impl Kernel for TimestepEmbedding {
    fn family(&self) -> &'static str {
        "timestep_embedding"
    }

    fn variant(&self) -> String {
        let order = if self.convention.cosine_first {
            "cos sin"
        } else {
            "sin cos"
        };
        let fraction = match self.fraction_bits {
            0 => String::new(),
            bits => format!(", {bits} bits of fraction"),
        };
        let real = if self.real { " of reals" } else { "" };
        format!("{order} {}{fraction}{real}", self.dim)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(
                "t",
                if self.real { DType::F32 } else { DType::U32 },
                self.batch,
            ),
            Binding::write("out", DType::F32, self.batch * self.dim),
        ]
    }

    fn launch(&self) -> Launch {
        let count = self.batch * self.dim;
        let mut turns = self.turns();
        turns.resize(turns.len().next_multiple_of(4), 0);
        let words = turns.len() / 4;
        let mut params = vec![count as u32, self.dim as u32, 0, self.fraction_bits];
        params.extend(turns);
        Launch {
            template: "timestep_embedding",
            entry: "timestep_embedding",
            context: json!({
                "cosine_first": self.convention.cosine_first,
                "fraction": self.fraction_bits > 0,
                "real": self.real,
                "words": words,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(count.div_ceil(64) as u64),
            grid: Grid::Line { first: 2 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 20.0 * (self.batch * self.dim) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
