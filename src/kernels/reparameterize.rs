//! The reparameterised sample with its own noise: `shaders/reparameterize.wgsl`.

use serde_json::json;

use super::philox::Key;
use super::{Binding, Cost, Grid, Kernel, Launch, STATE_WORDS, bytes_of, fold};
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

impl Kernel for Reparameterize {
    fn family(&self) -> &'static str {
        "reparameterize"
    }

    fn variant(&self) -> String {
        "block of 4".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("mu", DType::F32, self.count),
            Binding::read("log_variance", DType::F32, self.count),
            Binding::read("state", DType::U32, STATE_WORDS),
            Binding::write("z", DType::F32, self.count),
        ]
    }

    fn launch(&self) -> Launch {
        let [by_example, examples, draws, width] = self.key.words();
        Launch {
            template: "reparameterize",
            entry: "reparameterize",
            context: json!({}),
            constants: vec![("WORKGROUP", 64.0)],
            params: vec![
                self.count as u32,
                self.stream,
                by_example,
                examples,
                draws,
                width,
                0,
            ],
            workgroups: fold(self.count.div_ceil(4 * 64) as u64),
            grid: Grid::Line { first: 6 },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 40.0 * self.count as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
