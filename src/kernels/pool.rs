//! Maximum and average over windows of images, and their gradients: `shaders/pool.wgsl`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::pool::{Mode, Pool, Windows};
//! use wgen::tensor::Data;
//!
//! let windows = Windows { batch: 1, image: [2, 4], channels: 1, size: [2, 2], stride: [2, 2], padding: [0, 0] };
//! assert_eq!(windows.out_shape(), [1, 1, 2, 1]);
//! let image = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0];
//! let mut buffers = [image.clone(), vec![0.0; 2]].map(Data::F64);
//! Pool { windows, mode: Mode::Max }.reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F64(vec![6.0, 7.0]));
//!
//! // The gradient goes to the largest pixel of each window.
//! let mut buffers = [image, vec![10.0, 20.0], vec![0.0; 8]].map(Data::F64);
//! Pool { windows, mode: Mode::MaxRoute }.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F64(vec![0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 20.0, 0.0]));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Windows over images `[batch, height, width, channels]`; pairs are vertical, then horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Windows {
    /// Images.
    pub batch: usize,
    /// Height and width of an image.
    pub image: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Height and width of a window.
    pub size: [usize; 2],
    /// Pixels between neighbouring windows.
    pub stride: [usize; 2],
    /// Pixels around the image, which no maximum takes and every average counts as 0.
    pub padding: [usize; 2],
}

impl Windows {
    /// Refuses windows that do not fit.
    ///
    /// # Errors
    /// Naming what is wrong.
    pub fn check(&self) -> Result<()> {
        for axis in 0..2 {
            let (size, stride, padding) = (self.size[axis], self.stride[axis], self.padding[axis]);
            let padded = self.image[axis] + 2 * padding;
            if size == 0 || stride == 0 || size > padded || 2 * padding > size {
                return Err(Error::shape(
                    "pool",
                    format!(
                        "windows of {size} every {stride} over {} pixels, {padding} of padding: size and stride must be at least 1, the \
                         window no larger than the padded image, the padding at most half of the window",
                        self.image[axis]
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Windows along height and width.
    pub fn out_image(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            (self.image[axis] + 2 * self.padding[axis] - self.size[axis]) / self.stride[axis] + 1
        })
    }

    /// `[batch, height, width, channels]` of the images.
    pub fn image_shape(&self) -> [usize; 4] {
        [self.batch, self.image[0], self.image[1], self.channels]
    }

    /// `[batch, height, width, channels]` of the result.
    pub fn out_shape(&self) -> [usize; 4] {
        let [height, width] = self.out_image();
        [self.batch, height, width, self.channels]
    }
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The largest of each window; of images.
    Max,
    /// The gradient of that: to the first largest of each window; of images and the result's gradient.
    MaxRoute,
    /// What stands where the first largest of each window is; of images and what is picked from.
    MaxPick,
    /// The mean of each window; of images.
    Average,
    /// The gradient of that; of the result's gradient.
    AverageSpread,
}

impl Mode {
    /// The name in templates and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::MaxRoute => "max_route",
            Self::MaxPick => "max_pick",
            Self::Average => "average",
            Self::AverageSpread => "average_spread",
        }
    }

    /// Whether the result has an element a pixel of the image, not a window.
    pub(crate) fn is_gradient(self) -> bool {
        matches!(self, Self::MaxRoute | Self::AverageSpread)
    }
}

/// One pass of pooling.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The windows.
    pub windows: Windows,
    /// What is computed.
    pub mode: Mode,
}

impl Pool {
    /// Sizes of the operands and of the result.
    pub fn shapes(&self) -> (Vec<[usize; 4]>, [usize; 4]) {
        let (image, out) = (self.windows.image_shape(), self.windows.out_shape());
        match self.mode {
            Mode::Max | Mode::Average => (vec![image], out),
            Mode::MaxRoute => (vec![image, out], image),
            Mode::MaxPick => (vec![image, image], out),
            Mode::AverageSpread => (vec![out], image),
        }
    }

    fn is_vector(&self) -> bool {
        self.windows.channels.is_multiple_of(4)
    }
}

impl Kernel for Pool {
    fn family(&self) -> &'static str {
        "pool"
    }

    fn variant(&self) -> String {
        let [height, width] = self.windows.size;
        let vector = if self.is_vector() { " vec4" } else { "" };
        format!("{} {height}x{width}{vector}", self.mode.name())
    }

    fn bindings(&self) -> Vec<Binding> {
        let (operands, result) = self.shapes();
        let count = |shape: &[usize; 4]| shape.iter().product();
        let names: &[&str] = match self.mode {
            Mode::Max | Mode::Average => &["image"],
            Mode::MaxRoute => &["image", "upstream"],
            Mode::MaxPick => &["image", "picked"],
            Mode::AverageSpread => &["upstream"],
        };
        names
            .iter()
            .zip(&operands)
            .map(|(name, shape)| Binding::read(*name, DType::F32, count(shape)))
            .chain([Binding::write("out", DType::F32, count(&result))])
            .map(|binding| binding.vector(self.is_vector()))
            .collect()
    }

    fn launch(&self) -> Launch {
        let w = &self.windows;
        let vector = self.is_vector();
        let channels = w.channels / if vector { 4 } else { 1 };
        let [out_height, out_width] = w.out_image();
        let pixels = if self.mode.is_gradient() {
            w.image
        } else {
            [out_height, out_width]
        };
        let units = w.batch * pixels[0] * pixels[1] * channels;
        let words = [
            units,
            channels,
            w.image[0],
            w.image[1],
            out_height,
            out_width,
            w.size[0],
            w.size[1],
            w.stride[0],
            w.stride[1],
            w.padding[0],
            w.padding[1],
            0,
        ];
        Launch {
            template: "pool",
            entry: "pool",
            context: json!({
                "mode": self.mode.name(),
                "vector": vector,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: words.iter().map(|&w| w as u32).collect(),
            workgroups: fold(units.div_ceil(64) as u64),
            grid: Grid::Line { first: 12 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let [height, width] = self.windows.size;
        let windows: usize = self.windows.out_shape().iter().product();
        Cost {
            flops: (windows * height * width) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
