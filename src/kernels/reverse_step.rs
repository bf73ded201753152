//! A reverse step of diffusion, from noisy images to less noisy ones: `shaders/reverse_step.wgsl`.
//!
//! One kernel serves every sampler: the result is linear in x, in the x_0 that [`PredictX0`](super::predict_x0::PredictX0) made of the
//! network's prediction, and in what a sampler keeps of earlier steps; and noise. A sampler gives the coefficients, a row of
//! [columns](mod@column), of which both kernels read theirs.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::reverse_step::{COLUMNS, Operands, ReverseStep, column};
//! use wgen::tensor::Data;
//!
//! let operands = Operands { previous: true, ..Operands::default() };
//! let kernel = ReverseStep { batch: 1, pixels: 1, channels: 2, operands, stream: None };
//! let mut step = vec![0.0; COLUMNS];
//! (step[column::MEAN_X0], step[column::MEAN_X], step[column::MEAN_PREVIOUS]) = (0.5, 0.25, -1.0);
//! let (x, x0, noise, previous) = (vec![1.0, 0.5], vec![0.5, 0.5], vec![1.0, 1.0], vec![0.0, 2.0]);
//! let mut buffers = [x, x0, step, noise, previous, vec![0.0; 2]].map(Data::F64);
//! kernel.reference(&mut buffers);
//! // Column NOISE is 0: none is added.
//! assert_eq!(buffers[5], Data::F64(vec![0.5 * 0.5 + 0.25, 0.5 * 0.5 + 0.25 * 0.5 - 2.0]));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, STATE_WORDS, bytes_of, fold};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Coefficients of a step.
pub const COLUMNS: usize = 20;

/// Where each stands in a row of [`COLUMNS`].
pub mod column {
    /// Of x in x_0.
    pub const X0_X: usize = 0;
    /// Of the prediction in x_0.
    pub const X0_P: usize = 1;
    /// x_0 is clipped to minus this and this.
    pub const CLIP: usize = 2;
    /// Scale of classifier-free guidance.
    pub const GUIDANCE: usize = 3;
    /// Of a classifier's gradient in x_0, added after it was clipped.
    pub const X0_GRADIENT: usize = 4;
    /// Then x_0 is clipped to minus this and this.
    pub const CLIP_AGAIN: usize = 5;
    /// Of x_0 in the mean.
    pub const MEAN_X0: usize = 6;
    /// Of x.
    pub const MEAN_X: usize = 7;
    /// Of the prediction.
    pub const MEAN_P: usize = 8;
    /// Of x_0 of the step before.
    pub const MEAN_PREVIOUS: usize = 9;
    /// Of the kept tensor.
    pub const MEAN_KEPT: usize = 10;
    /// Of the variance times a classifier's gradient.
    pub const MEAN_GRADIENT: usize = 11;
    /// ln of the variance where the network's variance output is -1, and where nothing is learned.
    pub const MIN_LOG_VARIANCE: usize = 12;
    /// Where it is 1.
    pub const MAX_LOG_VARIANCE: usize = 13;
    /// Of the deviation times normal noise: 1, or 0 where the step draws none.
    pub const NOISE: usize = 14;
    /// The number of the noise's draw.
    pub const DRAW: usize = 15;
    /// Of x in what is kept for later steps.
    pub const KEEP_X: usize = 16;
    /// Of x_0.
    pub const KEEP_X0: usize = 17;
    /// Of x_0 of the step before.
    pub const KEEP_PREVIOUS: usize = 18;
    /// Of the kept tensor.
    pub const KEEP_KEPT: usize = 19;
    /// The names in WGSL, in order.
    pub(crate) const NAMES: [&str; super::COLUMNS] = [
        "X0_X",
        "X0_P",
        "CLIP",
        "GUIDANCE",
        "X0_GRADIENT",
        "CLIP_AGAIN",
        "MEAN_X0",
        "MEAN_X",
        "MEAN_P",
        "MEAN_PREVIOUS",
        "MEAN_KEPT",
        "MEAN_GRADIENT",
        "MIN_LOG_VARIANCE",
        "MAX_LOG_VARIANCE",
        "NOISE",
        "DRAW",
        "KEEP_X",
        "KEEP_X0",
        "KEEP_PREVIOUS",
        "KEEP_KEPT",
    ];
}

/// A smaller ln of the variance is no noise: exp(-200) is far below what is added to it.
pub const NO_NOISE: f64 = -400.0;

/// What a step reads beside x, x_0, its row and the noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operands {
    /// The network's prediction.
    pub prediction: bool,
    /// Whether it has twice the channels, the second half for the variance.
    pub learned: bool,
    /// Whether it has twice the rows, the second half without a class.
    pub guided: bool,
    /// The prediction of x_0 of the step before.
    pub previous: bool,
    /// The tensor that the step before has kept.
    pub kept: bool,
    /// The gradient of a classifier's log-probability by x.
    pub gradient: bool,
}

/// Storage buffers of a kernel on every device.
const BUFFERS: usize = 8;

/// From x and a prediction of x_0 to the x before it.
#[derive(Clone, Debug)]
pub struct ReverseStep {
    /// Examples.
    pub batch: usize,
    /// Pixels of one.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// What else it reads.
    pub operands: Operands,
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
        self.count() * twice(self.operands.learned) * twice(self.operands.guided)
    }

    /// Refuses what no sampler has, and more buffers than every device binds.
    ///
    /// # Errors
    /// Naming it.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::shape("reverse_step", why));
        let Operands {
            prediction,
            learned,
            guided,
            ..
        } = self.operands;
        if (learned || guided) && !prediction {
            return wrong("a learned variance and guidance are of a prediction".to_owned());
        }
        let buffers = self.bindings().len();
        if buffers > BUFFERS {
            return wrong(format!(
                "{buffers} buffers, of which devices bind {BUFFERS}"
            ));
        }
        Ok(())
    }
}

impl Kernel for ReverseStep {
    fn family(&self) -> &'static str {
        "reverse_step"
    }

    fn variant(&self) -> String {
        let word = |yes: bool, word: &'static str| if yes { word } else { "" };
        let o = &self.operands;
        format!(
            "block of 4{}{}{}{}{}{}{}",
            word(o.prediction, ", prediction"),
            word(o.learned, ", learned variance"),
            word(o.guided, ", guided"),
            word(o.previous, ", the one before"),
            word(o.kept, ", kept"),
            word(o.gradient, ", gradient"),
            word(self.stream.is_none(), ", noise given")
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let o = &self.operands;
        let read = |name| Binding::read(name, DType::F32, self.count());
        let noise = match self.stream {
            Some(_) => Binding::read("state", DType::U32, STATE_WORDS),
            None => read("noise"),
        };
        let mut bindings = vec![
            read("x"),
            read("x0"),
            Binding::read("step", DType::F32, COLUMNS),
            noise,
        ];
        if o.prediction {
            bindings.push(Binding::read("prediction", DType::F32, self.predictions()));
        }
        bindings.extend(o.previous.then(|| read("previous")));
        bindings.extend(o.kept.then(|| read("kept")));
        bindings.extend(o.gradient.then(|| read("gradient")));
        bindings.push(Binding::write("out", DType::F32, self.count()));
        bindings
    }

    fn launch(&self) -> Launch {
        let width = self.pixels * self.channels;
        let units = self.batch * width.div_ceil(4);
        let words = [units, self.batch, width, self.channels];
        let mut params: Vec<u32> = words.iter().map(|&w| w as u32).collect();
        params.extend([self.stream.unwrap_or(0), 0]);
        let o = &self.operands;
        Launch {
            template: "reverse_step",
            entry: "reverse_step",
            context: json!({
                "prediction": o.prediction,
                "learned": o.learned,
                "guided": o.guided,
                "previous": o.previous,
                "kept": o.kept,
                "gradient": o.gradient,
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
