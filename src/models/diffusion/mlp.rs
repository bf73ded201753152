//! A perceptron that denoises points: what the U-Net is to images.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::graph::layout::Init;
//! use wgen::kernels::philox::Domain;
//! use wgen::models::diffusion::Denoiser;
//! use wgen::models::diffusion::mlp::{Config, Mlp};
//! use wgen::tensor::TensorType;
//!
//! let network = Mlp::new(Config { width: 2, hidden: 16, blocks: 2, outputs: 2, classes: 0 })?;
//! let graph = Graph::new(Domain::Sampling);
//! let x = graph.input("x", TensorType::f32([8, 2]));
//! let t = graph.input("t", TensorType::u32([8]));
//! assert_eq!(network.forward(x, t, None).shape(), [8, 2].into());
//! graph.check()?;
//! // At first it predicts zero everywhere.
//! let parameters = network.parameters();
//! let last = parameters.iter().find(|p| p.name == "last.weight").unwrap();
//! assert_eq!(last.init, Init::Constant(0.0));
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::denoiser::{Conditions, Denoiser, Timestep};
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};
use crate::kernels::timestep_embedding::Convention;
use crate::nn::{Linear, Pass};

/// What it is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Coordinates of a point.
    pub width: usize,
    /// Elements of the hidden rows.
    pub hidden: usize,
    /// Residual blocks.
    pub blocks: usize,
    /// Elements of the prediction: twice the coordinates where the variance is learned.
    pub outputs: usize,
    /// Rows of the table of classes, the null class among them; 0 for none.
    pub classes: usize,
}

impl Config {
    /// Refuses sizes of zero and absurd ones.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        for (name, value, least, most) in [
            ("width", self.width, 1, 1 << 16),
            ("hidden", self.hidden, 4, 1 << 14),
            ("blocks", self.blocks, 1, 64),
            ("outputs", self.outputs, 1, 1 << 17),
            ("classes", self.classes, 0, 1 << 16),
        ] {
            if value < least || value > most {
                return Err(Error::Usage(format!(
                    "diffusion: {name} {value} must be from {least} to {most}"
                )));
            }
        }
        Ok(())
    }
}

/// h = W x; then, block by block, h += B silu(A silu(h) + T silu(e)), e the embedding of t and of the class; then a last layer.
#[derive(Clone, Debug)]
pub struct Mlp {
    config: Config,
    first: Linear,
    time: [Linear; 2],
    blocks: Vec<[Linear; 3]>,
    last: Linear,
}

const CLASS_EMBEDDING: &str = "class_embedding.weight";

impl Mlp {
    /// A network of these sizes.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let hidden = config.hidden;
        let linear = |name: String, inputs| Linear::new(name, inputs, hidden);
        let block = |i: usize| {
            ["time", "inner", "outer"].map(|part| linear(format!("blocks.{i}.{part}"), hidden))
        };
        Ok(Self {
            first: linear("first".to_owned(), config.width),
            time: [1, 2].map(|i| linear(format!("time_embedding.linear_{i}"), hidden)),
            blocks: (0..config.blocks).map(block).collect(),
            last: Linear::new("last", hidden, config.outputs),
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The prediction `[batch, outputs]` from points `[batch, width]` at `t`; `classes` is `[batch, classes]`.
    pub fn forward<'g>(
        &self,
        x: Var<'g>,
        t: impl Into<Timestep<'g>>,
        classes: Option<Var<'g>>,
    ) -> Var<'g> {
        let t: Timestep<'g> = t.into();
        let sinusoid = t.embedding(self.config.hidden, Convention::DDPM);
        let mut embedding = self.time[1].forward(self.time[0].forward(sinusoid).silu());
        if let Some(rows) = classes {
            let shape = [self.config.classes, self.config.hidden];
            embedding = rows.matmul(x.graph().parameter(CLASS_EMBEDDING, shape)) + embedding;
        }
        let embedding = embedding.silu();
        let mut h = self.first.forward(x);
        for [time, inner, outer] in &self.blocks {
            let u = (inner.forward(h.silu()) + time.forward(embedding)).silu();
            h = outer.forward(u) + h;
        }
        self.last.forward(h.silu())
    }
}

impl Denoiser for Mlp {
    /// Its tensors; the last layer begins as zero.
    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.first.parameters();
        parameters.extend(self.time.iter().flat_map(Linear::parameters));
        parameters.extend(self.blocks.iter().flatten().flat_map(Linear::parameters));
        if self.config.classes > 0 {
            let shape = [self.config.classes, self.config.hidden];
            parameters.push(Parameter::new(
                CLASS_EMBEDDING,
                shape,
                Init::Normal(0.0, 1.0),
            ));
        }
        let last = self.last.parameters().into_iter().map(|p| Parameter {
            init: Init::Constant(0.0),
            ..p
        });
        parameters.extend(last);
        parameters
    }

    fn predict<'g>(
        &self,
        _pass: &Pass<'g>,
        x: Var<'g>,
        t: Timestep<'g>,
        told: Conditions<'g>,
    ) -> Var<'g> {
        let rows = x.shape().dims()[0];
        self.forward(x, t, told.classes)
            .reshape([rows, 1, self.config.outputs])
    }

    fn outputs(&self) -> usize {
        self.config.outputs
    }
}
