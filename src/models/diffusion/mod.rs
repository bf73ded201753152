//! Diffusion models (Ho et al. 2020, "Denoising diffusion probabilistic models"): the process, what is learned of it, and sampling.
//!
//! `docs/models/diffusion.md` sets each formula beside the function here that implements it.

use serde::{Deserialize, Serialize};

use super::{DataType, Model, Phase, finish_with, trained};
use crate::data::ImageShape;
use crate::error::{Error, Result};
use crate::graph::layout::Parameter;
use crate::graph::ops::random::Random;
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::{self, Domain, Key, RandomState};
use crate::kernels::reverse_step::{COLUMNS, NO_NOISE, column};
use crate::nn::Pass;
use crate::reference::random::draw;
use crate::tensor::{DType, Data, Shape, TensorType, Value};

mod blocks;
pub mod mlp;
pub mod process;
pub mod sampler;
pub mod unet;

use mlp::Mlp;
use process::{Prediction, Process, Spacing, Variance};
use sampler::{Method, ReverseStep, Sampler};
use unet::UNet2DModel;

/// What training minimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The squared error of the prediction, all t alike (Ho et al. 2020, eq. 14).
    #[default]
    Simple,
    /// The same weighted by min(SNR, gamma) / SNR of noise (Hang et al. 2023), or what that is for other predictions.
    MinSnr(f64),
    /// The variational bound, in bits a dimension (Nichol & Dhariwal 2021, eq. 4).
    Vlb,
    /// The simple loss and a thousandth of the bound, in which the mean is not trained (their eq. 16).
    Hybrid,
}

/// The network that predicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// For images.
    Unet(Box<unet::Config>),
    /// For points.
    Mlp(mlp::Config),
}

/// How samples are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Ancestral, or DDIM with its eta.
    pub sampler: SamplerName,
    /// DDIM: 0 is no noise, 1 as much as the ancestral step has.
    pub eta: f64,
    /// Steps.
    pub steps: usize,
    /// Which timesteps they are.
    pub spacing: Spacing,
    /// Added to leading timesteps.
    pub steps_offset: usize,
    /// Scale of classifier-free guidance; 1 for none.
    pub guidance: f64,
    /// DDIM: whether the step before the first has abar 1, else abar of t = 0.
    pub set_alpha_to_one: bool,
}

/// A sampler's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerName {
    /// Ho et al. 2020, algorithm 2.
    Ddpm,
    /// Song et al. 2021.
    Ddim,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            sampler: SamplerName::Ddim,
            eta: 0.0,
            steps: 50,
            spacing: Spacing::Leading,
            steps_offset: 0,
            guidance: 1.0,
            set_alpha_to_one: true,
        }
    }
}

/// What a diffusion model is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What one example is.
    pub image: ImageShape,
    /// Whether examples are pixels in [0, 1], which the process sees in [-1, 1].
    pub pixels: bool,
    /// A sampler clips its predictions of x_0 to minus this and this; without, not at all.
    pub clip: Option<f64>,
    /// The forward process.
    pub process: process::Config,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The variance of reverse steps.
    pub variance: Variance,
    /// What is minimised.
    pub loss: Loss,
    /// The network.
    pub network: Network,
    /// Classes that it is conditional on; 0 for none. The network has one more, the null class, where `null_share` is not 0.
    pub classes: usize,
    /// Share of training examples whose class is the null class: what classifier-free guidance needs (Ho & Salimans 2022).
    pub null_share: f32,
    /// How samples are drawn where nothing else is asked for.
    pub sampling: Sampling,
    /// Parts that the network sees a training batch in, one after the other, their gradients summed: the memory is that of one part.
    #[serde(default = "one")]
    pub accumulate: usize,
}

fn one() -> usize {
    1
}

impl Config {
    /// For 28x28 grey images of ten classes and the null class: levels of 32, 32 and 64 channels, attention in the middle.
    pub fn mnist() -> Self {
        let image = ImageShape {
            height: 28,
            width: 28,
            channels: 1,
        };
        let unet = unet::Config {
            num_class_embeds: Some(11),
            ..unet::Config::of(image, &[32, 32, 64], 1, &[])
        };
        Self {
            classes: 10,
            null_share: 0.1,
            ..Self::of(image, true, Network::Unet(Box::new(unet)))
        }
    }

    /// The process of Ho et al. 2020 and the simple loss, without classes.
    pub fn of(image: ImageShape, pixels: bool, network: Network) -> Self {
        Self {
            image,
            pixels,
            clip: pixels.then_some(1.0),
            process: process::Config::default(),
            prediction: Prediction::Epsilon,
            variance: Variance::FixedSmall,
            loss: Loss::Simple,
            network,
            classes: 0,
            null_share: 0.0,
            sampling: Sampling::default(),
            accumulate: 1,
        }
    }

    /// Refuses what is no model, before anything is allocated.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        self.process.check()?;
        let twice = if self.variance == Variance::LearnedRange {
            2
        } else {
            1
        };
        let (inputs, outputs, rows) = match &self.network {
            Network::Unet(unet) => {
                unet.check()?;
                if unet.image() != self.image {
                    return wrong(format!(
                        "the network is for images of {:?}, the model for {:?}",
                        unet.image(),
                        self.image
                    ));
                }
                let rows = unet.num_class_embeds.unwrap_or(0);
                (unet.in_channels, unet.out_channels, rows)
            }
            Network::Mlp(mlp) => {
                mlp.check()?;
                if mlp.width != self.image.count() {
                    return wrong(format!(
                        "the network is for {} coordinates, the model for {:?}",
                        mlp.width, self.image
                    ));
                }
                (mlp.width, mlp.outputs, mlp.classes)
            }
        };
        if outputs != inputs * twice {
            return wrong(format!(
                "variance {:?} needs {} outputs for {inputs} inputs, the network has {outputs}",
                self.variance,
                inputs * twice
            ));
        }
        if rows != self.class_rows() {
            return wrong(format!(
                "{} classes and null_share {} need {} class embeddings, the network has {rows}",
                self.classes,
                self.null_share,
                self.class_rows()
            ));
        }
        if !(0.0..1.0).contains(&self.null_share) {
            return wrong(format!("null_share {} must be in [0, 1)", self.null_share));
        }
        if matches!(self.loss, Loss::Vlb | Loss::Hybrid) && self.process.zero_terminal_snr {
            return wrong(
                "the variational bound is infinite with a terminal SNR of zero".to_owned(),
            );
        }
        if self.loss == Loss::Hybrid && self.variance != Variance::LearnedRange {
            return wrong(
                "the hybrid loss trains a learned variance; use variance learned_range".to_owned(),
            );
        }
        if self.loss == Loss::Simple && self.variance == Variance::LearnedRange {
            return wrong(
                "the simple loss does not train a variance; use the hybrid loss".to_owned(),
            );
        }
        if self.accumulate == 0 {
            return wrong("a batch is made in at least 1 part".to_owned());
        }
        if let Some(range) = self.clip
            && !(range > 0.0 && range.is_finite())
        {
            return wrong(format!("clip {range} must be above 0"));
        }
        if let Loss::MinSnr(gamma) = self.loss
            && !(gamma > 0.0 && gamma.is_finite())
        {
            return wrong(format!("min_snr {gamma} must be above 0"));
        }
        if self.process.zero_terminal_snr && self.prediction == Prediction::Epsilon {
            return wrong(
                "with a terminal SNR of zero the noise tells nothing of the image; predict v_prediction or sample"
                    .to_owned(),
            );
        }
        self.check_sampling(&self.sampling)
    }

    /// Refuses a way of sampling that this model does not have.
    ///
    /// # Errors
    /// Naming the option.
    pub fn check_sampling(&self, sampling: &Sampling) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        let timesteps = self.process.timesteps;
        sampling
            .spacing
            .timesteps(timesteps, sampling.steps, sampling.steps_offset)?;
        if !(sampling.eta >= 0.0 && sampling.eta <= 1.0) {
            return wrong(format!("--eta {} must be from 0 to 1", sampling.eta));
        }
        if !(sampling.guidance.is_finite() && sampling.guidance >= 0.0) {
            return wrong(format!(
                "--guidance {} must be a number from 0 on",
                sampling.guidance
            ));
        }
        if sampling.guidance != 1.0 && (self.classes == 0 || self.null_share == 0.0) {
            return wrong(format!(
                "--guidance {}: the model {}; guidance needs one that was trained with classes and a null class",
                sampling.guidance,
                if self.classes == 0 {
                    "is not conditional on classes"
                } else {
                    "has no null class"
                }
            ));
        }
        Ok(())
    }

    /// Rows of the table of classes.
    pub fn class_rows(&self) -> usize {
        if self.classes > 0 && self.null_share > 0.0 {
            self.classes + 1
        } else {
            self.classes
        }
    }
}

#[derive(Clone, Debug)]
enum Denoiser {
    Unet(Box<UNet2DModel>),
    Mlp(Box<Mlp>),
}

/// A diffusion model.
#[derive(Clone, Debug)]
pub struct Diffusion {
    config: Config,
    process: Process,
    denoiser: Denoiser,
    steps: Vec<ReverseStep>,
}

/// Columns of the table of what the loss needs of each t.
mod entry {
    pub(super) const WEIGHT: usize = 0;
    pub(super) const TARGET_X0: usize = 1;
    pub(super) const TARGET_NOISE: usize = 2;
    pub(super) const X0_X: usize = 3;
    pub(super) const X0_P: usize = 4;
    pub(super) const POSTERIOR_X0: usize = 5;
    pub(super) const POSTERIOR_XT: usize = 6;
    pub(super) const LOG_SMALL: usize = 7;
    pub(super) const LOG_LARGE: usize = 8;
    pub(super) const IS_FIRST: usize = 9;
    pub(super) const COLUMNS: usize = 10;
}

/// A prediction and all that a loss compares it with.
struct Predicted<'g> {
    x0: Var<'g>,
    xt: Var<'g>,
    noise: Var<'g>,
    t: Var<'g>,
    /// `[batch, width]`.
    mean: Var<'g>,
    /// `[batch, width]`, of a learned variance.
    variance: Option<Var<'g>>,
}

impl Diffusion {
    /// A model of this configuration.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let process = Process::new(&config.process)?;
        let denoiser = match &config.network {
            Network::Unet(unet) => {
                Denoiser::Unet(Box::new(UNet2DModel::new(unet.as_ref().clone())?))
            }
            Network::Mlp(mlp) => Denoiser::Mlp(Box::new(Mlp::new(mlp.clone())?)),
        };
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

    fn width(&self) -> usize {
        self.config.image.count()
    }

    /// Pixels and channels of an example.
    fn pixels(&self) -> [usize; 2] {
        let image = self.config.image;
        match self.denoiser {
            Denoiser::Unet(_) => [image.height * image.width, image.channels],
            Denoiser::Mlp(_) => [1, image.count()],
        }
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
        let rows = x.shape().dims()[0];
        let image = self.config.image;
        match &self.denoiser {
            Denoiser::Unet(unet) => {
                let x = x.reshape([rows, image.height, image.width, image.channels]);
                let outputs = unet.config().out_channels;
                unet.forward(pass, x, t, classes).reshape([
                    rows,
                    image.height * image.width,
                    outputs,
                ])
            }
            Denoiser::Mlp(mlp) => {
                let outputs = mlp.config().outputs;
                mlp.forward(x, t, classes).reshape([rows, 1, outputs])
            }
        }
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

    /// sqrt(abar), sqrt(1 - abar) of each t.
    fn jumps<'g>(&self, graph: &'g Graph) -> Var<'g> {
        let abar = &self.process.alphas_cumprod;
        let rows = abar.iter().flat_map(|a| [a.sqrt(), (1.0 - a).sqrt()]);
        table(graph, "process.jumps", abar.len(), rows)
    }

    /// A column of what the loss needs, for each of `t`: `[batch, 1]`.
    fn entries<'g>(&self, graph: &'g Graph, t: Var<'g>) -> impl Fn(usize) -> Var<'g> {
        let config = &self.config;
        let row = |t: usize| {
            let abar = self.process.alphas_cumprod[t];
            let (signal, deviation) = (abar.sqrt(), (1.0 - abar).sqrt());
            let [target_x0, target_noise] = match config.prediction {
                Prediction::Epsilon => [0.0, 1.0],
                Prediction::Sample => [1.0, 0.0],
                Prediction::Velocity => [-deviation, signal],
            };
            let [x0_x, x0_p] = sampler::x0_of(config.prediction, abar);
            let posterior = self.process.posterior(t);
            let mut row = [0.0; entry::COLUMNS];
            row[entry::WEIGHT] = self.weight(t);
            row[entry::TARGET_X0] = target_x0;
            row[entry::TARGET_NOISE] = target_noise;
            row[entry::X0_X] = x0_x;
            row[entry::X0_P] = x0_p;
            row[entry::POSTERIOR_X0] = posterior.x0;
            row[entry::POSTERIOR_XT] = posterior.xt;
            row[entry::LOG_SMALL] = posterior.log_variance;
            row[entry::LOG_LARGE] = self.process.betas[t].ln();
            row[entry::IS_FIRST] = if t == 0 { 1.0 } else { 0.0 };
            row
        };
        let rows = (0..self.process.len()).flat_map(row);
        let rows = table(graph, "process.loss", self.process.len(), rows).gather(t);
        move |column: usize| rows.slice(1, column, column + 1)
    }

    /// The weight of the squared error at t.
    fn weight(&self, t: usize) -> f64 {
        let Loss::MinSnr(gamma) = self.config.loss else {
            return 1.0;
        };
        let snr = self.process.snr(t);
        match self.config.prediction {
            Prediction::Epsilon => snr.min(gamma) / snr,
            Prediction::Sample => snr.min(gamma),
            Prediction::Velocity => snr.min(gamma) / (snr + 1.0),
        }
    }

    fn predicted<'g>(
        &self,
        pass: &Pass<'g>,
        x0: Var<'g>,
        (xt, noise): (Var<'g>, Var<'g>),
        t: Var<'g>,
        classes: Option<Var<'g>>,
    ) -> Predicted<'g> {
        let rows = x0.shape().dims()[0];
        let [_, channels] = self.pixels();
        let prediction = self.predict(pass, xt, t, classes);
        let flat = |v: Var<'g>| v.reshape([rows, self.width()]);
        let learned = self.config.variance == Variance::LearnedRange;
        Predicted {
            x0,
            xt,
            noise,
            t,
            mean: if learned {
                flat(prediction.slice(2, 0, channels))
            } else {
                flat(prediction)
            },
            variance: learned.then(|| flat(prediction.slice(2, channels, 2 * channels))),
        }
    }

    /// The weighted squared error an element of each example: `[batch]`.
    fn squared_error<'g>(&self, p: &Predicted<'g>) -> Var<'g> {
        let of_t = self.entries(p.mean.graph(), p.t);
        let target = match self.config.prediction {
            Prediction::Epsilon => p.noise,
            Prediction::Sample => p.x0,
            Prediction::Velocity => {
                p.x0 * of_t(entry::TARGET_X0) + p.noise * of_t(entry::TARGET_NOISE)
            }
        };
        let error = p.mean.squared_error(target).mean(&[1]);
        match self.config.loss {
            Loss::MinSnr(_) => error * of_t(entry::WEIGHT).reshape(error.shape()),
            _ => error,
        }
    }

    /// The term of the variational bound at each example's t, a dimension: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), and at t = 0
    /// -ln p(x_0 | x_1) (Nichol & Dhariwal 2021, eqs. 4 to 7). In bits for pixels, whose likelihood is that of 256 levels, in nats for points.
    /// With `clip`, predictions of x_0 are clipped as sampling does. `[batch]`.
    fn bound_term<'g>(&self, p: &Predicted<'g>, clip: bool) -> Var<'g> {
        let of_t = self.entries(p.mean.graph(), p.t);
        let mut x0 = of_t(entry::X0_X) * p.xt + of_t(entry::X0_P) * p.mean;
        if let Some(range) = self.config.clip.filter(|_| clip) {
            x0 = x0.clamp(-range, range);
        }
        let (a, b) = (of_t(entry::POSTERIOR_X0), of_t(entry::POSTERIOR_XT));
        let (low, high) = (of_t(entry::LOG_SMALL), of_t(entry::LOG_LARGE));
        let mean = a * x0 + b * p.xt;
        let log_variance = match (self.config.variance, p.variance) {
            (Variance::LearnedRange, Some(v)) => low + (v + 1.0) * 0.5 * (high - low),
            (Variance::FixedLarge, _) => high.broadcast_to(mean.shape()),
            _ => low.broadcast_to(mean.shape()),
        };
        let true_mean = a * p.x0 + b * p.xt;
        let kl = true_mean.gaussian_kl(low, mean, log_variance).mean(&[1]);
        let first = if self.config.pixels {
            -p.x0
                .discretized_gaussian_log_likelihood(mean, log_variance * 0.5)
        } else {
            mean.gaussian_nll(log_variance, p.x0)
        };
        let is_first = of_t(entry::IS_FIRST).reshape(kl.shape());
        let nats = is_first.select(first.mean(&[1]), kl);
        if self.config.pixels {
            nats * (1.0 / std::f64::consts::LN_2)
        } else {
            nats
        }
    }

    /// What is minimised and what is reported: sums over the batch.
    fn losses<'g>(&self, predicted: Predicted<'g>) -> (Var<'g>, Vec<(&'static str, Var<'g>)>) {
        let squared = self.squared_error(&predicted).sum_all();
        // The mean over t, times as many: the whole bound.
        let terms = self.process.len() as f64;
        match self.config.loss {
            Loss::Simple | Loss::MinSnr(_) => (squared, vec![("loss", squared)]),
            Loss::Vlb => {
                let bound = self.bound_term(&predicted, false).sum_all() * terms;
                (bound, vec![("loss", bound), ("squared_error", squared)])
            }
            Loss::Hybrid => {
                let frozen = Predicted {
                    mean: predicted.mean.stop_gradient(),
                    ..predicted
                };
                let bound = self.bound_term(&frozen, false).sum_all() * terms;
                let loss = squared + bound * 1e-3;
                let metrics = vec![("loss", loss), ("squared_error", squared), ("bound", bound)];
                (loss, metrics)
            }
        }
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
        let noised = x0.q_sample_by_example("q_sample", t, self.jumps(&graph));
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
        let unit = if self.config.pixels {
            1.0 / std::f64::consts::LN_2
        } else {
            1.0
        };
        graph.output("prior", prior * unit);
        Ok(graph)
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
        let noise = self.prior(count, seed, 0);
        let values = x0.iter().zip(noise).map(|(&x, eps)| {
            let x = if self.config.pixels { 2.0 * x - 1.0 } else { x };
            (abar.sqrt() * f64::from(x) + (1.0 - abar).sqrt() * f64::from(eps)) as f32
        });
        Value::f32([count, self.width()], values.collect())
    }

    /// Standard normal noise of `count` examples from number `first` on.
    fn prior(&self, count: usize, seed: u64, first: u32) -> Vec<f32> {
        let state = RandomState {
            seed,
            step: 0,
            cursor: first,
        };
        let key = Key::Example {
            examples: count as u32,
            draws: 1,
            width: self.width() as u32,
        };
        let stream = philox::stream(Domain::Sampling, "prior");
        (0..count * self.width())
            .map(|i| draw(Distribution::Normal, &state, key, stream, i))
            .collect()
    }
}

/// A table `[rows, columns]` of reals that are known now.
fn table<'g>(
    graph: &'g Graph,
    name: &str,
    rows: usize,
    values: impl Iterator<Item = f64>,
) -> Var<'g> {
    let values: Vec<f32> = values.map(|x| x as f32).collect();
    let shape = Shape::from([rows, values.len() / rows.max(1)]);
    graph.table(
        name,
        Value {
            shape,
            data: Data::F32(values),
        },
    )
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
    let sampling = &config.sampling;
    let timesteps =
        sampling
            .spacing
            .timesteps(process.len(), sampling.steps, sampling.steps_offset)?;
    let sampler = Sampler {
        method: match sampling.sampler {
            SamplerName::Ddpm => Method::Ancestral {
                variance: config.variance,
            },
            SamplerName::Ddim => Method::Ddim {
                eta: sampling.eta,
                rederive: false,
                set_alpha_to_one: sampling.set_alpha_to_one,
            },
        },
        prediction: config.prediction,
        clip: config.clip,
    };
    Ok(sampler.steps(process, &timesteps))
}

/// A step as the kernel reads it.
pub fn coefficients(step: &ReverseStep, guidance: f64, draw: usize) -> [f32; COLUMNS] {
    let mut row = [0.0; COLUMNS];
    row[column::X0_X] = step.x0_x as f32;
    row[column::X0_P] = step.x0_p as f32;
    row[column::CLIP] = step.clip.min(f64::from(f32::MAX)) as f32;
    row[column::MEAN_X0] = step.mean_x0 as f32;
    row[column::MEAN_X] = step.mean_x as f32;
    row[column::MEAN_P] = step.mean_p as f32;
    row[column::MIN_LOG_VARIANCE] = step.min_log_variance.max(NO_NOISE) as f32;
    row[column::MAX_LOG_VARIANCE] = step.max_log_variance.max(NO_NOISE) as f32;
    row[column::GUIDANCE] = guidance as f32;
    row[column::DRAW] = draw as f32;
    row
}

impl Model for Diffusion {
    fn name(&self) -> &'static str {
        "diffusion"
    }

    fn parameters(&self) -> Vec<Parameter> {
        match &self.denoiser {
            Denoiser::Unet(unet) => unet.parameters(),
            Denoiser::Mlp(mlp) => mlp.parameters(),
        }
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
        let last = (self.process.len() - 1) as f64;
        let uniform = graph.random("t", Distribution::Uniform, [batch]);
        let t = (uniform * (last + 1.0))
            .min(graph.constant(last))
            .cast(DType::U32);
        let noised = x0.q_sample("q_sample", t, self.jumps(&graph));
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
        let last = (self.process.len() - 1) as f64;
        let uniform = graph.apply(
            Random {
                distribution: Distribution::Uniform,
                key: Key::Example {
                    examples: batch as u32,
                    draws: 1,
                    width: 1,
                },
                stream: philox::stream(Domain::Validation, "t"),
                shape: [batch].into(),
            },
            &[],
        );
        let t = (uniform * (last + 1.0))
            .min(graph.constant(last))
            .cast(DType::U32);
        let noised = x0.q_sample_by_example("q_sample", t, self.jumps(&graph));
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

    /// One reverse step: from inputs `x` `[count, width]` and `step` `[1]`, the number of the step, to the x and step of the next, which they
    /// become. Output `images` is x in the range of the data. Input `classes` `[count, class rows]` of a conditional model.
    fn sampler(&self, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let guidance = self.config.sampling.guidance;
        let rows = self.steps.iter().enumerate();
        let rows = rows.flat_map(|(i, step)| coefficients(step, guidance, i).map(f64::from));
        let steps = table(&graph, "sampler.steps", self.steps.len(), rows);
        let timesteps = graph.table(
            "sampler.timesteps",
            Value {
                shape: [self.steps.len(), 1].into(),
                data: Data::U32(self.steps.iter().map(|s| s.timestep as u32).collect()),
            },
        );
        let x = graph.input("x", TensorType::f32([count, self.width()]));
        let step = graph.input("step", TensorType::f32([1]));
        let place = step.cast(DType::U32);
        let t = timesteps.gather(place).reshape([1]);
        let row = steps.gather(place).reshape([COLUMNS]);
        let rows = self.config.class_rows();
        let classes = (rows > 0).then(|| graph.input("classes", TensorType::f32([count, rows])));
        let pass = Pass::evaluation(&graph);
        let prediction = match classes {
            Some(classes) if guidance != 1.0 => {
                let of_null = |null: bool, columns: usize| {
                    let value = if null { 1.0 } else { 0.0 };
                    graph.constant(value).broadcast_to([count, columns])
                };
                let null = graph.concat(1, &[of_null(false, rows - 1), of_null(true, 1)]);
                let classes = graph.concat(0, &[classes, null]);
                self.predict(&pass, graph.concat(0, &[x, x]), t, Some(classes))
            }
            classes => self.predict(&pass, x, t, classes),
        };
        let [pixels, channels] = self.pixels();
        let next = x
            .reshape([count, pixels, channels])
            .reverse_step("reverse_step", prediction, row)
            .reshape([count, self.width()]);
        graph.output("images", self.images(next));
        graph.output("next", next);
        graph.feed_back("x", next);
        graph.feed_back("step", step + 1.0);
        Ok(graph)
    }

    fn sampler_runs(&self) -> usize {
        self.steps.len()
    }

    fn sampler_width(&self) -> usize {
        self.width()
    }

    fn sampler_inputs(
        &self,
        count: usize,
        seed: u64,
        first: u32,
    ) -> Result<Vec<(&'static str, Value)>> {
        let x = Value::f32([count, self.width()], self.prior(count, seed, first))?;
        Ok(vec![("x", x), ("step", Value::f32([1], vec![0.0])?)])
    }

    fn class_inputs(
        &self,
        count: usize,
        class: Option<usize>,
        first: usize,
    ) -> Result<Vec<(&'static str, Value)>> {
        let (classes, rows) = (self.config.classes, self.config.class_rows());
        match class {
            Some(_) if classes == 0 => {
                return Err(Error::Usage(
                    "--class: this diffusion model is not conditional on classes".to_owned(),
                ));
            }
            // The null class, where there is one, is the last.
            Some(class) if class >= rows => {
                return Err(Error::Usage(format!(
                    "--class {class}: the model has {rows} classes, from 0"
                )));
            }
            None if classes == 0 => return Ok(Vec::new()),
            _ => {}
        }
        let mut values = vec![0.0; count * rows];
        for (i, row) in values.chunks_exact_mut(rows).enumerate() {
            row[class.unwrap_or((first + i) % classes)] = 1.0;
        }
        Ok(vec![("classes", Value::f32([count, rows], values)?)])
    }
}
