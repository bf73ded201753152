//! Two-dimensional convolution and both of its gradients, as implicit matrix products: `shaders/conv2d.wgsl`.
//!
//! Implicit: the matrix of image patches is gathered while it is read, never stored. Images are `[batch, height, width, channels]`, weights
//! `[out, height, width, in]`.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Caps;
//! use wgen::kernels::conv2d::{Conv2d, Direction, Geometry};
//! use wgen::tensor::Data;
//!
//! // An image of 3 x 3 pixels, a kernel of 2 x 2 ones, stride 1, no padding: sums over the four windows.
//! let geometry = Geometry::square(1, 3, 1, 1, [2, 1, 0]);
//! assert_eq!(geometry.out_shape(), [1, 2, 2, 1]);
//! let image = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
//! let mut buffers = [image, vec![1.0; 4], vec![0.0; 4]].map(Data::F64);
//! Conv2d::new(&Caps::portable(), geometry, Direction::Forward)?.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F64(vec![12.0, 16.0, 24.0, 28.0]));
//!
//! // The gradient of the sum of these by the image: in how many windows each pixel is.
//! let mut buffers = [vec![1.0; 4], vec![1.0; 4], vec![0.0; 9]].map(Data::F64);
//! Conv2d::new(&Caps::portable(), geometry, Direction::Input)?.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F64(vec![1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]));
//! # Ok::<(), wgen::Error>(())
//! ```

use serde_json::json;

use super::expression::{Columns, Expression, Width};
use super::matmul::{Layout, Problem, Variant, parts};
use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, check_grid, fold};
use crate::error::Result;
use crate::tensor::DType;

mod geometry;

pub use geometry::Geometry;
use geometry::Phases;

/// Which of the three products a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The convolution: of images and weights.
    Forward,
    /// Its gradient by the images: of the result's gradient and weights. Also the transposed convolution.
    Input,
    /// Its gradient by the weights: of the result's gradient and images.
    Weight,
}

/// What the kernel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// The matrix product's.
    Product(Variant),
    /// Four channels an invocation, no sum over channels: every channel is a group of its own.
    Depthwise,
    /// A sum over taps of products that another kernel has made: `a` is `[source pixels, taps, channels]` of the result (forward:
    /// `[.., channels, taps]`), there is no `b`. See [`Conv2d::folds`].
    Fold,
}

/// One of the three products of a convolution.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Sizes.
    pub geometry: Geometry,
    /// Which product.
    pub direction: Direction,
    /// What becomes of a finished element; its domain is the result.
    pub epilogue: Expression,
    /// Also writes the sums of the result's gradient over all but its channels: the gradient of a bias; direction `Weight` only.
    pub row_sums: bool,
    /// Parts that the sum over images is cut into, whose results a reduction adds; direction `Weight` only.
    pub splits: usize,
    /// The body.
    pub body: Body,
}

impl Conv2d {
    /// One of the products of a convolution with nothing fused, in the variant that `caps` suggests.
    ///
    /// # Errors
    /// When the sizes make no convolution, or the grid is over the limit of workgroups.
    pub fn new(caps: &Caps, geometry: Geometry, direction: Direction) -> Result<Self> {
        geometry.check()?;
        let mut kernel = Self {
            geometry,
            direction,
            epilogue: Expression::accumulator(),
            row_sums: false,
            splits: 1,
            body: Body::Depthwise,
        };
        kernel.body = kernel.candidates(caps)[0];
        check_grid("conv2d", kernel.workgroups())?;
        Ok(kernel)
    }

    /// The bodies that can run on `caps`, the one to take first.
    pub fn candidates(&self, caps: &Caps) -> Vec<Body> {
        if self.geometry.is_depthwise() {
            return vec![Body::Depthwise];
        }
        let (m, n, segment) = self.sizes();
        let matrices = self.matrices();
        let total = self.geometry.terms() as usize / (m * n * matrices).max(1);
        let problem = Problem {
            layout: self.layout(),
            m,
            n,
            terms: total.max(1),
            segment,
            matrices,
            parts: if self.splits == 1 {
                self.most_splits()
            } else {
                1
            },
        };
        let variants = Variant::of(caps, &problem);
        variants.into_iter().map(Body::Product).collect()
    }

    /// Whether the convolution is best made of a product of matrices, [source pixels, channels] by all taps' weights, and [`Body::Fold`]:
    /// its result has so few channels that a tile of it would be mostly empty.
    pub fn folds(&self) -> bool {
        let g = &self.geometry;
        let (few, many) = match self.direction {
            Direction::Forward => (g.out_channels, g.channels),
            Direction::Input => (g.channels, g.out_channels),
            Direction::Weight => return false,
        };
        let taps = g.kernel[0] * g.kernel[1];
        g.groups == 1 && few <= 4 && many >= 8 && taps * few <= 128 && taps > 1
    }

    /// Into how many parts the sum over images should be cut: 1 where the result's tiles fill the device.
    pub(crate) fn wanted_splits(&self, caps: &Caps) -> usize {
        let most = if caps.software { 1 } else { self.most_splits() };
        parts(self.workgroups().iter().product::<u32>() as usize, most)
    }

    /// Into how many parts the sum may be cut: each has some rows of pixels.
    fn most_splits(&self) -> usize {
        let rows = self.geometry.batch * self.geometry.out_image()[0];
        match self.direction {
            Direction::Weight => (rows / 8).max(1),
            _ => 1,
        }
    }

    fn layout(&self) -> Layout {
        match self.direction {
            Direction::Forward => Layout::Nt,
            Direction::Input => Layout::Nn,
            Direction::Weight => Layout::Tn,
        }
    }

    /// Whether the taps of a row of the kernel and their channels are read as one run: they lie next to each other, and channels alone
    /// would fill no vec4.
    fn is_flat(&self) -> bool {
        let g = &self.geometry;
        self.direction == Direction::Forward
            && self.body != Body::Fold
            && g.groups == 1
            && g.dilation[1] == 1
            && !g.channels.is_multiple_of(4)
    }

    /// The residues of the gradient's coordinates, for direction `Input`; one for the others.
    fn phases(&self, axis: usize) -> Phases {
        let g = &self.geometry;
        if self.direction == Direction::Input {
            return g.residues(axis);
        }
        let flat = axis == 1 && self.is_flat();
        let taps = if flat { 1 } else { g.kernel[axis] };
        Phases {
            residues: vec![[0, taps as i32, -(g.padding[axis][0] as i32)]],
            step: g.dilation[axis] as i32,
            skip: 1,
        }
    }

    /// Rows of the product as places of an image: all of the result's pixels, or those of one residue of the image's.
    fn row_image(&self) -> [usize; 2] {
        match self.direction {
            Direction::Input => {
                [0, 1].map(|axis| self.geometry.image[axis].div_ceil(self.geometry.stride[axis]))
            }
            _ => self.geometry.out_image(),
        }
    }

    /// Rows, columns, and terms of a segment, of each matrix.
    fn sizes(&self) -> (usize, usize, usize) {
        let g = &self.geometry;
        let (channels, out) = (g.group_channels(), g.out_channels / g.groups);
        let [height, width] = self.row_image();
        match self.direction {
            Direction::Forward if self.is_flat() => {
                (g.batch * height * width, out, g.kernel[1] * channels)
            }
            Direction::Forward => (g.batch * height * width, out, channels),
            Direction::Input => (g.batch * height * width, channels, out),
            Direction::Weight => (out, g.kernel[0] * g.kernel[1] * channels, width),
        }
    }

    fn phase_count(&self) -> usize {
        match self.direction {
            Direction::Input => self.geometry.stride[0] * self.geometry.stride[1],
            _ => 1,
        }
    }

    /// Matrices of the grid's z: groups of channels, residues, parts of the sum.
    fn matrices(&self) -> usize {
        let groups = if self.body == Body::Depthwise && self.geometry.is_depthwise() {
            1
        } else {
            self.geometry.groups
        };
        groups * self.phase_count() * self.splits
    }

    fn workgroups(&self) -> [u32; 3] {
        let (m, n, _) = self.sizes();
        let Body::Product(variant) = self.body else {
            let [x, y, _] = fold(self.units().div_ceil(64) as u64);
            return [x, y, self.matrices() as u32];
        };
        let (rows, columns) = variant.tile();
        [
            n.div_ceil(columns) as u32,
            m.div_ceil(rows) as u32,
            self.matrices() as u32,
        ]
    }

    /// Invocations of the bodies that are no product.
    fn units(&self) -> usize {
        if self.body == Body::Fold {
            let (m, n, _) = self.sizes();
            return m * n;
        }
        let quads = self.geometry.channels / 4;
        let [height, width] = self.geometry.kernel;
        match self.direction {
            Direction::Weight => height * width * quads,
            _ => self.sizes().0 * quads,
        }
    }

    /// Elements of a, b and the result.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |shape: [usize; 4]| shape.iter().product::<usize>();
        let g = &self.geometry;
        let (image, weight, out) = (
            count(g.image_shape()),
            count(g.weight_shape()),
            count(g.out_shape()),
        );
        let taps = g.kernel[0] * g.kernel[1];
        match self.direction {
            Direction::Forward if self.body == Body::Fold => {
                (image / g.channels * taps * g.out_channels, 0, out)
            }
            Direction::Input if self.body == Body::Fold => {
                (out / g.out_channels * taps * g.channels, 0, image)
            }
            Direction::Forward => (image, weight, out),
            Direction::Input => (out, weight, image),
            Direction::Weight => (out, image, weight * self.splits),
        }
    }

    /// Which of a, b and the result are read and written four elements at a time.
    fn vectors(&self) -> (bool, bool, bool) {
        let g = &self.geometry;
        let four = |n: usize| n.is_multiple_of(4);
        let (channels, out) = (g.group_channels(), g.out_channels / g.groups);
        if self.body == Body::Fold {
            return (false, false, false);
        }
        if self.body == Body::Depthwise {
            let weight = self.direction == Direction::Weight;
            return (true, weight, !weight);
        }
        match self.direction {
            Direction::Forward => (four(channels), four(channels), four(out)),
            Direction::Input => (four(out), four(channels), four(channels)),
            Direction::Weight => (four(out), four(channels), four(channels)),
        }
    }

    /// What an element of the epilogue is.
    fn width(&self) -> Width {
        if self.vectors().2 {
            Width::Four
        } else {
            Width::One
        }
    }

    /// The words of the parameters before the epilogue's.
    fn words(&self) -> Vec<u32> {
        let g = &self.geometry;
        let (m, n, k) = self.sizes();
        let (y, x) = (self.phases(0), self.phases(1));
        let [out_height, out_width] = g.out_image();
        let ([source_height, source_width], source_channels) = match self.direction {
            Direction::Input => ([out_height, out_width], g.out_channels),
            _ => (g.image, g.channels),
        };
        // What a fold gathers from has all taps of the result's channels.
        let source_channels = match (self.body, self.direction) {
            (Body::Fold, _) => n * g.kernel[0] * g.kernel[1],
            _ => source_channels,
        };
        let [rows_height, rows_width] = self.row_image();
        // The image's pixels between neighbouring rows of one residue, and the source's.
        let (dest_stride, source_stride) = match self.direction {
            Direction::Input => (g.stride, [1, 1]),
            _ => ([1, 1], g.stride),
        };
        let ([dest_height, dest_width], dest_channels) = match self.direction {
            Direction::Input => (g.image, g.channels),
            _ => ([out_height, out_width], g.out_channels),
        };
        let segments = (g.batch * out_height).div_ceil(self.splits);
        let words = [
            m,
            n,
            k,
            g.groups,
            0,
            0,
            segments,
            g.batch * out_height,
            rows_height,
            rows_width,
            source_height,
            source_width,
            source_channels,
            dest_height,
            dest_width,
            dest_channels,
            dest_stride[0],
            dest_stride[1],
            g.kernel[1],
            g.kernel[0] * g.kernel[1],
            g.group_channels(),
            self.units(),
            source_stride[0],
            source_stride[1],
        ];
        let mut params: Vec<u32> = words.iter().map(|&w| w as u32).collect();
        params.extend([y.step as u32, x.step as u32, y.skip, x.skip]);
        params.extend([y.residues.len() as u32, x.residues.len() as u32, 0, 0]);
        for [first, taps, offset] in y.residues.iter().chain(&x.residues) {
            params.extend([*first as u32, *taps as u32, *offset as u32, 0]);
        }
        params
    }
}

impl Kernel for Conv2d {
    fn family(&self) -> &'static str {
        "conv2d"
    }

    fn variant(&self) -> String {
        let direction = match self.direction {
            Direction::Forward => "forward",
            Direction::Input => "input",
            Direction::Weight => "weight",
        };
        let body = match self.body {
            Body::Product(variant) => variant.describe(),
            Body::Depthwise => "depthwise".to_owned(),
            Body::Fold => "fold".to_owned(),
        };
        let [height, width] = self.geometry.kernel;
        let marks = [
            (self.is_flat(), "flat".to_owned()),
            (self.vectors().2, "vec4".to_owned()),
            (self.row_sums, "row_sums".to_owned()),
            (self.splits > 1, format!("/{}", self.splits)),
            (self.epilogue.terms.len() > 1, "epilogue".to_owned()),
        ];
        let marks = marks.iter().filter(|m| m.0).map(|m| format!(" +{}", m.1));
        format!(
            "{direction} {height}x{width} {body}{}",
            marks.collect::<String>()
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let (a, b, c) = self.counts();
        let (a_vector, b_vector, vector) = self.vectors();
        let mut bindings = vec![Binding::read("a", DType::F32, a).vector(a_vector).or_half()];
        if self.body != Body::Fold {
            bindings.push(Binding::read("b", DType::F32, b).vector(b_vector).or_half());
        }
        bindings.extend(self.epilogue.read_bindings("e", self.width()));
        bindings.extend(self.epilogue.state_binding());
        let results = 0..self.epilogue.results.len();
        bindings.extend(results.map(|i| {
            Binding::write(format!("out{i}"), DType::F32, c)
                .vector(vector)
                .or_half()
        }));
        if self.row_sums {
            let count = self.splits * self.geometry.out_channels;
            bindings.push(Binding::write("row_sums", DType::F32, count));
        }
        bindings
    }

    fn launch(&self) -> Launch {
        let g = &self.geometry;
        let (a_vector, b_vector, vector) = self.vectors();
        let (_, n, k) = self.sizes();
        let columns = Columns {
            row: match self.direction {
                Direction::Forward => g.out_channels,
                Direction::Input => g.channels,
                Direction::Weight => n,
            },
            count: self.counts().2,
        };
        // Only a product's tile has columns; the other bodies make each element on its own.
        let columns = matches!(self.body, Body::Product(_)).then_some(columns);
        let phases = self.phases(0).residues.len() + self.phases(1).residues.len();
        let mut context = self.epilogue.context("e", self.width(), 0, columns);
        let more = json!({
            "entry": "conv2d",
            "segmented": true,
            "direction": match self.direction {
                Direction::Forward => "forward",
                Direction::Input => "input",
                Direction::Weight => "weight",
            },
            "flat": self.is_flat(),
            "vector": vector,
            "a_vector": a_vector,
            "b_vector": b_vector,
            "accumulate": false,
            "row_sums": self.row_sums,
            "phases": phases,
            "grouped": g.groups > 1,
            "bindings": super::wgsl_bindings(&self.bindings()),
        });
        super::merge(&mut context, more);
        let body = match self.body {
            Body::Product(variant) => variant.context(self.layout(), k),
            Body::Depthwise | Body::Fold => json!({
                "variant": if self.body == Body::Fold { "fold" } else { "depthwise" },
                "layout": self.layout().name(),
                "tiles": false,
                "guard_k": false,
            }),
        };
        super::merge(&mut context, body);
        let mut params = self.words();
        let fixed = params.len();
        params.extend(self.epilogue.group_words());
        Launch {
            template: "conv2d",
            entry: "conv2d",
            context,
            constants: Vec::new(),
            params: super::pad_groups(params, fixed),
            workgroups: self.workgroups(),
            grid: match self.body {
                Body::Product(_) => Grid::Box {
                    first_y: 4,
                    first_z: 5,
                },
                Body::Depthwise | Body::Fold => Grid::Whole,
            },
            subgroups: matches!(self.body, Body::Product(v) if v.is_subgroup()),
        }
    }

    fn cost(&self) -> Cost {
        let (_, _, c) = self.counts();
        let products = match self.body {
            Body::Fold => self.counts().0 as f64,
            _ => 2.0 * self.geometry.terms(),
        };
        Cost {
            flops: products + c as f64 * self.epilogue.flops(),
            bytes: bytes_of(&self.bindings()),
        }
    }
}
