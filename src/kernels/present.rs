//! Images into the pixels of a texture, side by side in a grid: `shaders/present.wgsl`.
//!
//! What a decoder has made can so be drawn without leaving the device: see
//! [`Plan::bind_texture`](crate::plan::Plan::bind_texture).
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Texel;
//! use wgen::kernels::present::{Picture, Present};
//! use wgen::tensor::Data;
//!
//! // 16 grey images of 28 x 28 in rows of 8: a texture 224 wide and 56 high.
//! let present = Present::new(16 * 28 * 28, Picture::grid(28, 28, 1, 8), Texel::Rgba8Unorm)?;
//! assert_eq!((present.images, present.size()), (16, [224, 56]));
//!
//! // Two images of one grey pixel: each becomes red, green, blue, all the same, and opaque.
//! let mut buffers = [vec![0.25, 0.75], vec![0.0; 8]].map(Data::F32);
//! Present::new(2, Picture::grid(1, 1, 1, 2), Texel::Rgba8Unorm)?.reference(&mut buffers);
//! assert_eq!(buffers[1], Data::F32(vec![0.25, 0.25, 0.25, 1.0, 0.75, 0.75, 0.75, 1.0]));
//! # Ok::<(), wgen::Error>(())
//! ```

use serde_json::json;

use super::{Access, Binding, Cost, Grid, Kernel, Launch, Texel};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Where images lie and how they are laid out in a texture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture {
    /// Rows of one image.
    pub height: usize,
    /// Columns of one image.
    pub width: usize,
    /// 1, 3 or 4.
    pub channels: usize,
    /// Images side by side.
    pub columns: usize,
    /// What brings values to the texture's range: 1 for values in [0, 1].
    pub scale: f32,
    /// Summand.
    pub shift: f32,
}

impl Picture {
    /// Images with values in [0, 1], `columns` side by side.
    pub fn grid(height: usize, width: usize, channels: usize, columns: usize) -> Self {
        Self {
            height,
            width,
            channels,
            columns,
            scale: 1.0,
            shift: 0.0,
        }
    }
}

/// Images as pixels of a texture.
#[derive(Clone, Debug)]
pub struct Present {
    /// How many.
    pub images: usize,
    /// Their shape and layout.
    pub picture: Picture,
    /// The texture's format.
    pub texel: Texel,
}

impl Present {
    /// The kernel for `values` floats of images.
    ///
    /// # Errors
    /// When they are no whole number of images, or the channels no colour.
    pub fn new(values: usize, picture: Picture, texel: Texel) -> Result<Self> {
        let Picture {
            height,
            width,
            channels,
            columns,
            ..
        } = picture;
        let one = height * width * channels;
        if ![1, 3, 4].contains(&channels) || one == 0 || columns == 0 {
            return Err(Error::shape(
                "present",
                format!(
                    "images of {height} x {width} with {channels} channels in {columns} columns; channels must be 1, 3 or 4"
                ),
            ));
        }
        if values == 0 || !values.is_multiple_of(one) {
            return Err(Error::shape(
                "present",
                format!("{values} values are no whole number of images of {one}"),
            ));
        }
        Ok(Self {
            images: values / one,
            picture,
            texel,
        })
    }

    /// Width and height of the texture that it fills.
    pub fn size(&self) -> [usize; 2] {
        let p = self.picture;
        [
            p.columns * p.width,
            self.images.div_ceil(p.columns) * p.height,
        ]
    }
}

impl Kernel for Present {
    fn family(&self) -> &'static str {
        "present"
    }

    fn variant(&self) -> String {
        format!(
            "{} channels to {}",
            self.picture.channels,
            self.texel.name()
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let p = self.picture;
        let [width, height] = self.size();
        let access = Access::Texture {
            texel: self.texel,
            width: width as u32,
            height: height as u32,
        };
        vec![
            Binding::read(
                "images",
                DType::F32,
                self.images * p.height * p.width * p.channels,
            ),
            Binding {
                access,
                ..Binding::write("pixels", DType::F32, 4 * width * height)
            },
        ]
    }

    fn launch(&self) -> Launch {
        let p = self.picture;
        let [width, height] = self.size();
        Launch {
            template: "present",
            entry: "present",
            context: json!({"texel": self.texel.name(), "channels": p.channels}),
            constants: Vec::new(),
            params: vec![
                self.images as u32,
                p.height as u32,
                p.width as u32,
                p.columns as u32,
                p.scale.to_bits(),
                p.shift.to_bits(),
            ],
            workgroups: [width.div_ceil(8) as u32, height.div_ceil(8) as u32, 1],
            grid: Grid::Whole,
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let values = self.bindings()[0].count as f64;
        let [width, height] = self.size();
        Cost {
            flops: 2.0 * values,
            bytes: 4.0 * values + (width * height * self.texel.bytes()) as f64,
        }
    }
}
