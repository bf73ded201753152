//! Sparse autoencoders: codes with more units than are active at a time, by one of three constraints. A unit then tends to stand for one
//! thing.
//!
//! ```
//! use wgen::data::digits::digits;
//! use wgen::evaluate::Evaluator;
//! use wgen::models::Model;
//! use wgen::models::autoencoder::Corruption;
//! use wgen::models::autoencoder::sparse::{Config, Sparse, Sparsity};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let data = digits(10, 1);
//! let sparsity = Sparsity::TopK { k: 3 };
//! let model = Sparse::new(Config { image: data.shape, latent: 16, sparsity, revival: 0.0, corruption: Corruption::None })?;
//! let weights: Vec<_> = model.parameters().iter().map(|p| draw(p, 0)).collect();
//! let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 10, 0)?;
//! let active = evaluator.encoded(&model, &data, &["active"])?.remove(0);
//! assert!(active.values.chunks_exact(16).all(|units| units.iter().sum::<f32>() == 3.0));
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::{Corruption, cases, check_widths, with_mean_squared_error};
use crate::error::{Error, Result};
use crate::graph::layout::{Init, Parameter};
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::philox::Domain;
use crate::kernels::schedule;
use crate::models::batch::DataType;
use crate::models::model::{Figures, Model, Phase, finish_step};
use crate::models::registry::{self, Entry};
use crate::tensor::ImageShape;
use crate::tensor::TensorType;

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "sparse-ae",
    from_json: |json| registry::built(json, Sparse::new),
    cases: cases::sparse,
    usual: cases::usual_sparse,
    further: registry::nothing_further,
};

/// What keeps the code sparse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sparsity {
    /// A relu code; the sum of its units is penalised.
    L1 {
        /// Weight of the penalty.
        penalty: f64,
    },
    /// A sigmoid code; each unit's mean over the batch is drawn to rho by the divergence of two coins (Ng's lecture notes; Lee et al. 2008
    /// for the idea): sum_j rho ln(rho / rho^_j) + (1 - rho) ln((1 - rho) / (1 - rho^_j)).
    Kl {
        /// The share of the time that a unit should be active.
        rho: f64,
        /// Weight of the penalty, an example.
        penalty: f64,
    },
    /// A linear code of which the k largest units are kept (Makhzani & Frey 2013).
    TopK {
        /// How many are kept.
        k: usize,
    },
}

/// What a sparse autoencoder is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One input.
    pub image: ImageShape,
    /// Units of the code.
    pub latent: usize,
    /// What keeps it sparse.
    pub sparsity: Sparsity,
    /// Weight of a second reconstruction, in which each unit takes part in the few examples of the batch that it fits best (the lifetime
    /// sparsity of Makhzani & Frey 2015, "Winner-take-all autoencoders"): units that nothing activates would never learn otherwise. 0 for
    /// none; a sigmoid code needs none.
    #[serde(default)]
    pub revival: f64,
    /// What is done to inputs in training.
    pub corruption: Corruption,
}

/// The share of a batch that each unit takes part in for its revival.
const WINNERS: f64 = 1.0 / 32.0;

impl Config {
    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("sparse-ae: {why}")));
        let widths = [("the input", self.image.count()), ("latent", self.latent)];
        check_widths("sparse-ae", &widths)?;
        let penalty = match self.sparsity {
            Sparsity::L1 { penalty } | Sparsity::Kl { penalty, .. } => penalty,
            Sparsity::TopK { .. } => 0.0,
        };
        if !penalty.is_finite() || penalty < 0.0 {
            return wrong(format!(
                "the penalty {penalty} must be a finite number from 0"
            ));
        }
        if !self.revival.is_finite() || self.revival < 0.0 {
            return wrong(format!(
                "the revival's weight {} must be a finite number from 0",
                self.revival
            ));
        }
        match self.sparsity {
            Sparsity::Kl { rho, .. } if !(rho > 0.0 && rho < 1.0) => wrong(format!(
                "the target activation {rho} must be above 0 and below 1"
            )),
            Sparsity::TopK { k } if k == 0 || k > self.latent => wrong(format!(
                "k is {k}; the code has {} units, of which 1 to {} can be kept",
                self.latent, self.latent
            )),
            _ => self.corruption.check(),
        }
    }
}

/// A sparse autoencoder: one layer in, one layer out, the columns of the decoder of length 1, so that no penalty is evaded by small codes
/// and large columns.
#[derive(Clone, Debug)]
pub struct Sparse {
    config: Config,
}

/// A unit of a sigmoid code counts as active above this.
const SIGMOID_ACTIVE: f64 = 0.1;

impl Sparse {
    /// A model of these sizes: `encoder.weight` `[latent, width]`, `decoder.weight` `[width, latent]`, and biases.
    ///
    /// # Errors
    /// When a size is zero or absurd, a target outside (0, 1), a penalty negative, k above the code's size.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }

    fn width(&self) -> usize {
        self.config.image.count()
    }

    /// The code before its constraint, `[batch, latent]`.
    fn before<'g>(&self, x: Var<'g>) -> Var<'g> {
        let graph = x.graph();
        let latent = self.config.latent;
        let weight = graph.parameter("encoder.weight", [latent, self.width()]);
        let bias = graph.parameter("encoder.bias", [latent]);
        x.linear(weight, bias)
    }

    /// The code `[batch, latent]` of `x` `[batch, width]`.
    fn encode<'g>(&self, x: Var<'g>) -> Var<'g> {
        let pre = self.before(x);
        match self.config.sparsity {
            Sparsity::L1 { .. } => pre.relu(),
            Sparsity::Kl { .. } => pre.sigmoid(),
            Sparsity::TopK { k } => pre.keep_top_k(1, k),
        }
    }

    /// The decoder's columns, each of length 1: `[width, latent]`.
    fn filters<'g>(&self, graph: &'g Graph) -> Var<'g> {
        let latent = self.config.latent;
        let weight = graph.parameter("decoder.weight", [self.width(), latent]);
        let length = (weight.square().sum(&[0]) + 1e-12).sqrt();
        weight / length.reshape([1, latent])
    }

    fn decode<'g>(&self, code: Var<'g>) -> Var<'g> {
        let graph = code.graph();
        let bias = graph.parameter("decoder.bias", [self.width()]);
        let filters = self.filters(graph);
        // A sigmoid code is never 0: its decoder says how far a unit moves the image by more than a column of length 1 can.
        let code = match self.config.sparsity {
            Sparsity::Kl { .. } => code * graph.parameter("gain", [self.config.latent]),
            _ => code,
        };
        code.linear(filters, bias)
    }

    /// 1 where a unit is active: above 0, of a sigmoid code above 0.1, of a k-sparse one kept (its units may be negative).
    fn active<'g>(&self, code: Var<'g>) -> Var<'g> {
        match self.config.sparsity {
            Sparsity::L1 { .. } => code.greater_than(0.0),
            Sparsity::Kl { .. } => code.greater_than(SIGMOID_ACTIVE),
            Sparsity::TopK { .. } => code.abs().greater_than(0.0),
        }
    }

    /// The penalty summed over the batch.
    fn penalty<'g>(&self, code: Var<'g>) -> Var<'g> {
        let graph = code.graph();
        let batch = code.shape().dims()[0] as f64;
        match self.config.sparsity {
            Sparsity::L1 { penalty } => code.sum_all() * penalty,
            Sparsity::Kl { rho, penalty } => {
                // Away from 0 and 1, where the divergence is infinite.
                let mean = code.mean(&[0]).clamp(1e-6, 1.0 - 1e-6);
                let cross = mean.log() * rho + (-mean + 1.0).log() * (1.0 - rho);
                let entropy = rho * rho.ln() + (1.0 - rho) * (1.0 - rho).ln();
                (-cross + entropy).sum_all() * (penalty * batch)
            }
            Sparsity::TopK { .. } => graph.constant(0.0) * code.sum_all(),
        }
    }

    fn batch<'g>(&self, graph: &'g Graph, data: &DataType, batch: usize) -> Result<Var<'g>> {
        data.batch(graph, "sparse-ae", self.width(), batch)
    }

    /// The decoder's columns as images: output `images` `[latent, width]`.
    pub(crate) fn drawn_filters(&self) -> Graph {
        let graph = Graph::new(Domain::Sampling);
        graph.output("images", self.filters(&graph).transpose());
        graph
    }
}

impl Model for Sparse {
    fn name(&self) -> &'static str {
        "sparse-ae"
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
        let (width, latent) = (self.width(), self.config.latent);
        let uniform = Init::Uniform(1.0 / (width as f32).sqrt());
        let zero = Init::Constant(0.0);
        let mut parameters = vec![
            Parameter::new("encoder.weight", [latent, width], uniform),
            Parameter::new("encoder.bias", [latent], zero),
            Parameter::new("decoder.weight", [width, latent], uniform),
            Parameter::new("decoder.bias", [width], zero),
        ];
        if matches!(self.config.sparsity, Sparsity::Kl { .. }) {
            parameters.push(Parameter::new("gain", [latent], Init::Constant(4.0)));
        }
        parameters
    }

    fn phases(&self) -> Vec<Phase> {
        Phase::only(&["loss", "squared_error", "penalty", "active_share"])
    }

    /// Squared error of an image and the penalty, which may warm up, summed over the batch.
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let x = self.batch(&graph, data, update.batch)?;
        let input = self.config.corruption.apply("corruption", x);
        let code = self.encode(input);
        let error = self.decode(code).squared_error(x).sum_all();
        let penalty = self.penalty(code);
        let mut loss = error + penalty * graph.schedule(schedule::MODEL);
        if self.config.revival > 0.0 {
            let pre = self.before(input);
            let winners = ((update.batch as f64 * WINNERS) as usize).max(1);
            let revived = self.decode(pre.keep_top_k(0, winners));
            loss = loss + revived.squared_error(x).sum_all() * self.config.revival;
        }
        let share = self.active(code).sum_all() * (1.0 / self.config.latent as f64);
        let metrics = [
            ("loss", loss),
            ("squared_error", error),
            ("penalty", penalty),
            ("active_share", share),
        ];
        finish_step(&graph, self, loss, &metrics, &[], update);
        Ok(graph)
    }

    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = self.batch(&graph, data, batch)?;
        let code = self.encode(x);
        let each = 1.0 / self.config.latent as f64;
        graph.output(
            "squared_error",
            self.decode(code).squared_error(x).sum(&[1]),
        );
        graph.output("active_units", self.active(code).sum(&[1]));
        graph.output("mean_activation", code.sum(&[1]) * each);
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["squared_error", "active_units", "mean_activation"]
    }

    fn validation_loss(&self, means: &Figures) -> f64 {
        let penalty = match self.config.sparsity {
            Sparsity::L1 { penalty } => {
                penalty * means["mean_activation"] * self.config.latent as f64
            }
            _ => 0.0,
        };
        means["squared_error"] + penalty
    }

    fn report(&self, means: &Figures) -> Figures {
        let mut report = with_mean_squared_error(means, self.config.image);
        let share = means["active_units"] / self.config.latent as f64;
        report.insert("active_share".to_owned(), share);
        report
    }

    fn latent(&self) -> Option<usize> {
        Some(self.config.latent)
    }

    fn decoding(&self, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let z = graph.input("z", TensorType::f32([count, self.config.latent]));
        graph.output("images", self.decode(z));
        Ok(graph)
    }

    fn encoding(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = self.batch(&graph, data, batch)?;
        let code = self.encode(x);
        graph.output("code", code);
        graph.output("active", self.active(code));
        graph.output("images", self.decode(code));
        graph.output("inputs", x);
        Ok(graph)
    }

    fn codes(&self) -> Vec<&'static str> {
        vec!["code", "active"]
    }

    fn filters(&self) -> Option<Graph> {
        Some(self.drawn_filters())
    }
}
