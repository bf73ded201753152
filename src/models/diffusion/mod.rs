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

use super::model::{DataType, Model, Phase, finish_with, trained};
use super::registry::{self, Entry};
use crate::error::{Error, Result};
use crate::graph::layout::Parameter;
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::Domain;
use crate::kernels::reverse_step::COLUMNS;
use crate::nn::Pass;
use crate::program::sampling::{Begin, Classes, STEP, Sampling, State, Step, normal};
use crate::tensor::{DType, Data, Shape, TensorType, Value};

pub mod adm;
pub(super) mod blocks;
mod cases;
mod config;
mod denoiser;
pub(crate) mod keys;
mod loss;
pub mod mlp;
pub mod process;
pub mod samplers;
pub mod spacing;
pub mod unet;
mod unet_config;

pub use config::{Config, Loss, Network};
pub use denoiser::Denoiser;
use process::{Process, table};
use samplers::{Reverse, ReverseStep, SamplerSettings};

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "diffusion",
    from_json: |json| registry::built(json, Diffusion::new),
    cases: cases::cases,
    usual: cases::usual,
};

/// A diffusion model.
#[derive(Clone, Debug)]
pub struct Diffusion {
    config: Config,
    process: Process,
    denoiser: Arc<dyn Denoiser>,
    steps: Vec<ReverseStep>,
}

/// The stream of the noise that a sampler begins with.
const PRIOR: &str = "prior";

impl Diffusion {
    /// A model of this configuration.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let process = Process::new(&config.process)?;
        let denoiser = config.network.build()?;
        let steps = reverse_steps(&config, &process)?;
        Ok(Self {
            config,
            process,
            denoiser,
            steps,
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

    /// The reverse steps of its sampler, the noisiest first.
    pub fn steps(&self) -> &[ReverseStep] {
        &self.steps
    }

    /// The same model sampled in another way.
    ///
    /// # Errors
    /// When this model has no such way of sampling, naming the field.
    pub fn with_sampling(&self, sampling: &SamplerSettings) -> Result<Self> {
        self.config.check_sampling(sampling)?;
        let config = Config {
            sampling: sampling.clone(),
            ..self.config.clone()
        };
        Ok(Self {
            steps: reverse_steps(&config, &self.process)?,
            config,
            ..self.clone()
        })
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

    /// What the network says of `x` `[batch, width]` at `t` (u32, `[batch]` or `[1]`): `[batch, pixels, outputs]`. `classes` is
    /// `[batch, class rows]`.
    pub fn predict<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: Var<'g>,
        classes: Option<Var<'g>>,
    ) -> Var<'g> {
        self.denoiser.predict(pass, x, t, classes)
    }

    /// The step's batch in the process's range: `[batch, width]`.
    fn batch<'g>(&self, graph: &'g Graph, data: &DataType, batch: usize) -> Result<Var<'g>> {
        let data = if self.config.pixels {
            DataType {
                scale: 2.0 * data.scale,
                shift: 2.0 * data.shift - 1.0,
                ..*data
            }
        } else {
            *data
        };
        data.batch(graph, "diffusion", self.width(), batch)
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

    /// For each of `batch` examples the bound's term at the timestep that input `t` `[1]` (f32) says, outputs `term` and `squared_error`, and
    /// `prior`, KL(q(x_T | x_0) || N(0, I)), all a dimension, in bits for pixels and nats for points. Noise keyed by example and draw.
    ///
    /// # Errors
    /// When the data does not fit the model.
    pub fn bound(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x0 = self.batch(&graph, data, batch)?;
        let labels = self.labels(&graph, data, batch, false)?;
        let t = graph
            .input("t", TensorType::f32([1]))
            .broadcast_to([batch])
            .cast(DType::U32);
        let noised = x0.q_sample_by_example("q_sample", t, self.process.jumps(&graph));
        let pass = Pass::evaluation(&graph);
        let predicted = self.predicted(&pass, x0, noised, t, labels);
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

    /// The prediction of `x`; with guidance those by class and by the null class, one above the other, which the step mixes.
    fn guided<'g>(
        &self,
        graph: &'g Graph,
        x: Var<'g>,
        t: Var<'g>,
        classes: Option<Var<'g>>,
    ) -> Var<'g> {
        let pass = Pass::evaluation(graph);
        let Some(classes) = classes.filter(|_| self.config.sampling.guidance != 1.0) else {
            return self.predict(&pass, x, t, classes);
        };
        let &[count, rows] = classes.shape().dims() else {
            return self.predict(&pass, x, t, Some(classes));
        };
        let of_null = |null: bool, columns: usize| {
            let value = if null { 1.0 } else { 0.0 };
            graph.constant(value).broadcast_to([count, columns])
        };
        let null = graph.concat(1, &[of_null(false, rows - 1), of_null(true, 1)]);
        let classes = graph.concat(0, &[classes, null]);
        self.predict(&pass, graph.concat(0, &[x, x]), t, Some(classes))
    }

    /// Images as a sampler sees them, from the process's range.
    fn images<'g>(&self, x: Var<'g>) -> Var<'g> {
        if self.config.pixels {
            (x * 0.5 + 0.5).clamp(0.0, 1.0)
        } else {
            x
        }
    }

    /// Examples at the sampler's step `step` by the forward process, from `x0` `[count, width]` in the range of the data: what img2img begins
    /// with. Input `x` of the sampler.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn noised(&self, x0: &[f32], step: usize, seed: u64) -> Result<Value> {
        let Some(at) = self.steps.get(step) else {
            return Err(Error::Usage(format!(
                "diffusion: step {step} of {} sampling steps",
                self.steps.len()
            )));
        };
        let abar = self.process.alphas_cumprod[at.timestep];
        let count = x0.len() / self.width();
        let noise = normal(PRIOR, count, self.width(), seed, 0);
        let values = x0.iter().zip(noise).map(|(&x, eps)| {
            let x = if self.config.pixels { 2.0 * x - 1.0 } else { x };
            (abar.sqrt() * f64::from(x) + (1.0 - abar).sqrt() * f64::from(eps)) as f32
        });
        Value::f32([count, self.width()], values.collect())
    }
}

/// `count` rows from `first` on; all where there are no more.
fn part_of(v: Var<'_>, first: usize, count: usize) -> Var<'_> {
    if v.shape().dims()[0] == count {
        v
    } else {
        v.slice(0, first, first + count)
    }
}

/// The steps of a configuration's sampler.
fn reverse_steps(config: &Config, process: &Process) -> Result<Vec<ReverseStep>> {
    let settings = &config.sampling;
    let timesteps =
        settings
            .spacing
            .timesteps(process.len(), settings.steps, settings.steps_offset)?;
    let reverse = Reverse {
        process,
        prediction: config.prediction,
        clip: config.clip,
        variance: config.variance,
    };
    let sampler = (samplers::find(&settings.sampler)?.build)(settings);
    Ok(sampler.steps(&reverse, &timesteps))
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

    fn parameters(&self) -> Vec<Parameter> {
        self.denoiser.parameters()
    }

    fn phases(&self) -> Vec<Phase> {
        match self.config.loss {
            Loss::Simple | Loss::MinSnr(_) => Phase::only(&["loss"]),
            Loss::Vlb => Phase::only(&["loss", "squared_error"]),
            Loss::Hybrid => Phase::only(&["loss", "squared_error", "bound"]),
        }
    }

    /// Each example at a t of its own, uniform (Ho et al. 2020, algorithm 1). The gradient is that of the mean over examples.
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let batch = update.batch;
        let x0 = self.batch(&graph, data, batch)?;
        let labels = self.labels(&graph, data, batch, true)?;
        let t = self
            .process
            .drawn(graph.random("t", Distribution::Uniform, [batch]));
        let noised = x0.q_sample("q_sample", t, self.process.jumps(&graph));
        // The last part may be smaller.
        let each = batch.div_ceil(self.config.accumulate).max(1);
        let vars = trained(&graph, self, update);
        let mut sums: Vec<(&'static str, Var<'_>)> = Vec::new();
        let mut gradients: Vec<Var<'_>> = Vec::new();
        for (part, first) in (0..batch).step_by(each).enumerate() {
            // Each part's forward and backward pass before the next one's: what they kept is free again.
            let of = |v| part_of(v, first, each.min(batch - first));
            let pass = Pass::training_part(&graph, part);
            let noised = (of(noised.0), of(noised.1));
            let predicted = self.predicted(&pass, of(x0), noised, of(t), labels.map(of));
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
        let labels = self.labels(&graph, data, batch, false)?;
        let uniform = graph.random_by_example("t", Distribution::Uniform, 1, batch, 1);
        let t = self.process.drawn(uniform.reshape([batch]));
        let noised = x0.q_sample_by_example("q_sample", t, self.process.jumps(&graph));
        let pass = Pass::evaluation(&graph);
        let predicted = self.predicted(&pass, x0, noised, t, labels);
        graph.output("squared_error", self.squared_error(&predicted));
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["squared_error"]
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    /// One reverse step a run: from inputs `x` `[count, width]` and `step` `[1]`, the number of the step, to the x and step of the next,
    /// which they become. Output `images` is x in the range of the data. Input `classes` `[count, class rows]` of a conditional model.
    fn sampling(&self, count: usize) -> Result<Sampling> {
        let graph = Graph::new(Domain::Sampling);
        let guidance = self.config.sampling.guidance;
        let steps: Vec<Step> = self
            .steps
            .iter()
            .enumerate()
            .map(|(i, step)| Step {
                timestep: step.timestep as f64,
                row: step.coefficients(guidance, i).to_vec(),
            })
            .collect();
        let x = graph.input("x", TensorType::f32([count, self.width()]));
        let step = graph.input(STEP, TensorType::f32([1]));
        let (t, row) = current(&graph, &steps, step);
        let rows = self.config.class_rows();
        let classes = (rows > 0).then(|| graph.input("classes", TensorType::f32([count, rows])));
        let prediction = self.guided(&graph, x, t, classes);
        let [pixels, channels] = self.pixels();
        let next = x
            .reshape([count, pixels, channels])
            .reverse_step("reverse_step", prediction, row)
            .reshape([count, self.width()]);
        graph.output("images", self.images(next));
        graph.output("next", next);
        graph.feed_back("x", next);
        graph.feed_back(STEP, step + 1.0);
        let state = |name, next, shape: Shape, begin| State {
            name,
            next,
            shape,
            begin,
        };
        let shape = Shape::from([count, self.width()]);
        Ok(Sampling {
            graph,
            count,
            runs: steps.len(),
            state: vec![
                state("x", Some("next"), shape, Begin::Normal(PRIOR)),
                state(STEP, None, [1].into(), Begin::Number(0.0)),
            ],
            steps,
            output: "images",
            classes: self.conditioning(),
        })
    }

    fn conditioning(&self) -> Classes {
        Classes {
            model: "diffusion",
            count: self.config.classes,
            null: self.config.class_rows() > self.config.classes,
            turns: Vec::new(),
        }
    }
}

/// The timestep (u32, `[1]`) and the coefficients of the step that `step` says, from tables of all.
fn current<'g>(graph: &'g Graph, steps: &[Step], step: Var<'g>) -> (Var<'g>, Var<'g>) {
    let rows = steps
        .iter()
        .flat_map(|s| s.row.iter().map(|&x| f64::from(x)));
    let rows = table(graph, "sampler.steps", steps.len(), rows);
    let timesteps = graph.table(
        "sampler.timesteps",
        Value {
            shape: [steps.len(), 1].into(),
            data: Data::U32(steps.iter().map(|s| s.timestep as u32).collect()),
        },
    );
    let place = step.cast(DType::U32);
    (
        timesteps.gather(place).reshape([1]),
        rows.gather(place).reshape([COLUMNS]),
    )
}
