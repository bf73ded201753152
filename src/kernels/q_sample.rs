//! The forward process of diffusion, which adds noise to examples: `shaders/q_sample.wgsl`.
//!
//! Each example has its own timestep t, and a table says for each t how much is signal and how much noise. The noise is drawn in the
//! kernel, from counters: see [`philox`](super::philox).
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::philox::{Domain, Key, stream};
//! use wgen::kernels::{STATE_WORDS, q_sample::QSample};
//! use wgen::tensor::Data;
//!
//! let kernel = QSample { batch: 1, width: 4, timesteps: 1, key: Key::Step, stream: stream(Domain::Training, "eps") };
//! let noisy = |signal: f64, deviation: f64| {
//!     let [x, table, out] = [vec![2.0; 4], vec![signal, deviation], vec![0.0; 4]].map(Data::F64);
//!     let mut buffers = [x, Data::U32(vec![0]), table, Data::U32(vec![0; STATE_WORDS]), out];
//!     kernel.reference(&mut buffers);
//!     buffers[4].to_f64()
//! };
//! assert_eq!(noisy(1.0, 0.0), [2.0; 4]); // no noise
//! for (x, eps) in noisy(0.6, 0.8).iter().zip(noisy(0.0, 1.0)) {
//!     assert!((x - (0.6 * 2.0 + 0.8 * eps)).abs() < 1e-12); // the same noise each time
//! }
//! ```

use serde_json::json;

use super::philox::Key;
use super::{Binding, Cost, Grid, Kernel, Launch, STATE_WORDS, bytes_of, fold};
use crate::tensor::DType;

/// `out[b, :] = table[t[b], 0] * x[b, :] + table[t[b], 1] * eps`.
#[derive(Clone, Debug)]
pub struct QSample {
    /// Examples.
    pub batch: usize,
    /// Elements of one.
    pub width: usize,
    /// Rows of the table.
    pub timesteps: usize,
    /// What the noise belongs to.
    pub key: Key,
    /// Its stream.
    pub stream: u32,
}

impl QSample {
    /// Whether four neighbours are always of one example.
    fn is_vector(&self) -> bool {
        self.width.is_multiple_of(4)
    }
}

impl Kernel for QSample {
    fn family(&self) -> &'static str {
        "q_sample"
    }

    fn variant(&self) -> String {
        let vector = if self.is_vector() { " vec4" } else { "" };
        format!("block of 4{vector}")
    }

    fn bindings(&self) -> Vec<Binding> {
        let count = self.batch * self.width;
        vec![
            Binding::read("x", DType::F32, count).vector(self.is_vector()),
            Binding::read("t", DType::U32, self.batch),
            Binding::read("table", DType::F32, 2 * self.timesteps),
            Binding::read("state", DType::U32, STATE_WORDS),
            Binding::write("out", DType::F32, count).vector(self.is_vector()),
        ]
    }

    fn launch(&self) -> Launch {
        let count = self.batch * self.width;
        let [by_example, examples, draws, width] = self.key.words();
        Launch {
            template: "q_sample",
            entry: "q_sample",
            context: json!({
                "vector": self.is_vector(),
                "noise_kept": true,
                "by_example": by_example == 1,
                "whole_blocks": width.is_multiple_of(4),
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![
                count as u32,
                self.stream,
                examples,
                draws,
                self.width as u32,
                self.timesteps as u32,
                0,
            ],
            workgroups: fold(count.div_ceil(4 * 64) as u64),
            grid: Grid::Line { first: 6 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 43.0 * (self.batch * self.width) as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
