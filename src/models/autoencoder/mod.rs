//! Autoencoders: an encoder to a small code, and a decoder that restores the input from it. Hinton & Salakhutdinov 2006 ("Reducing the
//! dimensionality of data with neural networks"), 784-1000-500-250-30 by default; [`sparse`] and [`contractive`] are its relatives.
//!
//! `docs/models/ae.md` sets each formula beside the function here that implements it.
//!
//! ```
//! use wgen::data::digits::digits;
//! use wgen::evaluate::Evaluator;
//! use wgen::models::Model;
//! use wgen::models::autoencoder::{Autoencoder, Config};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let data = digits(10, 1);
//! let model = Autoencoder::new(Config { hidden: vec![16], latent: 4, ..Config::deep(data.shape) })?;
//! let weights: Vec<_> = model.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained
//! let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 10, 0)?;
//! let figures = model.report(&evaluator.figures(&model, &data)?);
//! // It answers 1/2 everywhere, and pixels are mostly 0 or 1.
//! assert!((figures["mean_squared_error"] - 0.25).abs() < 0.03, "{figures:?}");
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::batch::DataType;
use super::model::{Figures, Model, Phase, finish_step};
use super::registry::{self, Entry};
use crate::error::{Error, Result};
use crate::graph::layout::Parameter;
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::functions::Distribution;
use crate::kernels::philox::Domain;
use crate::nn::{Activation, Pass, Sequential};
use crate::tensor::ImageShape;
use crate::tensor::TensorType;

mod cases;
pub mod contractive;
pub(crate) mod halving;
pub mod sparse;

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "ae",
    from_json: |json| registry::built(json, Autoencoder::new),
    cases: cases::ae,
    usual: cases::usual_ae,
    further: registry::nothing_further,
};

/// What is done to an input before the model has to restore it (Vincent et al. 2010, "Stacked denoising autoencoders", section 3.2 and
/// 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    /// Nothing.
    #[default]
    None,
    /// Normal noise of this standard deviation is added.
    Gaussian(f32),
    /// This share of the elements is set to 0.
    Masking(f32),
    /// This share of the elements is set to 0 or to 1, either with the same probability.
    SaltAndPepper(f32),
}

impl Corruption {
    /// The corrupted input.
    pub fn apply<'g>(self, name: &str, x: Var<'g>) -> Var<'g> {
        let graph = x.graph();
        let random = |what: &str, d| graph.random(&format!("{name} {what}"), d, x.shape());
        match self {
            Self::None => x,
            Self::Gaussian(sigma) => x + random("noise", Distribution::Normal) * f64::from(sigma),
            Self::Masking(share) => x * random("kept", Distribution::Bernoulli(1.0 - share)),
            Self::SaltAndPepper(share) => {
                let hit = random("hit", Distribution::Bernoulli(share));
                hit.select(random("salt", Distribution::Bernoulli(0.5)), x)
            }
        }
    }

    fn check(self) -> Result<()> {
        let (name, value, most) = match self {
            Self::None => return Ok(()),
            Self::Gaussian(sigma) => ("gaussian", sigma, f32::MAX),
            Self::Masking(share) => ("masking", share, 1.0),
            Self::SaltAndPepper(share) => ("salt_and_pepper", share, 1.0),
        };
        if value >= 0.0 && value <= most {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "corruption {name} {value}: it must be from 0{}",
            if most == 1.0 { " to 1" } else { "" }
        )))
    }
}

/// What an autoencoder is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One input.
    pub image: ImageShape,
    /// Hidden layers of the encoder; the decoder has them in reverse.
    pub hidden: Vec<usize>,
    /// Channels of the encoder's convolutions, each of which halves the image, instead of hidden layers; the decoder has them in reverse.
    /// Empty for none.
    #[serde(default)]
    pub channels: Vec<usize>,
    /// Size of the code.
    pub latent: usize,
    /// Between layers.
    pub activation: Activation,
    /// After the last layer of the decoder.
    pub output: Activation,
    /// What is done to inputs in training.
    pub corruption: Corruption,
}

/// No layer may be wider: a hostile `config.json` must not make us allocate.
pub(crate) const MAX_WIDTH: usize = 1 << 20;

/// Refuses sizes of zero, absurd ones, and too many layers, before anything is allocated.
pub(crate) fn check_widths(model: &str, widths: &[(&str, usize)]) -> Result<()> {
    for &(name, size) in widths {
        if size == 0 || size > MAX_WIDTH {
            return Err(Error::Usage(format!(
                "{model}: {name} is {size}; it must be from 1 to {MAX_WIDTH}"
            )));
        }
    }
    if widths.len() > 18 {
        return Err(Error::Usage(format!(
            "{model}: {} layers are more than 16 and both ends",
            widths.len()
        )));
    }
    let weights = widths
        .windows(2)
        .map(|w| w[0].1.saturating_mul(w[1].1))
        .fold(0, usize::saturating_add);
    if weights > 1 << 28 {
        return Err(Error::Usage(format!(
            "{model}: {weights} weights a network are above {}",
            1 << 28
        )));
    }
    Ok(())
}

impl Config {
    /// Hinton & Salakhutdinov's sizes, for inputs of this shape.
    pub fn deep(image: ImageShape) -> Self {
        Self {
            image,
            hidden: vec![1000, 500, 250],
            channels: Vec::new(),
            latent: 30,
            activation: Activation::Relu,
            output: Activation::Sigmoid,
            corruption: Corruption::None,
        }
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let mut widths = vec![("the input", self.image.count())];
        widths.extend(self.hidden.iter().map(|&h| ("hidden", h)));
        widths.push(("latent", self.latent));
        check_widths("ae", &widths)?;
        if !self.channels.is_empty() {
            if !self.hidden.is_empty() {
                return Err(Error::Usage(
                    "ae: it has convolutions or hidden layers, not both".to_owned(),
                ));
            }
            halving::check("ae", self.image, &self.channels)?;
        }
        self.corruption.check()
    }
}

/// An autoencoder.
#[derive(Clone, Debug)]
pub struct Autoencoder {
    config: Config,
    encoder: Sequential,
    decoder: Sequential,
}

impl Autoencoder {
    /// A model of these sizes, its parameters named as two `torch.nn.Sequential`, `encoder` and `decoder`.
    ///
    /// # Errors
    /// When a size is zero or absurd.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        if !config.channels.is_empty() {
            let inner = halving::inner(config.image, &config.channels);
            let encoder = halving::encoder("encoder", config.image, 0, &config.channels)
                .linear_from_image(inner, config.latent);
            let decoder =
                halving::decoder("decoder", config.latent, config.image, &config.channels)
                    .activation(config.output);
            return Ok(Self {
                config,
                encoder,
                decoder,
            });
        }
        let mut widths = vec![config.image.count()];
        widths.extend(&config.hidden);
        widths.push(config.latent);
        let encoder =
            Sequential::dense("encoder", &widths, config.activation, Activation::Identity);
        widths.reverse();
        let decoder = Sequential::dense("decoder", &widths, config.activation, config.output);
        Ok(Self {
            config,
            encoder,
            decoder,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The code `[batch, latent]` of `x` `[batch, width]`.
    pub fn encode<'g>(&self, pass: &Pass<'g>, x: Var<'g>) -> Var<'g> {
        if self.config.channels.is_empty() {
            return self.encoder.forward(pass, x);
        }
        self.encoder
            .forward(pass, halving::planes(x, self.config.image, None))
    }

    /// What a code is decoded to, `[batch, width]`.
    pub fn decode<'g>(&self, pass: &Pass<'g>, z: Var<'g>) -> Var<'g> {
        let decoded = self.decoder.forward(pass, z);
        decoded.reshape([z.shape().dims()[0], self.config.image.count()])
    }

    fn batch<'g>(&self, graph: &'g Graph, data: &DataType, batch: usize) -> Result<Var<'g>> {
        data.batch(graph, "ae", self.config.image.count(), batch)
    }
}

impl Model for Autoencoder {
    fn name(&self) -> &'static str {
        "ae"
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
        [self.encoder.parameters(), self.decoder.parameters()].concat()
    }

    fn phases(&self) -> Vec<Phase> {
        Phase::only(&["loss", "squared_error"])
    }

    /// The mean squared error over the elements of an image (the seed's), summed over the batch; `squared_error` is the paper's sum over
    /// them.
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let pass = Pass::training(&graph);
        let x = self.batch(&graph, data, update.batch)?;
        let corrupted = self.config.corruption.apply("corruption", x);
        let decoded = self.decode(&pass, self.encode(&pass, corrupted));
        let error = decoded.squared_error(x).sum_all();
        let loss = error * (1.0 / self.config.image.count() as f64);
        let metrics = [("loss", loss), ("squared_error", error)];
        finish_step(&graph, self, loss, &metrics, &pass.states(), update);
        Ok(graph)
    }

    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let pass = Pass::evaluation(&graph);
        let x = self.batch(&graph, data, batch)?;
        let decoded = self.decode(&pass, self.encode(&pass, x));
        graph.output("squared_error", decoded.squared_error(x).sum(&[1]));
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["squared_error"]
    }

    fn report(&self, means: &Figures) -> Figures {
        with_mean_squared_error(means, self.config.image)
    }

    fn latent(&self) -> Option<usize> {
        Some(self.config.latent)
    }

    fn decoding(&self, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let z = graph.input("z", TensorType::f32([count, self.config.latent]));
        graph.output("images", self.decode(&Pass::evaluation(&graph), z));
        Ok(graph)
    }

    fn encoding(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let pass = Pass::evaluation(&graph);
        let x = self.batch(&graph, data, batch)?;
        let z = self.encode(&pass, x);
        graph.output("code", z);
        graph.output("images", self.decode(&pass, z));
        graph.output("inputs", x);
        Ok(graph)
    }

    fn codes(&self) -> Vec<&'static str> {
        vec!["code"]
    }
}

/// The figures with the mean over an image's elements beside their sum.
pub(crate) fn with_mean_squared_error(means: &Figures, image: ImageShape) -> Figures {
    let mut report = means.clone();
    if let Some(sum) = means.get("squared_error") {
        report.insert("mean_squared_error".to_owned(), sum / image.count() as f64);
    }
    report
}
