//! Group normalisation with its activation, and its gradient: `shaders/group_norm.wgsl`.
//!
//! The value takes two kernels: [`Mode::Statistics`] finds the mean and the inverse standard deviation of each group of channels,
//! [`Mode::Apply`] normalises by them, with gain and bias. The other modes are the gradient's.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Caps;
//! use wgen::kernels::group_norm::{GroupNorm, Mode, Sizes};
//! use wgen::tensor::Data;
//!
//! let sizes = Sizes { batch: 1, pixels: 2, channels: 2, groups: 1 };
//! let kernel = |mode| GroupNorm::new(&Caps::portable(), sizes, mode, false, true, 0.0);
//! let mut buffers = [vec![1.0, 3.0, 1.0, 3.0], vec![0.0; 2]].map(Data::F64);
//! kernel(Mode::Statistics).reference(&mut buffers);
//! let [x, statistics] = buffers;
//! assert_eq!(statistics, Data::F64(vec![2.0, 1.0]));
//!
//! let [gain, bias, out] = [vec![1.0, 10.0], vec![0.0, 100.0], vec![0.0; 4]].map(Data::F64);
//! let mut buffers = [x, statistics, gain, bias, out];
//! kernel(Mode::Apply).reference(&mut buffers);
//! assert_eq!(buffers[4], Data::F64(vec![-1.0, 110.0, -1.0, 110.0]));
//! ```

use serde_json::json;

use super::{Binding, Caps, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// What is computed; the shader's header has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Mean and 1 / sqrt(variance + epsilon) of each group.
    Statistics,
    /// The value.
    Apply,
    /// Over pixels, sums of the gradient by z, and of that times x^.
    Sums,
    /// The gradient by x.
    Input,
}

/// Images `[batch, pixels, channels]`, their channels in groups of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// Images.
    pub batch: usize,
    /// Pixels of one.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Groups; they divide the channels.
    pub groups: usize,
}

impl Sizes {
    /// Elements of x.
    pub fn count(&self) -> usize {
        self.batch * self.pixels * self.channels
    }

    /// Channels of a group.
    pub(crate) fn per_group(&self) -> usize {
        self.channels / self.groups
    }
}

/// Pixels that an invocation has: places and tables are found once for all of them.
const STRIP: usize = 8;

/// Group normalisation, or one of the kernels of its gradient.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// Sizes.
    pub sizes: Sizes,
    /// What is computed.
    pub mode: Mode,
    /// Whether silu follows.
    pub silu: bool,
    /// Whether all images have one gain and bias.
    pub shared: bool,
    /// Added to the variance.
    pub epsilon: f32,
    /// Invocations of a workgroup.
    pub workgroup: u32,
}

impl GroupNorm {
    /// For a device.
    pub fn new(
        caps: &Caps,
        sizes: Sizes,
        mode: Mode,
        silu: bool,
        shared: bool,
        epsilon: f32,
    ) -> Self {
        let sums = matches!(mode, Mode::Statistics | Mode::Sums);
        Self {
            sizes,
            mode,
            silu,
            shared,
            epsilon,
            workgroup: if sums && caps.software { 8 } else { 64 },
        }
    }

    /// Whether four neighbouring channels are read as one: they are of one group, or of two or four whole ones.
    fn is_vector(&self) -> bool {
        let per_group = self.sizes.per_group();
        self.sizes.channels.is_multiple_of(4)
            && (per_group.is_multiple_of(4) || matches!(per_group, 1 | 2))
    }

    fn mode_name(&self) -> &'static str {
        match self.mode {
            Mode::Statistics => "statistics",
            Mode::Apply => "apply",
            Mode::Sums => "sums",
            Mode::Input => "input",
        }
    }
}

impl Kernel for GroupNorm {
    fn family(&self) -> &'static str {
        "group_norm"
    }

    fn variant(&self) -> String {
        format!(
            "{}{}{}",
            self.mode_name(),
            if self.silu { " silu" } else { "" },
            if self.is_vector() { " vec4" } else { "" }
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let s = &self.sizes;
        let statistics = 2 * s.batch * s.groups;
        let affine = if self.shared {
            s.channels
        } else {
            s.batch * s.channels
        };
        let vector = self.is_vector();
        let read = |name: &str, count| Binding::read(name, DType::F32, count).vector(vector);
        let write = |name: &str, count| Binding::write(name, DType::F32, count).vector(vector);
        let mut bindings = vec![read("x", s.count())];
        if self.mode == Mode::Statistics {
            bindings.push(Binding::write("statistics", DType::F32, statistics));
            return bindings;
        }
        bindings.extend([
            Binding::read("statistics", DType::F32, statistics),
            read("gain", affine),
            read("bias", affine),
        ]);
        match self.mode {
            Mode::Statistics => {}
            Mode::Apply => bindings.push(write("out", s.count())),
            Mode::Sums => bindings.extend([
                read("upstream", s.count()),
                write("sums", 2 * s.batch * s.channels),
            ]),
            Mode::Input => bindings.extend([
                read("upstream", s.count()),
                Binding::read("group_means", DType::F32, statistics),
                write("out", s.count()),
            ]),
        }
        bindings
    }

    fn launch(&self) -> Launch {
        let s = &self.sizes;
        let vector = self.is_vector();
        let each = if vector { 4 } else { 1 };
        let lanes = s.channels / each;
        // What a workgroup of `statistics` has: a group, or as many as four channels are of.
        let wide = (s.per_group() / each).max(1);
        let (units, groups) = match self.mode {
            Mode::Statistics => (s.batch * lanes / wide, s.batch * lanes / wide),
            Mode::Sums => (s.batch * lanes, s.batch * lanes),
            Mode::Apply | Mode::Input => {
                let units = s.batch * s.pixels.div_ceil(STRIP) * lanes;
                (units, units.div_ceil(self.workgroup as usize))
            }
        };
        let words = [
            units,
            s.pixels,
            lanes,
            s.channels,
            s.groups,
            s.batch * s.groups,
            wide,
            0,
        ];
        let mut params: Vec<u32> = words.iter().map(|&w| w as u32).collect();
        params.push(self.epsilon.to_bits());
        params.push(s.pixels.div_ceil(STRIP) as u32);
        Launch {
            template: "group_norm",
            entry: "group_norm",
            context: json!({
                "mode": self.mode_name(),
                "silu": self.silu,
                "shared": self.shared,
                "vector": vector,
                "per_group": s.per_group(),
                "strip": STRIP,
                "functions": ["sigmoid"],
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", f64::from(self.workgroup))],
            params,
            workgroups: fold(groups as u64),
            grid: Grid::Line { first: 7 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        let each = match self.mode {
            Mode::Statistics => 3.0,
            Mode::Apply => 4.0,
            Mode::Sums => 5.0,
            Mode::Input => 8.0,
        };
        let activation = match self.mode {
            Mode::Statistics => 0.0,
            _ if self.silu => 15.0,
            _ => 0.0,
        };
        Cost {
            flops: (each + activation) * self.sizes.count() as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
