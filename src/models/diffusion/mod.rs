//! Diffusion models (Ho et al. 2020, "Denoising diffusion probabilistic models"): the process, what is learned of it, and sampling.
//!
//! `docs/models/diffusion.md` sets each formula beside the function here that implements it.

use super::{DataType, Model, Phase, finish_with, trained};
use crate::error::{Error, Result};
use crate::graph::layout::Parameter;
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::{self, Domain, Key, RandomState};
use crate::kernels::reverse_step::{COLUMNS, NO_NOISE, column};
use crate::nn::Pass;
use crate::reference::random::draw;
use crate::tensor::{DType, Data, Shape, TensorType, Value};

mod blocks;
mod config;
mod loss;
pub mod mlp;
pub mod process;
pub mod sampler;
pub mod unet;
mod unet_config;

pub use config::{Config, Loss, Network, SamplerName, Sampling};
use mlp::Mlp;
use process::Process;
use sampler::{Method, ReverseStep, Sampler};
use unet::UNet2DModel;

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

    /// Timesteps (u32) from numbers uniform on [0, 1).
    fn timesteps<'g>(&self, uniform: Var<'g>) -> Var<'g> {
        // The product may round up to T.
        let last = uniform.graph().constant((self.process.len() - 1) as f64);
        (uniform * self.process.len() as f64)
            .min(last)
            .cast(DType::U32)
    }

    /// sqrt(abar), sqrt(1 - abar) of each t.
    fn jumps<'g>(&self, graph: &'g Graph) -> Var<'g> {
        let abar = &self.process.alphas_cumprod;
        let rows = abar.iter().flat_map(|a| [a.sqrt(), (1.0 - a).sqrt()]);
        table(graph, "process.jumps", abar.len(), rows)
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
        graph.output("prior", prior * self.unit());
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
                set_alpha_to_one: sampling.set_alpha_to_one,
                use_clipped_model_output: sampling.clipped_model_output(),
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
        let t = self.timesteps(graph.random("t", Distribution::Uniform, [batch]));
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
        let uniform = graph.random_by_example("t", Distribution::Uniform, 1, batch, 1);
        let t = self.timesteps(uniform.reshape([batch]));
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

    fn class_rows(&self) -> usize {
        self.config.class_rows()
    }
}
