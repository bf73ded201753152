//! Diffusion models (Ho et al. 2020, "Denoising diffusion probabilistic models"): a process turns examples into noise step by step, a
//! network learns to undo a step, samplers make examples of noise with it. `docs/models/diffusion.md` sets each formula beside its
//! function here.
//!
//! ```
//! use wgen::evaluate::Evaluator;
//! use wgen::models::Model;
//! use wgen::models::diffusion::{Config, Diffusion, Network, mlp, samplers::SamplerSettings};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//! use wgen::tensor::ImageShape;
//!
//! let image = ImageShape { height: 1, width: 2, channels: 1 }; // a point of the plane
//! let network = Network::Mlp(mlp::Config { width: 2, hidden: 16, blocks: 1, outputs: 2, classes: 0 });
//! let sampling = SamplerSettings { steps: 10, ..SamplerSettings::default() };
//! let model = Diffusion::new(Config { sampling, ..Config::of(image, false, network) })?;
//! let weights: Vec<_> = model.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained
//! let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 4, 0)?;
//! let samples = evaluator.samples(&model, 4, None)?;
//! assert_eq!((model.steps().len(), samples.images.len()), (10, 4 * 2));
//! // A sample is the same however many are drawn.
//! assert_eq!(evaluator.samples(&model, 1, None)?.images, samples.images[..2]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use super::batch::DataType;
use super::model::{Model, Phase, finish_with, trained};
use super::registry::{self, Entry};
use crate::error::{Error, Result};
use crate::graph::layout::Parameter;
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::Domain;
use crate::nn::Pass;
use crate::program::sampling::{Classes, Sampling};
use crate::tensor::{DType, ImageShape, TensorType};

pub mod adm;
pub(super) mod blocks;
mod cases;
mod config;
mod denoiser;
mod given;
mod guide;
pub mod inpainting;
pub(crate) mod keys;
mod loss;
pub mod mlp;
mod noised;
pub mod process;
pub mod samplers;
mod sampling;
pub mod spacing;
pub mod unet;
mod unet_config;

pub use config::{Config, Loss, Network};
pub use denoiser::{Conditions, Denoiser, Timestep};
pub use given::LOW_RES;
pub use guide::Guide;
use noised::part_of;
use process::Process;
use samplers::ReverseStep;

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "diffusion",
    from_json: |json| registry::built(json, Diffusion::new),
    cases: cases::cases,
    usual: cases::usual,
    further: cases::further,
};

/// A diffusion model.
#[derive(Clone, Debug)]
pub struct Diffusion {
    config: Config,
    process: Process,
    denoiser: Arc<dyn Denoiser>,
    guide: Option<Arc<dyn Guide>>,
    steps: Vec<ReverseStep>,
    inpainting: Option<inpainting::Overlays>,
}

impl Diffusion {
    /// A model of this configuration.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let process = Process::new(&config.process)?;
        let denoiser = config.network.build()?;
        let steps = sampling::reverse_steps(&config, &process, 0)?;
        Ok(Self {
            config,
            process,
            denoiser,
            guide: None,
            steps,
            inpainting: None,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The forward process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Pixels and channels of an example, as the network has them.
    fn pixels(&self) -> [usize; 2] {
        let twice = match self.config.variance {
            process::Variance::LearnedRange => 2,
            _ => 1,
        };
        let channels = self.denoiser.outputs() / twice;
        [self.width() / channels, channels]
    }

    /// What the network says of `x` `[batch, width]` at `t`: `[batch, pixels, outputs]`.
    pub fn predict<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: impl Into<Timestep<'g>>,
        told: Conditions<'g>,
    ) -> Var<'g> {
        self.denoiser.predict(pass, x, t.into(), told)
    }

    /// What lies beside x, of a model of super-resolution.
    pub fn low_res(&self) -> Option<ImageShape> {
        self.config.network.low_res()
    }

    /// The step's batch in the process's range: `[batch, width]`.
    fn batch<'g>(&self, graph: &'g Graph, data: &DataType, batch: usize) -> Result<Var<'g>> {
        data.for_process(self.config.pixels)
            .batch(graph, "diffusion", self.width(), batch)
    }

    /// Rows of the step's classes, of a conditional model: the null class in place of `null_share` of them.
    fn labels<'g>(
        &self,
        graph: &'g Graph,
        data: &DataType,
        batch: usize,
        drop: bool,
    ) -> Result<Option<Var<'g>>> {
        let config = &self.config;
        if config.classes == 0 {
            return Ok(None);
        }
        let labels = data.labels(graph, "diffusion", config.classes, batch)?;
        if config.null_share == 0.0 {
            return Ok(Some(labels));
        }
        let null = if drop {
            let share = Distribution::Bernoulli(config.null_share);
            graph.random("null_class", share, [batch, 1])
        } else {
            graph.constant(0.0).broadcast_to([batch, 1])
        };
        Ok(Some(graph.concat(1, &[labels * (-null + 1.0), null])))
    }

    /// The means of the pixels of `images` `[count, width]` that make its small images, of super-resolution.
    ///
    /// # Errors
    /// When the model sees no small images, or these are none of its size.
    pub fn means(&self, images: &[f32]) -> Result<Vec<f32>> {
        let (image, Some(small)) = (self.config.image, self.low_res()) else {
            return Err(Error::Usage(
                "diffusion: `low_res`: this model sees nothing beside x".to_owned(),
            ));
        };
        if !images.len().is_multiple_of(image.count()) {
            return Err(Error::Usage(format!(
                "diffusion: `low_res`: {} values are no images of {image}",
                images.len()
            )));
        }
        let [down, across] = [image.height / small.height, image.width / small.width];
        let one = |picture: &[f32]| {
            let mut means = vec![0.0_f64; small.count()];
            for (i, &value) in picture.iter().enumerate() {
                let (pixel, channel) = (i / image.channels, i % image.channels);
                let (row, column) = (pixel / image.width / down, pixel % image.width / across);
                means[(row * small.width + column) * image.channels + channel] += f64::from(value);
            }
            let share = 1.0 / (down * across) as f64;
            means.into_iter().map(move |sum| (sum * share) as f32)
        };
        Ok(images.chunks_exact(image.count()).flat_map(one).collect())
    }

    /// What the network is told of the step's batch `x0` `[batch, width]`: its classes, and of super-resolution the means of its pixels
    /// (Dhariwal & Nichol 2021's code: mode `area`).
    fn told<'g>(
        &self,
        graph: &'g Graph,
        data: &DataType,
        x0: Var<'g>,
        drop: bool,
    ) -> Result<Conditions<'g>> {
        let batch = x0.shape().dims()[0];
        let image = self.config.image;
        let mean = |small: ImageShape| {
            let window = [image.height / small.height, image.width / small.width];
            x0.reshape([batch, image.height, image.width, image.channels])
                .avg_pool2d(window, window, [0; 2])
                .reshape([batch, small.count()])
        };
        Ok(Conditions {
            classes: self.labels(graph, data, batch, drop)?,
            low_res: self.low_res().map(mean),
        })
    }

    /// For each of `batch` examples the bound's term at the timestep that input `t` `[1]` (f32) says, outputs `term` and `squared_error`, and
    /// `prior`, KL(q(x_T | x_0) || N(0, I)), all a dimension, in bits for pixels and nats for points. Noise keyed by example and draw.
    ///
    /// # Errors
    /// When the data does not fit the model, or the process has no timesteps to bound.
    pub fn bound(&self, data: &DataType, batch: usize) -> Result<Graph> {
        if !self.process.kind.preserves_variance() {
            return Err(Error::Usage(format!(
                "diffusion: `bound`: the process {} is continuous in its noise; the bound is of variance-preserving processes",
                self.process.kind.name()
            )));
        }
        let graph = Graph::new(Domain::Validation);
        let x0 = self.batch(&graph, data, batch)?;
        let told = self.told(&graph, data, x0, false)?;
        let t = graph
            .input("t", TensorType::f32([1]))
            .broadcast_to([batch])
            .cast(DType::U32);
        let noised = self.at_timesteps(&graph, x0, t, true);
        let pass = Pass::evaluation(&graph);
        let predicted = self.predicted(&pass, noised, told);
        graph.output("term", self.bound_term(&predicted, true));
        graph.output("squared_error", self.squared_error(&predicted));
        let abar = self.process.alphas_cumprod[self.process.len() - 1];
        let log_variance = graph.constant((1.0 - abar).max(1e-30).ln());
        let zero = graph.constant(0.0);
        let prior = (x0 * abar.sqrt())
            .gaussian_kl(log_variance, zero, zero)
            .mean(&[1]);
        graph.output("prior", prior * self.unit());
        Ok(graph)
    }
}

impl Model for Diffusion {
    fn name(&self) -> &'static str {
        "diffusion"
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

    /// The network's; behind them a classifier's, where one guides.
    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.denoiser.parameters();
        parameters.extend(self.guide.iter().flat_map(|g| g.parameters()));
        parameters
    }

    fn phases(&self) -> Vec<Phase> {
        match self.config.loss {
            Loss::Simple | Loss::MinSnr(_) => Phase::only(&["loss"]),
            Loss::Vlb => Phase::only(&["loss", "squared_error"]),
            Loss::Hybrid => Phase::only(&["loss", "squared_error", "bound"]),
        }
    }

    /// Each example at a t of its own, uniform (Ho et al. 2020, algorithm 1), or at an S of its own as the process draws it. The gradient is that of the mean over examples.
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let batch = update.batch;
        let x0 = self.batch(&graph, data, batch)?;
        let told = self.told(&graph, data, x0, true)?;
        let noised = self.on_the_way(&graph, x0, false);
        // The last part may be smaller.
        let each = batch.div_ceil(self.config.accumulate).max(1);
        let vars = trained(&graph, self, update);
        let mut sums: Vec<(&'static str, Var<'_>)> = Vec::new();
        let mut gradients: Vec<Var<'_>> = Vec::new();
        for (part, first) in (0..batch).step_by(each).enumerate() {
            // Each part's forward and backward pass before the next one's: what they kept is free again.
            let count = each.min(batch - first);
            let pass = Pass::training_part(&graph, part);
            let told = told.map(|v| part_of(v, first, count));
            let predicted = self.predicted(&pass, noised.part(first, count), told);
            let (loss, metrics) = self.losses(predicted);
            let own = graph.scaled_gradients(loss * (1.0 / batch as f64), &vars, update);
            if part == 0 {
                (sums, gradients) = (metrics, own);
            } else {
                for ((_, sum), (_, own)) in sums.iter_mut().zip(metrics) {
                    *sum = *sum + own;
                }
                for (sum, own) in gradients.iter_mut().zip(own) {
                    *sum = *sum + own;
                }
            }
        }
        finish_with(&graph, self, gradients, &sums, &[], update);
        Ok(graph)
    }

    /// The squared error at a t of each example's own.
    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x0 = self.batch(&graph, data, batch)?;
        let told = self.told(&graph, data, x0, false)?;
        let noised = self.on_the_way(&graph, x0, true);
        let pass = Pass::evaluation(&graph);
        let predicted = self.predicted(&pass, noised, told);
        graph.output("squared_error", self.squared_error(&predicted));
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["squared_error"]
    }

    /// Those that it is conditional on, or that a classifier guides it to.
    fn classes(&self) -> usize {
        let guided = self.guide.as_ref().map_or(0, |g| g.classes());
        self.config.classes.max(guided)
    }

    /// One row of the sampler a run: [`Diffusion::steps`].
    fn sampling(&self, count: usize) -> Result<Sampling> {
        self.sampling_graph(count)
    }

    fn conditioning(&self) -> Classes {
        Classes {
            model: "diffusion",
            count: self.classes(),
            null: self.config.class_rows() > self.config.classes,
            turns: Vec::new(),
        }
    }
}
