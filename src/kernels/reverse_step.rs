//! A reverse step of diffusion, from noisy images to less noisy ones: `shaders/reverse_step.wgsl`.
//!
//! One kernel serves every sampler and parameterisation: x_0 is estimated as `x0_x x + x0_p p` of the images x and the network's prediction
//! p, and clipped; the result is `mean_x0 x_0 + mean_x x + mean_p p` and noise. A sampler gives the coefficients, a row of
//! [columns](mod@column).
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::reverse_step::{COLUMNS, NO_NOISE, ReverseStep, column};
//! use wgen::tensor::Data;
//!
//! let kernel = ReverseStep { batch: 1, pixels: 1, channels: 2, learned: false, guided: false, stream: None };
//! let mut step = vec![0.0; COLUMNS];
//! (step[column::X0_X], step[column::X0_P], step[column::CLIP]) = (2.0, -1.0, 1.0);
//! (step[column::MEAN_X0], step[column::MEAN_P], step[column::MIN_LOG_VARIANCE]) = (0.5, 0.25, NO_NOISE);
//! let (x, prediction, noise) = (vec![1.0, 0.5], vec![0.5, 0.5], vec![1.0, 1.0]);
//! let mut buffers = [x, prediction, step, noise, vec![0.0; 2]].map(Data::F64);
//! kernel.reference(&mut buffers);
//! // x_0 is 2 x - p = (1.5, 0.5), clipped to (1, 0.5).
//! assert_eq!(buffers[4], Data::F64(vec![0.5 * 1.0 + 0.25 * 0.5, 0.5 * 0.5 + 0.25 * 0.5]));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, STATE_WORDS, bytes_of, fold};
use crate::tensor::DType;

/// Coefficients of a step.
pub const COLUMNS: usize = 10;

/// Where each stands in a row of [`COLUMNS`].
pub mod column {
    /// Of x in x_0.
    pub const X0_X: usize = 0;
    /// Of the prediction in x_0.
    pub const X0_P: usize = 1;
    /// x_0 is clipped to minus this and this.
    pub const CLIP: usize = 2;
    /// Of x_0 in the mean.
    pub const MEAN_X0: usize = 3;
    /// Of x.
    pub const MEAN_X: usize = 4;
    /// Of the prediction.
    pub const MEAN_P: usize = 5;
    /// ln of the variance where the network's variance output is -1, and where nothing is learned.
    pub const MIN_LOG_VARIANCE: usize = 6;
    /// Where it is 1.
    pub const MAX_LOG_VARIANCE: usize = 7;
    /// Scale of classifier-free guidance.
    pub const GUIDANCE: usize = 8;
    /// The number of the noise's draw.
    pub const DRAW: usize = 9;
    /// The names in WGSL, in order.
    pub(crate) const NAMES: [&str; super::COLUMNS] = [
        "X0_X",
        "X0_P",
        "CLIP",
        "MEAN_X0",
        "MEAN_X",
        "MEAN_P",
        "MIN_LOG_VARIANCE",
        "MAX_LOG_VARIANCE",
        "GUIDANCE",
        "DRAW",
    ];
}

/// A smaller ln of the variance is no noise: exp(-200) is far below what is added to it.
pub const NO_NOISE: f64 = -400.0;

/// From x and the network's prediction to the x before it.
#[derive(Clone, Debug)]
pub struct ReverseStep {
    /// Examples.
    pub batch: usize,
    /// Pixels of one.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Whether the prediction has twice the channels, the second half for the variance.
    pub learned: bool,
    /// Whether the prediction has twice the rows, the second half without a class.
    pub guided: bool,
    /// The noise's stream; `None` where the noise is an operand.
    pub stream: Option<u32>,
}

impl ReverseStep {
    /// Elements of x.
    pub fn count(&self) -> usize {
        self.batch * self.pixels * self.channels
    }

    /// Elements of the prediction.
    pub fn predictions(&self) -> usize {
        let twice = |yes: bool| if yes { 2 } else { 1 };
        self.count() * twice(self.learned) * twice(self.guided)
    }
}

impl Kernel for ReverseStep {
    fn family(&self) -> &'static str {
        "reverse_step"
    }

    fn variant(&self) -> String {
        let word = |yes: bool, word: &'static str| if yes { word } else { "" };
        format!(
            "block of 4{}{}{}",
            word(self.learned, ", learned variance"),
            word(self.guided, ", guided"),
            word(self.stream.is_none(), ", noise given")
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let noise = match self.stream {
            Some(_) => Binding::read("state", DType::U32, STATE_WORDS),
            None => Binding::read("noise", DType::F32, self.count()),
        };
        vec![
            Binding::read("x", DType::F32, self.count()),
            Binding::read("prediction", DType::F32, self.predictions()),
            Binding::read("step", DType::F32, COLUMNS),
            noise,
            Binding::write("out", DType::F32, self.count()),
        ]
    }

    fn launch(&self) -> Launch {
        let width = self.pixels * self.channels;
        let units = self.batch * width.div_ceil(4);
        let words = [units, self.batch, width, self.channels];
        let mut params: Vec<u32> = words.iter().map(|&w| w as u32).collect();
        params.extend([self.stream.unwrap_or(0), 0]);
        Launch {
            template: "reverse_step",
            entry: "reverse_step",
            context: json!({
                "learned": self.learned,
                "guided": self.guided,
                "given": self.stream.is_none(),
                "columns": COLUMNS,
                "columns_by_name": column::NAMES,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(units.div_ceil(64) as u64),
            grid: Grid::Line { first: 5 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 60.0 * self.count() as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
