//! The positional encoding of NeRF, by which a network sees high frequencies of a position: `shaders/frequency_encode.wgsl`.
//!
//! The order is nerf-pytorch's: the position, then the sines and the cosines of `2^k` times it for each octave k. There is no factor of pi.
//! Sines and cosines are of our own, with x reduced in integers, because drivers promise nothing of them beyond pi and the arguments reach
//! thousands.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::frequency_encode::FrequencyEncode;
//! use wgen::tensor::Data;
//!
//! // Two coordinates, two octaves.
//! let kernel = FrequencyEncode { rows: 1, width: 2, octaves: 2, order: 0 };
//! let x = [0.5_f64, -3.0];
//! let mut buffers = [Data::F64(x.to_vec()), Data::F64(vec![0.0; 10])];
//! kernel.reference(&mut buffers);
//! let blocks = [x, x.map(f64::sin), x.map(f64::cos), x.map(|x| (2.0 * x).sin()), x.map(|x| (2.0 * x).cos())];
//! assert_eq!(buffers[1].to_f64(), blocks.concat());
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// `[rows, width (1 + 2 octaves)]` of `[rows, width]`.
#[derive(Clone, Debug)]
pub struct FrequencyEncode {
    /// Vectors.
    pub rows: usize,
    /// Coordinates of each.
    pub width: usize,
    /// Octaves, from 1 to [`FrequencyEncode::MOST_OCTAVES`].
    pub octaves: usize,
    /// 0 for the encoding; m for its derivative number m, every element by its own coordinate.
    pub order: usize,
}

impl FrequencyEncode {
    /// The largest number of octaves: x may then have up to 128 on either side, and `2^(31 - octaves)` with fewer.
    pub const MOST_OCTAVES: usize = 24;

    /// Elements of a row of the result.
    pub fn columns(&self) -> usize {
        self.width * (1 + 2 * self.octaves)
    }

    /// Refuses octaves that the kernel has not.
    ///
    /// # Errors
    /// Naming them.
    pub fn check(&self) -> Result<()> {
        if (1..=Self::MOST_OCTAVES).contains(&self.octaves) {
            return Ok(());
        }
        Err(Error::shape(
            "frequency_encode",
            format!(
                "{} octaves: from 1 to {} are possible",
                self.octaves,
                Self::MOST_OCTAVES
            ),
        ))
    }

    fn pairs(&self) -> usize {
        self.rows * self.octaves * self.width
    }
}

impl Kernel for FrequencyEncode {
    fn family(&self) -> &'static str {
        "frequency_encode"
    }

    fn variant(&self) -> String {
        let octaves = format!("{} of {} octaves", self.width, self.octaves);
        match self.order {
            0 => octaves,
            order => format!("{octaves}, derivative {order}"),
        }
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("x", DType::F32, self.rows * self.width),
            Binding::write("out", DType::F32, self.rows * self.columns()),
        ]
    }

    fn launch(&self) -> Launch {
        let words = [self.pairs(), self.width, self.octaves, 0];
        Launch {
            template: "frequency_encode",
            entry: "frequency_encode",
            context: json!({
                "order": self.order,
                "growth": " * rate".repeat(self.order),
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: words.iter().map(|&w| w as u32).collect(),
            workgroups: fold(self.pairs().div_ceil(64) as u64),
            grid: Grid::Line { first: 3 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 70.0 * self.pairs() as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
