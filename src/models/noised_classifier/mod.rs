//! The classifier of Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", section 4: it tells classes apart in examples that a
//! forward process has noised, at any t, so that the gradient of its log-probabilities by x_t can lead a diffusion model to a class.
//! Its network is guided-diffusion's `EncoderUNetModel`. `docs/models/noised-classifier.md` sets each formula beside its function here.
//!
//! ```
//! use wgen::graph::Graph;
//! use wgen::kernels::philox::Domain;
//! use wgen::models::Model;
//! use wgen::models::noised_classifier::{Config, NoisedClassifier};
//! use wgen::nn::Pass;
//! use wgen::tensor::TensorType;
//!
//! // A second model in a graph and a store has names of its own.
//! let classifier = NoisedClassifier::with_prefix(Config::mnist(), "classifier.")?;
//! assert_eq!(classifier.parameters()[0].name, "classifier.time_embed.0.weight");
//!
//! let graph = Graph::new(Domain::Sampling);
//! let x = graph.input("x", TensorType::f32([4, 784]));
//! let t = graph.input("t", TensorType::u32([1]));
//! let classes = graph.input("classes", TensorType::f32([4, 10]));
//! let log_p = classifier.log_probability(&Pass::evaluation(&graph), x, t, classes);
//! assert_eq!(log_p.shape().dims(), [4]);
//! // Where to: rows are independent, so that the sum's gradient is each example's own.
//! let gradient = graph.gradients(log_p.sum_all(), &[x]).remove(0);
//! assert_eq!(gradient.shape(), x.shape());
//! graph.check()?;
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::batch::DataType;
use super::diffusion::adm::{self, InputHalf};
use super::diffusion::process::{self, Process};
use super::diffusion::{Guide, Timestep};
use super::model::{Figures, Model, Phase, finish_step};
use super::registry::{self, Entry};
use crate::error::{Error, Result};
use crate::graph::layout::Parameter;
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::Domain;
use crate::nn::Pass;
use crate::tensor::{DType, ImageShape, TensorType};

mod cases;
mod pooling;

pub use pooling::Pool;
use pooling::{HIDDEN, Pooling, Sizes};

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    from_json: |json| registry::built(json, NoisedClassifier::new),
    cases: cases::cases,
    usual: cases::usual,
    further: cases::further,
};

/// Its name in configurations and messages.
const NAME: &str = "noised-classifier";

/// What a noised classifier is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What one example is.
    pub image: ImageShape,
    /// Whether examples are pixels in [0, 1], which the process sees in [-1, 1].
    pub pixels: bool,
    /// Classes.
    pub classes: usize,
    /// The forward process: a classifier belongs to one, as its t mean nothing to another.
    pub process: process::Config,
    /// How pixels become one row.
    pub pool: Pool,
    /// The network before that.
    pub network: adm::Config,
}

impl Config {
    /// For 28x28 grey images of ten classes: levels of 32, 64 and 64 channels, one block each, attention in the middle, and in the pooling of
    /// its 7x7 pixels.
    pub fn mnist() -> Self {
        let image = ImageShape {
            height: 28,
            width: 28,
            channels: 1,
        };
        Self::of(image, 10)
    }

    /// The same network for other images and classes, and the process of Ho et al. 2020.
    pub fn of(image: ImageShape, classes: usize) -> Self {
        Self {
            image,
            pixels: true,
            classes,
            process: process::Config::default(),
            pool: Pool::Attention,
            network: adm::Config {
                channel_mult: vec![1.0, 2.0, 2.0],
                num_res_blocks: 1,
                attention_resolutions: Vec::new(),
                num_head_channels: Some(32),
                ..adm::Config::of(32)
            },
        }
    }

    /// Refuses what is no model, before anything is allocated.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("{NAME}: {why}")));
        if !(2..=1 << 16).contains(&self.classes) {
            return wrong(format!(
                "`classes` {} must be from 2 to {}",
                self.classes,
                1 << 16
            ));
        }
        self.process.check()?;
        if !self.process.kind.preserves_variance() {
            return wrong(format!(
                "the process {} is of diffusion models alone; a classifier is trained on a variance-preserving one",
                self.process.kind.name()
            ));
        }
        self.network.check(self.image)?;
        let network = &self.network;
        if self.pool == Pool::Attention && network.num_head_channels.is_none() {
            return wrong(
                "`pool` attention goes by `num_head_channels`, as in guided-diffusion; give that instead of `num_heads`"
                    .to_owned(),
            );
        }
        if self.pool == Pool::SpatialV2 && !HIDDEN.is_multiple_of(network.groups) {
            return wrong(format!(
                "`groups` {} do not divide the {HIDDEN} elements that `pool` spatial_v2 normalises",
                network.groups
            ));
        }
        Ok(())
    }
}

/// A noised classifier.
#[derive(Clone, Debug)]
pub struct NoisedClassifier {
    config: Config,
    process: Process,
    network: InputHalf,
    pooling: Pooling,
}

impl NoisedClassifier {
    /// A model of this configuration, its parameters named as in guided-diffusion.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        Self::with_prefix(config, "")
    }

    /// The same with `prefix` before the name of every parameter, in the same order: for a store that has another model too.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn with_prefix(config: Config, prefix: &str) -> Result<Self> {
        config.check()?;
        let sizes = &config.network;
        let network = InputHalf::new(sizes, config.image.channels, prefix)?;
        let channels = network.widths[network.widths.len() - 1];
        let factor = sizes.factor();
        let pooling = Pooling::new(
            config.pool,
            &Sizes {
                prefix,
                classes: config.classes,
                groups: sizes.groups,
                channels,
                head: sizes.head(channels),
                pixels: (config.image.height / factor) * (config.image.width / factor),
                features: network.widths.iter().sum::<usize>() + channels,
            },
        );
        Ok(Self {
            process: Process::new(&config.process)?,
            network,
            pooling,
            config,
        })
    }

    /// What it was built from: its images, its classes, its process.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The forward process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Logits `[batch, classes]` of `x` `[batch, width]`, as the process has it (pixels in [-1, 1]), at `t`.
    pub fn logits<'g>(&self, pass: &Pass<'g>, x: Var<'g>, t: impl Into<Timestep<'g>>) -> Var<'g> {
        let ImageShape {
            height,
            width,
            channels,
        } = self.config.image;
        let batch = x.shape().dims().first().copied().unwrap_or(0);
        let x = x.reshape([batch, height, width, channels]);
        let embedding = self.network.embedding(t.into());
        self.pooling
            .forward(&self.network.forward(pass, x, embedding))
    }

    /// ln p(y | x_t, t) of each example: `[batch]`. `x` `[batch, width]` as the process has it, `classes`
    /// `[batch, classes]`, 1 at y. Its gradient by `x` is what guidance goes by (Dhariwal & Nichol 2021, algorithms 1 and 2).
    pub fn log_probability<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: impl Into<Timestep<'g>>,
        classes: Var<'g>,
    ) -> Var<'g> {
        -self.logits(pass, x, t).cross_entropy(classes)
    }

    /// The step's batch in the process's range: `[batch, width]`.
    fn batch<'g>(&self, graph: &'g Graph, data: &DataType, batch: usize) -> Result<Var<'g>> {
        data.for_process(self.config.pixels)
            .batch(graph, NAME, self.width(), batch)
    }

    /// Cross-entropy and accuracy of each example at the timestep that input `t` `[1]` (f32) says: outputs `cross_entropy` and `accuracy`,
    /// `[batch]`. Noise keyed by example and draw.
    ///
    /// # Errors
    /// When the data does not fit the model.
    pub fn at_timestep(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let t = graph.input("t", TensorType::f32([1]));
        let each = t.broadcast_to([batch]).cast(DType::U32);
        self.figures_at(&graph, data, batch, t.cast(DType::U32), each)?;
        Ok(graph)
    }

    /// The outputs of an evaluation at `t`, which is each example's `each`, or one for all.
    fn figures_at<'g>(
        &self,
        graph: &'g Graph,
        data: &DataType,
        batch: usize,
        t: Var<'g>,
        each: Var<'g>,
    ) -> Result<()> {
        let x0 = self.batch(graph, data, batch)?;
        let labels = data.labels(graph, NAME, self.config.classes, batch)?;
        let (noised, _) = x0.q_sample_by_example("q_sample", each, self.process.jumps(graph));
        let logits = self.logits(&Pass::evaluation(graph), noised, t);
        graph.output("cross_entropy", logits.cross_entropy(labels));
        graph.output("accuracy", is_right(logits, labels));
        Ok(())
    }
}

impl Guide for NoisedClassifier {
    fn parameters(&self) -> Vec<Parameter> {
        Model::parameters(self)
    }

    fn log_probability<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: Timestep<'g>,
        classes: Var<'g>,
    ) -> Var<'g> {
        Self::log_probability(self, pass, x, t, classes)
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn image(&self) -> ImageShape {
        self.config.image
    }

    fn process(&self) -> &process::Config {
        &self.config.process
    }
}

/// 1 where the largest logit of a row, the first of such, is the label's: `[batch]` of `[batch, classes]`.
fn is_right<'g>(logits: Var<'g>, labels: Var<'g>) -> Var<'g> {
    let [found, wanted] = [logits, labels].map(|v| v.argmax(&[1]).cast(DType::F32));
    found.equal(wanted)
}

impl Model for NoisedClassifier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn options(&self) -> serde_json::Value {
        registry::options(&self.config)
    }

    fn width(&self) -> usize {
        self.config.image.count()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    /// Its tensors, in the order of guided-diffusion's state dict.
    fn parameters(&self) -> Vec<Parameter> {
        [self.network.parameters(), self.pooling.parameters()].concat()
    }

    fn phases(&self) -> Vec<Phase> {
        Phase::only(&["loss", "accuracy"])
    }

    /// Each example at a t of its own, uniform, its cross-entropy summed over the batch.
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let batch = update.batch;
        let x0 = self.batch(&graph, data, batch)?;
        let labels = data.labels(&graph, NAME, self.config.classes, batch)?;
        let uniform = graph.random("t", Distribution::Uniform, [batch]);
        let t = self.process.drawn(uniform);
        let (noised, _) = x0.q_sample("q_sample", t, self.process.jumps(&graph));
        let logits = self.logits(&Pass::training(&graph), noised, t);
        let loss = logits.cross_entropy(labels).sum_all();
        let right = is_right(logits, labels).sum_all();
        let metrics = [("loss", loss), ("accuracy", right)];
        finish_step(&graph, self, loss, &metrics, &[], update);
        Ok(graph)
    }

    /// At a t of each example's own.
    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let uniform = graph.random_by_example("t", Distribution::Uniform, 1, batch, 1);
        let t = self.process.drawn(uniform.reshape([batch]));
        self.figures_at(&graph, data, batch, t, t)?;
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["cross_entropy", "accuracy"]
    }

    fn validation_loss(&self, means: &Figures) -> f64 {
        means["cross_entropy"]
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    /// Logits of examples without noise, at t = 0.
    fn encoding(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x0 = self.batch(&graph, data, batch)?;
        let t = graph.constant(0.0).broadcast_to([1]).cast(DType::U32);
        graph.output("logits", self.logits(&Pass::evaluation(&graph), x0, t));
        Ok(graph)
    }

    fn codes(&self) -> Vec<&'static str> {
        vec!["logits"]
    }
}
