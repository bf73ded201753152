//! The sample of a VAE's latent variables, `z = mu + exp(log_variance / 2) eps` with standard normal eps: `shaders/reparameterize.wgsl`.
//!
//! Written so (the reparameterisation trick), z has gradients by mu and log_variance. eps is drawn in the kernel: see
//! [`philox`](super::philox).
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::philox::{Domain, Key, stream};
//! use wgen::kernels::{STATE_WORDS, reparameterize::Reparameterize};
//! use wgen::tensor::Data;
//!
//! // Ten thousand samples of mean 2 and variance 9.
//! let count = 10_000;
//! let kernel = Reparameterize { count, key: Key::Step, stream: stream(Domain::Training, "eps") };
//! let [mu, log_variance, z] = [vec![2.0; count], vec![9_f64.ln(); count], vec![0.0; count]].map(Data::F64);
//! let mut buffers = [mu, log_variance, Data::U32(vec![0; STATE_WORDS]), z];
//! kernel.reference(&mut buffers);
//! let mean = |values: Vec<f64>| values.iter().sum::<f64>() / count as f64;
//! let z = buffers[3].to_f64();
//! assert!((mean(z.clone()) - 2.0).abs() < 0.1);
//! assert!((mean(z.iter().map(|z| (z - 2.0).powi(2)).collect()) - 9.0).abs() < 0.5);
//! ```

use serde_json::json;

use super::philox::Key;
use super::{Binding, Cost, Kernel, Launch, STATE_WORDS, bytes_of, moving_launch};
use crate::tensor::DType;

/// `z = mu + exp(log_variance / 2) * eps` over `count` elements.
#[derive(Clone, Debug)]
pub struct Reparameterize {
    /// batch * latent.
    pub count: usize,
    /// What the noise belongs to.
    pub key: Key,
    /// Its stream.
    pub stream: u32,
}

impl Reparameterize {
    /// Whether all units are whole.
    fn is_vector(&self) -> bool {
        self.count.is_multiple_of(4)
    }
}

impl Kernel for Reparameterize {
    fn family(&self) -> &'static str {
        "reparameterize"
    }

    fn variant(&self) -> String {
        let vector = if self.is_vector() { " vec4" } else { "" };
        format!("block of 4{vector}")
    }

    fn bindings(&self) -> Vec<Binding> {
        let vector = self.is_vector();
        vec![
            Binding::read("mu", DType::F32, self.count).vector(vector),
            Binding::read("log_variance", DType::F32, self.count).vector(vector),
            Binding::read("state", DType::U32, STATE_WORDS),
            Binding::write("z", DType::F32, self.count).vector(vector),
        ]
    }

    fn launch(&self) -> Launch {
        let [by_example, examples, draws, width] = self.key.words();
        let context = json!({
            "vector": self.is_vector(),
            "noise_kept": true,
            "by_example": by_example == 1,
            "whole_blocks": width.is_multiple_of(4),
            "bindings": super::wgsl_bindings(&self.bindings()),
        });
        let units = self.count.div_ceil(4);
        let params = [self.count as u32, units as u32, self.stream];
        let params = [&params[..], &[examples, draws, width, 0]].concat();
        moving_launch(
            "reparameterize",
            "reparameterize",
            units,
            context,
            (params, 6),
        )
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 40.0 * self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
