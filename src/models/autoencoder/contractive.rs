//! The contractive autoencoder (Rifai et al. 2011, "Contractive auto-encoders: explicit invariance during feature extraction"): the
//! squared Frobenius norm of the encoder's Jacobian as a penalty, so that the code changes little where the input does.
//!
//! ```
//! use wgen::graph::op::EvalContext;
//! use wgen::kernels::philox::RandomState;
//! use wgen::models::autoencoder::contractive::{Config, Contractive};
//! use wgen::real::Precision;
//! use wgen::tensor::{ImageShape, Value};
//!
//! let image = ImageShape { height: 1, width: 2, channels: 1 };
//! let model = Contractive::new(Config { layers: vec![1], ..Config::single(image, 0.1) })?;
//! let graph = model.norms(1);
//! // One sigmoid unit at 0, where its slope is 1/4: the norm is (3^2 + 4^2) / 4^2.
//! let leaves = [("x", [1, 2], vec![0.0, 0.0]), ("encoder.0.weight", [1, 2], vec![3.0, 4.0])];
//! let mut leaves = leaves.map(|(name, shape, values)| (name, Value::f32(shape, values).unwrap())).to_vec();
//! leaves.push(("encoder.0.bias", Value::f32([1], vec![0.0])?));
//! let cx = EvalContext { precision: Precision::F64, state: RandomState { seed: 0, step: 0, cursor: 0 } };
//! let norm = graph.interpret(&[graph.find_output("exact").unwrap()], &leaves, &cx)?;
//! assert!((norm[0].data.to_f64()[0] - 25.0 / 16.0).abs() < 1e-9);
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::{Corruption, cases, check_widths, with_mean_squared_error};
use crate::error::{Error, Result};
use crate::graph::layout::{Init, Parameter};
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::kernels::matmul::Layout;
use crate::kernels::philox::Domain;
use crate::kernels::schedule;
use crate::models::batch::DataType;
use crate::models::model::{Figures, Model, Phase, finish_step};
use crate::models::registry::{self, Entry};
use crate::nn::Activation;
use crate::tensor::ImageShape;
use crate::tensor::TensorType;

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "contractive-ae",
    from_json: |json| registry::built(json, Contractive::new),
    cases: cases::contractive,
    usual: cases::usual_contractive,
    further: registry::nothing_further,
};

/// How the norm of the Jacobian is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// By the layers' Jacobians: for one layer the closed form of Rifai et al., sum_j a'(pre_j)^2 sum_i W_ji^2; for more their product.
    #[default]
    Exact,
    /// Hutchinson's estimate: E |J^T v|^2 over v ~ N(0, I), one draw an example. For encoders whose product of Jacobians is too large.
    Hutchinson,
}

/// What a contractive autoencoder is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One input.
    pub image: ImageShape,
    /// Layers of the encoder, the code last; the decoder has their transposes, as the paper ties them.
    pub layers: Vec<usize>,
    /// After each layer of the encoder, the code's included.
    pub activation: Activation,
    /// Lambda: the weight of the penalty.
    pub penalty: f64,
    /// How the norm is computed in training; evaluation is exact.
    pub norm: Norm,
    /// What is done to inputs in training.
    pub corruption: Corruption,
}

impl Config {
    /// 784-256, a sigmoid code.
    pub fn single(image: ImageShape, penalty: f64) -> Self {
        Self {
            image,
            layers: vec![256],
            activation: Activation::Sigmoid,
            penalty,
            norm: Norm::Exact,
            corruption: Corruption::None,
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![self.image.count()];
        widths.extend(&self.layers);
        widths
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        if self.layers.is_empty() {
            return Err(Error::Usage(
                "contractive-ae: the encoder has no layers".to_owned(),
            ));
        }
        let widths: Vec<_> = self.widths().into_iter().map(|w| ("a layer", w)).collect();
        check_widths("contractive-ae", &widths)?;
        if !self.penalty.is_finite() || self.penalty < 0.0 {
            return Err(Error::Usage(format!(
                "contractive-ae: the penalty {} must be a finite number from 0",
                self.penalty
            )));
        }
        self.corruption.check()
    }
}

/// A contractive autoencoder.
#[derive(Clone, Debug)]
pub struct Contractive {
    config: Config,
}

/// What a pass through the encoder leaves: the code and what its Jacobian is made of.
#[derive(Debug)]
struct Encoded<'g> {
    x: Var<'g>,
    code: Var<'g>,
    /// Before each activation.
    pre: Vec<Var<'g>>,
}

impl Contractive {
    /// A model of these sizes: weights `encoder.i.weight` `[out, in]`, biases of both ways.
    ///
    /// # Errors
    /// When a size is zero or absurd, or the penalty negative.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }

    fn weight<'g>(&self, graph: &'g Graph, i: usize) -> Var<'g> {
        let widths = self.config.widths();
        graph.parameter(&format!("encoder.{i}.weight"), [widths[i + 1], widths[i]])
    }

    fn encode<'g>(&self, x: Var<'g>) -> Encoded<'g> {
        let graph = x.graph();
        let widths = self.config.widths();
        let (mut code, mut pre) = (x, Vec::new());
        for i in 0..self.config.layers.len() {
            let bias = graph.parameter(&format!("encoder.{i}.bias"), [widths[i + 1]]);
            let before = code.linear(self.weight(graph, i), bias);
            pre.push(before);
            code = self.config.activation.apply(before);
        }
        Encoded { x, code, pre }
    }

    /// The decoder: the encoder's weights transposed, sigmoid at the end.
    fn decode<'g>(&self, code: Var<'g>) -> Var<'g> {
        let graph = code.graph();
        let widths = self.config.widths();
        let mut x = code;
        for i in (0..self.config.layers.len()).rev() {
            let bias = graph.parameter(&format!("decoder.{i}.bias"), [widths[i]]);
            let before = x.matmul(self.weight(graph, i)) + bias;
            x = if i == 0 {
                before.sigmoid()
            } else {
                self.config.activation.apply(before)
            };
        }
        x
    }

    /// a'(pre), by the graph's own rule for the activation.
    fn slope<'g>(&self, pre: Var<'g>) -> Var<'g> {
        let sum = self.config.activation.apply(pre).sum_all();
        pre.graph().gradients(sum, &[pre]).remove(0)
    }

    /// |J|_F^2 of each example, `[batch]`, exactly.
    ///
    /// One layer: sum_j a'(pre_j)^2 sum_i W_ji^2 (Rifai et al. 2011, eq. 9 and section 4.1, for the sigmoid h (1 - h)). More: from the
    /// code back, S = diag(a'_L) W_L diag(a'_(L-1)) ... W_1 an example, as products of matrices, and the sum of its squares.
    fn exact<'g>(&self, encoded: &Encoded<'g>) -> Var<'g> {
        let graph = encoded.x.graph();
        let last = self.config.layers.len() - 1;
        let slope = self.slope(encoded.pre[last]);
        let weight = self.weight(graph, last);
        if last == 0 {
            let rows = weight.square().sum(&[1]);
            return (slope.square() * rows).sum(&[1]);
        }
        let (batch, code) = (encoded.x.shape().dims()[0], self.config.layers[last]);
        let mut jacobian = slope.reshape([batch, code, 1]) * weight;
        for i in (0..last).rev() {
            let width = self.config.layers[i];
            let slope = self.slope(encoded.pre[i]).reshape([batch, 1, width]);
            jacobian = (jacobian * slope).matmul_as(Layout::Nn, self.weight(graph, i));
        }
        jacobian.square().sum(&[1, 2])
    }

    /// |J^T v|^2 of each example, `[batch]`, v given: its mean over v ~ N(0, I) is |J|_F^2 (Hutchinson 1990).
    fn estimate<'g>(encoded: &Encoded<'g>, v: Var<'g>) -> Var<'g> {
        let graph = encoded.x.graph();
        let along = (encoded.code * v).sum_all();
        let back = graph.gradients(along, &[encoded.x]).remove(0);
        back.square().sum(&[1])
    }

    /// Squared Frobenius norms of `x`'s Jacobians, exact and by one of Hutchinson's draws: outputs `exact` and `estimate`, `[batch]`, for
    /// input `x` `[batch, width]`; the draw depends on the step.
    pub fn norms(&self, batch: usize) -> Graph {
        let graph = Graph::new(Domain::Validation);
        let x = graph.input("x", TensorType::f32([batch, self.config.image.count()]));
        let encoded = self.encode(x);
        let v = graph.random("v", Distribution::Normal, encoded.code.shape());
        graph.output("exact", self.exact(&encoded));
        graph.output("estimate", Self::estimate(&encoded, v));
        graph
    }

    fn batch<'g>(&self, graph: &'g Graph, data: &DataType, batch: usize) -> Result<Var<'g>> {
        data.batch(graph, "contractive-ae", self.config.image.count(), batch)
    }
}

impl Model for Contractive {
    fn name(&self) -> &'static str {
        "contractive-ae"
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
        let widths = self.config.widths();
        let mut parameters = Vec::new();
        for (i, w) in widths.windows(2).enumerate() {
            let init = Init::Uniform(1.0 / (w[0] as f32).sqrt());
            parameters.push(Parameter::new(
                format!("encoder.{i}.weight"),
                [w[1], w[0]],
                init,
            ));
            parameters.push(Parameter::new(format!("encoder.{i}.bias"), [w[1]], init));
            let zero = Init::Constant(0.0);
            parameters.push(Parameter::new(format!("decoder.{i}.bias"), [w[0]], zero));
        }
        parameters
    }

    fn phases(&self) -> Vec<Phase> {
        Phase::only(&["loss", "squared_error", "jacobian_norm"])
    }

    /// Squared error of an image plus lambda times the squared norm of its Jacobian (eq. 4), summed over the batch; lambda may warm up.
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let x = self.batch(&graph, data, update.batch)?;
        let encoded = self.encode(self.config.corruption.apply("corruption", x));
        let error = self.decode(encoded.code).squared_error(x).sum_all();
        let norm = match self.config.norm {
            Norm::Exact => self.exact(&encoded),
            Norm::Hutchinson => {
                let v = graph.random("hutchinson", Distribution::Normal, encoded.code.shape());
                Self::estimate(&encoded, v)
            }
        };
        let norm = norm.sum_all();
        let loss = error + norm * (graph.schedule(schedule::MODEL) * self.config.penalty);
        let metrics = [
            ("loss", loss),
            ("squared_error", error),
            ("jacobian_norm", norm),
        ];
        finish_step(&graph, self, loss, &metrics, &[], update);
        Ok(graph)
    }

    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = self.batch(&graph, data, batch)?;
        let encoded = self.encode(x);
        let error = self.decode(encoded.code).squared_error(x).sum(&[1]);
        graph.output("squared_error", error);
        graph.output("jacobian_norm", self.exact(&encoded));
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["squared_error", "jacobian_norm"]
    }

    fn validation_loss(&self, means: &Figures) -> f64 {
        means["squared_error"] + self.config.penalty * means["jacobian_norm"]
    }

    fn report(&self, means: &Figures) -> Figures {
        with_mean_squared_error(means, self.config.image)
    }

    fn latent(&self) -> Option<usize> {
        self.config.layers.last().copied()
    }

    fn decoding(&self, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let code = self.latent().unwrap_or(0);
        let z = graph.input("z", TensorType::f32([count, code]));
        graph.output("images", self.decode(z));
        Ok(graph)
    }

    fn encoding(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = self.batch(&graph, data, batch)?;
        let encoded = self.encode(x);
        graph.output("code", encoded.code);
        graph.output("images", self.decode(encoded.code));
        graph.output("inputs", x);
        Ok(graph)
    }

    fn codes(&self) -> Vec<&'static str> {
        vec!["code"]
    }
}
