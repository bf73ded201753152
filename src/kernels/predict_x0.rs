//! What a network's prediction says of the images without noise: `shaders/predict_x0.wgsl`.
//!
//! x_0 is `x0_x x + x0_p p` of the images x and the prediction p, whatever the network predicts; clipped; and, where a classifier guides,
//! moved along its gradient and clipped again. The coefficients are the first of a row of
//! [`reverse_step`](super::reverse_step)'s columns.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::predict_x0::PredictX0;
//! use wgen::kernels::reverse_step::{COLUMNS, column};
//! use wgen::tensor::Data;
//!
//! let kernel = PredictX0 { batch: 1, pixels: 1, channels: 2, learned: false, guided: false, gradient: false };
//! let mut step = vec![0.0; COLUMNS];
//! (step[column::X0_X], step[column::X0_P], step[column::CLIP]) = (2.0, -1.0, 1.0);
//! let (x, prediction) = (vec![1.0, 0.5], vec![0.5, 0.5]);
//! let mut buffers = [x, prediction, step, vec![0.0; 2]].map(Data::F64);
//! kernel.reference(&mut buffers);
//! // 2 x - p is (1.5, 0.5).
//! assert_eq!(buffers[3], Data::F64(vec![1.0, 0.5]));
//! ```

use serde_json::json;

use super::reverse_step::{COLUMNS, column};
use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

/// From x and the network's prediction to x_0.
#[derive(Clone, Debug)]
pub struct PredictX0 {
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
    /// Whether a classifier's gradient is an operand.
    pub gradient: bool,
}

impl PredictX0 {
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

impl Kernel for PredictX0 {
    fn family(&self) -> &'static str {
        "predict_x0"
    }

    fn variant(&self) -> String {
        let word = |yes: bool, word: &'static str| if yes { word } else { "" };
        format!(
            "element{}{}{}",
            word(self.learned, ", learned variance"),
            word(self.guided, ", guided"),
            word(self.gradient, ", gradient")
        )
    }

    fn bindings(&self) -> Vec<Binding> {
        let read = |name, count| Binding::read(name, DType::F32, count);
        let mut bindings = vec![
            read("x", self.count()),
            read("prediction", self.predictions()),
            read("step", COLUMNS),
        ];
        bindings.extend(self.gradient.then(|| read("gradient", self.count())));
        bindings.push(Binding::write("out", DType::F32, self.count()));
        bindings
    }

    fn launch(&self) -> Launch {
        let count = self.count();
        Launch {
            template: "predict_x0",
            entry: "predict_x0",
            context: json!({
                "learned": self.learned,
                "guided": self.guided,
                "gradient": self.gradient,
                "columns": COLUMNS,
                "columns_by_name": column::NAMES,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![count as u32, self.channels as u32, 0],
            workgroups: fold(count.div_ceil(64) as u64),
            grid: Grid::Line { first: 2 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 10.0 * self.count() as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
