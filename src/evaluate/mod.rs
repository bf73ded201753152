//! What a trained model is worth and what it makes: figures on held-out data, likelihoods, samples. An [`Evaluator`] is the model's
//! weights on a device; figures are computed there per example and summed here in f64.
//!
//! ```
//! use wgen::Model;
//! use wgen::data::digits::digits;
//! use wgen::evaluate::Evaluator;
//! use wgen::models::vae::{Config, Vae};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let vae = Vae::new(Config { hidden: vec![16], latent: 2, ..Config::mnist() })?;
//! let weights: Vec<_> = vae.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained
//! let mut evaluator = Evaluator::new(&Device::Cpu, &vae, &weights, 10, 0)?;
//!
//! // It takes each pixel for a fair coin: ln 2 nats.
//! let figures = evaluator.figures(&vae, &digits(20, 1))?;
//! assert!((figures["reconstruction"] / 784.0 - 2_f64.ln()).abs() < 0.05);
//! let samples = evaluator.samples(&vae, 3, None)?;
//! assert_eq!(samples.images.len(), 3 * 784);
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::layout::Layout;
use crate::models::{DataType, Figures, Model};
use crate::plan::StoreOptions;
use crate::program::Flat;
use crate::run::Run;
use crate::session::feed::{Feed, Wants, data_type};
use crate::session::{Device, Executable, Session};
use crate::tensor::Value;

pub mod bound;
pub mod by_timestep;
pub mod codes;
pub mod field;
pub mod image_metrics;
pub mod judge;
pub mod mesh;
pub mod reverse;
pub mod statistics;
pub mod views;

pub use codes::Previewed;
pub use judge::{Judge, Judgement, Verdict};

/// A model's weights on a device, ready to be sampled and evaluated.
#[derive(Debug)]
pub struct Evaluator {
    session: Box<dyn Session>,
    batch: usize,
    seed: u64,
    turns: Vec<usize>,
}

/// What a sampler that is run often begins with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// Its x, a row an example, in place of noise.
    pub x: Option<Vec<f32>>,
    /// Runs that are left out.
    pub runs_done: usize,
    /// Inputs that are the caller's, a row an example each; 0 where they are not named.
    pub given: Vec<(&'static str, Vec<f32>)>,
    /// Each sample's class, where none is asked for; empty: the classes take turns.
    pub classes: Vec<usize>,
}

/// What a model made of noise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// In the range of the data, row after row.
    pub images: Vec<f32>,
    /// The class that each was made for; empty where the model is not conditional.
    pub labels: Vec<u32>,
    /// Of a diffusion model: the same as the process has them, not clipped to the range of the data.
    pub x: Vec<f32>,
}

/// Values of x that a sampler which is run often has at a time: 127 images of 28x28.
const SAMPLER_VALUES: usize = 100_000;

/// Samples that it has at a time at least, whatever their size.
pub(crate) const FEWEST: usize = 64;

/// The largest part of a data set that is kept on the device while it is evaluated.
const RESIDENT_BYTES: u64 = 96 << 20;

impl Evaluator {
    /// A trained model on a device.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn of(device: &Device, run: &Run, batch: usize, seed: u64) -> Result<Self> {
        let turns = run.config().reading.turns();
        Ok(Self::new(device, run.model(), run.weights(), batch, seed)?.taking(turns))
    }

    /// Classes that take turns in samples where none is asked for; none for all.
    #[must_use]
    pub fn taking(mut self, turns: Vec<usize>) -> Self {
        self.turns = turns;
        self
    }

    /// Uploads `weights`, in the layout's order.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn new(
        device: &Device,
        model: &dyn Model,
        weights: &[Vec<f32>],
        batch: usize,
        seed: u64,
    ) -> Result<Self> {
        if batch == 0 {
            return Err(Error::field("batch", "must be at least 1"));
        }
        let layout = Layout::new(model.parameters(), device.caps().binding_bytes)?;
        let session = device.session(layout, StoreOptions::default())?;
        session.write(Flat::Parameters, weights)?;
        Ok(Self {
            session,
            batch,
            seed,
            turns: Vec::new(),
        })
    }

    /// Runs a graph over all of `dataset` in order, a batch at a time, and hands each batch's outputs and real number of examples
    /// to `take`. The last batch is padded; noise is keyed by example, so the batch size changes nothing.
    ///
    /// # Errors
    /// When the data does not fit the model or the device.
    pub fn over(
        &mut self,
        dataset: &Dataset,
        repeats: u64,
        build: impl Fn(&DataType, usize) -> Result<Graph>,
        outputs: &[&str],
        mut take: impl FnMut(usize, usize, Vec<Value>),
    ) -> Result<()> {
        self.over_with(
            dataset,
            repeats,
            build,
            outputs,
            |_| Vec::new(),
            |first, real, _, values| take(first, real, values),
        )
    }

    /// The same with inputs for each repeat, whose number `take` is told too.
    ///
    /// # Errors
    /// As [`Evaluator::over`].
    pub fn over_with(
        &mut self,
        dataset: &Dataset,
        repeats: u64,
        build: impl Fn(&DataType, usize) -> Result<Graph>,
        outputs: &[&str],
        inputs_of: impl Fn(u64) -> Vec<(&'static str, Value)>,
        mut take: impl FnMut(usize, usize, u64, Vec<Value>),
    ) -> Result<()> {
        let rows = dataset.rows();
        let width = dataset.shape.count().max(1);
        let element = if dataset.dtype() == crate::tensor::DType::U8 {
            1
        } else {
            4
        };
        // In slices that fit on the device, each a whole number of batches.
        let most =
            (RESIDENT_BYTES as usize / (width * element)).max(self.batch) / self.batch * self.batch;
        for start in (0..rows).step_by(most) {
            let end = rows.min(start + most);
            let slice = dataset.select(&(start..end).collect::<Vec<_>>());
            let count = slice.rows();
            let graph = build(&data_type(&slice, count), self.batch)?;
            let wants = Wants {
                labels: graph.has_input("labels"),
                whole_batches: false,
            };
            let feed = Feed::new(self.session.as_ref(), slice, self.batch, 0, u64::MAX, wants)?;
            let mut executable = self.session.compile(&graph, &feed.inputs_of(&graph))?;
            for first in (0..count).step_by(self.batch) {
                for repeat in 0..repeats {
                    // Noise is keyed by the example's place in the whole set, rows by its place in the slice: they differ by
                    // `start`, a multiple of the slice, which the seed takes up.
                    let seed = self.seed.wrapping_add((start / most) as u64);
                    for (name, value) in inputs_of(repeat) {
                        executable.write(name, value)?;
                    }
                    self.session.set_state(repeat, seed, first as u32)?;
                    executable.run(1)?;
                    let values = outputs
                        .iter()
                        .map(|name| executable.read(name))
                        .collect::<Result<Vec<_>>>()?;
                    take(start + first, self.batch.min(count - first), repeat, values);
                }
            }
        }
        Ok(())
    }

    /// Means per example of the outputs of the model's evaluation graph.
    ///
    /// # Errors
    /// As [`Evaluator::over`].
    pub fn figures(&mut self, model: &dyn Model, dataset: &Dataset) -> Result<Figures> {
        let names = model.figures();
        let mut sums = vec![0.0; names.len()];
        let build = |data: &DataType, batch: usize| model.evaluation(data, batch);
        self.over(dataset, 1, build, &names, |_, real, values| {
            for (sum, value) in sums.iter_mut().zip(&values) {
                *sum += value.data.to_f64()[..real].iter().sum::<f64>();
            }
        })?;
        let count = dataset.rows() as f64;
        let means = names.iter().zip(sums);
        Ok(means
            .map(|(name, sum)| ((*name).to_owned(), sum / count))
            .collect())
    }

    /// The mean log-likelihood by importance sampling: ln (1/K) sum_k w_k an example (Burda et al. 2016, eq. 8), in nats.
    ///
    /// # Errors
    /// As [`Evaluator::over`].
    pub fn log_likelihood(
        &mut self,
        model: &dyn Model,
        dataset: &Dataset,
        samples: usize,
    ) -> Result<f64> {
        if samples == 0 {
            return Err(Error::field("importance_samples", "must be at least 1"));
        }
        // Draws a run: as many as divide the samples and keep the tensors small.
        let most = ((1 << 22) / (self.batch * dataset.shape.count())).max(1);
        let draws = (1..=samples.min(most))
            .rev()
            .find(|d| samples.is_multiple_of(*d))
            .unwrap_or(1);
        let mut weights: Vec<Vec<f64>> = vec![Vec::with_capacity(samples); dataset.rows()];
        let build = |data: &DataType, batch: usize| model.importance(data, batch, draws);
        let batch = self.batch;
        self.over(
            dataset,
            (samples / draws) as u64,
            build,
            &["log_weight"],
            |first, real, values| {
                let values = values[0].data.to_f64();
                for example in 0..real {
                    weights[first + example]
                        .extend((0..draws).map(|d| values[d * batch + example]));
                }
            },
        )?;
        let one = |log_weights: &Vec<f64>| {
            let largest = log_weights
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max);
            largest
                + (log_weights.iter().map(|w| (w - largest).exp()).sum::<f64>() / samples as f64)
                    .ln()
        };
        Ok(weights.iter().map(one).sum::<f64>() / dataset.rows() as f64)
    }

    /// `count` samples of a model, of one class or of the classes in turn. Sample i is the same whatever `count` is.
    ///
    /// # Errors
    /// When the model has no samples, or they do not fit the device.
    pub fn samples(
        &mut self,
        model: &dyn Model,
        count: usize,
        class: Option<usize>,
    ) -> Result<Samples> {
        self.samples_from(model, count, class, &Start::default(), &mut |_, _| Ok(()))
    }

    /// The same from a start of the caller's; `watch` is called after each run of a sampler with the number of runs that are left, and may
    /// read the executable.
    ///
    /// # Errors
    /// As [`Evaluator::samples`], and those of `watch`.
    pub fn samples_from(
        &mut self,
        model: &dyn Model,
        count: usize,
        class: Option<usize>,
        start: &Start,
        watch: &mut dyn FnMut(usize, &dyn Executable) -> Result<()>,
    ) -> Result<Samples> {
        // A class that the model does not have is said first.
        model.conditioning().of(class, 0)?;
        let one = model.sampling(1)?;
        start.check_given(&one, count)?;
        let width = one.width().max(1);
        // A network that is run often has large activations of images; of points it had better have many.
        let chunk = count.min(if one.runs - start.runs_done > 1 {
            (SAMPLER_VALUES / width).clamp(FEWEST, 4096)
        } else {
            500
        });
        let sampling = model.sampling(chunk)?;
        let classes = sampling.classes.clone().taking(&self.turns);
        let runs = sampling.runs - start.runs_done;
        let mut executable = self.session.compile(&sampling.graph, &[])?;
        let mut samples = Samples::default();
        let class_of = |number: usize| match (class, start.classes.get(number)) {
            (None, Some(&own)) => classes.of(Some(own), number),
            _ => classes.of(class, number),
        };
        for first in (0..count).step_by(chunk.max(1)) {
            let real = chunk.min(count - first);
            if let Some((name, value)) = classes.rows(chunk, |i| class_of(first + i))? {
                executable.write(name, value)?;
            }
            for (name, mut value) in sampling.begin(self.seed, first as u32, start.runs_done)? {
                if let (Some(x), true) = (
                    &start.x,
                    sampling.becoming().is_some_and(|s| s.name == name),
                ) {
                    let mut rows = x[first * width..(first + real) * width].to_vec();
                    rows.resize(chunk * width, 0.0);
                    value = Value::f32([chunk, width], rows)?;
                }
                executable.write(name, value)?;
            }
            for (name, value) in start.given(&sampling, first..first + real)? {
                executable.write(name, value)?;
            }
            self.session.set_state(0, self.seed, first as u32)?;
            for left in (0..runs).rev() {
                executable.run(1)?;
                watch(left, executable.as_ref())?;
            }
            let kept = |value: &Value| {
                let width = value.shape.count() / chunk;
                value.data.to_f32()[..width * real].to_vec()
            };
            samples
                .images
                .extend(kept(&executable.read(sampling.output)?));
            if let Some(next) = sampling.becoming().and_then(|state| state.next) {
                samples.x.extend(kept(&executable.read(next)?));
            }
            if classes.columns() > 0 {
                for number in first..first + real {
                    samples.labels.push(class_of(number)? as u32);
                }
            }
        }
        // The null class is none.
        let known = model.classes();
        if samples.labels.iter().any(|&l| l as usize >= known) {
            samples.labels.clear();
        }
        Ok(samples)
    }

    /// Runs a graph that takes no data once and reads an output. `draw` picks the noise.
    ///
    /// # Errors
    /// When it does not fit the device.
    pub fn once(
        &mut self,
        graph: &Graph,
        inputs: Vec<(&str, Value)>,
        output: &str,
        first: u32,
    ) -> Result<Value> {
        let mut executable = self.session.compile(graph, &[])?;
        for (name, value) in inputs {
            executable.write(name, value)?;
        }
        self.session.set_state(0, self.seed, first)?;
        executable.run(1)?;
        executable.read(output)
    }
}

/// The held-out loss of the model that knows only each pixel's mean: -sum of m ln m + (1 - m) ln(1 - m), nats an image.
pub fn mean_pixel_loss(training: &[u8], held_out: &[u8], width: usize) -> f64 {
    let rows = training.len() / width;
    let mut means = vec![0.0; width];
    training.chunks(width).for_each(|row| {
        means
            .iter_mut()
            .zip(row)
            .for_each(|(m, &p)| *m += f64::from(p) / 255.0);
    });
    let clamped: Vec<f64> = means
        .iter()
        .map(|m| (m / rows as f64).clamp(1e-4, 1.0 - 1e-4))
        .collect();
    let loss = |row: &[u8]| -> f64 {
        let one = |(&p, m): (&u8, &f64)| {
            let x = f64::from(p) / 255.0;
            -(x * m.ln() + (1.0 - x) * (1.0 - m).ln())
        };
        row.iter().zip(&clamped).map(one).sum()
    };
    held_out.chunks(width).map(loss).sum::<f64>() / (held_out.len() / width) as f64
}
