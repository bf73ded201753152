//! Images of another size, by the nearest pixel or bilinearly, and the gradient: `shaders/resize.wgsl`.
//!
//! Pixels lie as in PyTorch's `interpolate` with `align_corners` false.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::resize::{Interpolation, Resize};
//! use wgen::tensor::Data;
//!
//! // An image of one row, from two pixels to four.
//! let nearest = Resize { batch: 1, from: [1, 2], to: [1, 4], channels: 1, interpolation: Interpolation::Nearest, transposed: false };
//! let bilinear = Resize { interpolation: Interpolation::Bilinear, ..nearest.clone() };
//! let mut buffers = [vec![0.0, 4.0], vec![0.0; 4]].map(Data::F64);
//! nearest.reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F64(vec![0.0, 0.0, 4.0, 4.0]));
//! bilinear.reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F64(vec![0.0, 1.0, 3.0, 4.0]));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// How pixels in between are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// Pixel floor(o in / out): torch's mode `nearest`.
    Nearest,
    /// Between the two pixels around (o + 1/2) in / out - 1/2, the first and last repeated: torch's `bilinear`, `align_corners` false.
    Bilinear,
}

impl Interpolation {
    /// The name in templates and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
        }
    }
}

/// From images `[batch, from, from, channels]` to `[batch, to, to, channels]`, or the transpose of that.
#[derive(Clone, Debug)]
pub struct Resize {
    /// Images.
    pub batch: usize,
    /// Height and width before.
    pub from: [usize; 2],
    /// Height and width after.
    pub to: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// How.
    pub interpolation: Interpolation,
    /// Whether it is the transpose: from a gradient of the result to that of the images.
    pub transposed: bool,
}

impl Resize {
    /// `[batch, height, width, channels]` of operand and result.
    pub fn shapes(&self) -> ([usize; 4], [usize; 4]) {
        let of = |[height, width]: [usize; 2]| [self.batch, height, width, self.channels];
        if self.transposed {
            (of(self.to), of(self.from))
        } else {
            (of(self.from), of(self.to))
        }
    }

    fn is_vector(&self) -> bool {
        self.channels.is_multiple_of(4)
    }
}

impl Kernel for Resize {
    fn family(&self) -> &'static str {
        "resize"
    }

    fn variant(&self) -> String {
        let transposed = if self.transposed { " transposed" } else { "" };
        let vector = if self.is_vector() { " vec4" } else { "" };
        format!("{}{transposed}{vector}", self.interpolation.name())
    }

    fn bindings(&self) -> Vec<Binding> {
        let (operand, result) = self.shapes();
        let vector = self.is_vector();
        vec![
            Binding::read("image", DType::F32, operand.iter().product()).vector(vector),
            Binding::write("out", DType::F32, result.iter().product()).vector(vector),
        ]
    }

    fn launch(&self) -> Launch {
        let vector = self.is_vector();
        let channels = self.channels / if vector { 4 } else { 1 };
        let (_, result) = self.shapes();
        let units = result[0] * result[1] * result[2] * channels;
        let words = [
            units,
            channels,
            self.from[0],
            self.from[1],
            self.to[0],
            self.to[1],
            0,
        ];
        Launch {
            template: "resize",
            entry: "resize",
            context: json!({
                "interpolation": self.interpolation.name(),
                "transposed": self.transposed,
                "vector": vector,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: words.iter().map(|&w| w as u32).collect(),
            workgroups: fold(units.div_ceil(64) as u64),
            grid: Grid::Line { first: 6 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let (_, result) = self.shapes();
        let taps = match self.interpolation {
            Interpolation::Nearest => 1.0,
            Interpolation::Bilinear => 4.0,
        };
        Cost {
            flops: 2.0 * taps * result.iter().product::<usize>() as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
