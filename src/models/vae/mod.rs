//! The variational autoencoder (Kingma & Welling 2013), as pytorch/examples has it: 784-400-20 by default. An encoder gives a normal
//! distribution over codes, a decoder makes examples of codes, and new examples are decoded from codes drawn from the standard normal.
//!
//! `docs/models/vae.md` sets each formula beside the function here that implements it.
//!
//! ```
//! use wgen::data::digits::digits;
//! use wgen::evaluate::Evaluator;
//! use wgen::models::Model;
//! use wgen::models::vae::{Config, Vae};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let vae = Vae::new(Config { hidden: vec![16], latent: 2, ..Config::mnist() })?;
//! let weights: Vec<_> = vae.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained
//! let mut evaluator = Evaluator::new(&Device::Cpu, &vae, &weights, 10, 0)?;
//! let data = digits(10, 1);
//! let figures = vae.report(&evaluator.figures(&vae, &data)?);
//! assert_eq!(figures["elbo"], -(figures["reconstruction"] + figures["kl"]));
//! // The estimate by importance samples is the tighter bound.
//! assert!(evaluator.log_likelihood(&vae, &data, 16)? > figures["elbo"]);
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::autoencoder::{check_widths, halving};
use super::batch::DataType;
use super::model::{Figures, Model, Phase, finish_step};
use super::registry::{self, Entry};
use crate::error::{Error, Result};
use crate::graph::layout::{Init, Parameter};
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::philox::Domain;
use crate::kernels::schedule;
use crate::nn::{Activation, Layer, Linear, Pass, Sequential};
use crate::program::sampling::Sampling;
use crate::tensor::{ImageShape, TensorType};

mod cases;

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "vae",
    from_json: |json| registry::built(json, Vae::new),
    cases: cases::cases,
    usual: cases::usual,
    further: cases::further,
};

/// The distribution p(x | z) that the decoder parameterises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Decoder {
    /// Pixels in [0, 1] as Bernoulli probabilities, by logits.
    #[default]
    Bernoulli,
    /// N(decoder(z), sigma^2) with one learned sigma (Rybkin et al. 2021, "Simple and effective VAE training with calibrated
    /// decoders").
    Gaussian,
}

/// What a VAE is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Elements of one input.
    pub width: usize,
    /// Hidden layers of the encoder; the decoder has them in reverse.
    pub hidden: Vec<usize>,
    /// Latent size.
    pub latent: usize,
    /// p(x | z).
    pub decoder: Decoder,
    /// With convolutions: the image that an input is. Hidden layers are then none.
    #[serde(default)]
    pub image: Option<ImageShape>,
    /// Channels of the encoder's convolutions, each of which halves the image; the decoder has them in reverse. Empty for none.
    #[serde(default)]
    pub channels: Vec<usize>,
    /// Classes that encoder and decoder are conditional on (Sohn et al. 2015); 0 for none.
    #[serde(default)]
    pub classes: usize,
    /// Where the learned ln sigma^2 of a Gaussian decoder begins. Close to where it ends is best, as the logarithm of the data's variance
    /// is: at a learning rate of 1e-3 it moves by 1 in 1,000 steps.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decoder_log_variance: f32,
}

fn is_zero(x: &f32) -> bool {
    *x == 0.0
}

impl Config {
    /// 784-400-20 with a Bernoulli decoder.
    pub fn mnist() -> Self {
        Self {
            width: 784,
            hidden: vec![400],
            latent: 20,
            decoder: Decoder::Bernoulli,
            image: None,
            channels: Vec::new(),
            classes: 0,
            decoder_log_variance: 0.0,
        }
    }

    /// Refuses sizes of zero, absurd ones, and too many layers, before anything is allocated.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        if self.classes > 4096 {
            return Err(Error::Usage(format!(
                "vae: {} classes are more than 4096",
                self.classes
            )));
        }
        if !(-30.0..=20.0).contains(&self.decoder_log_variance) {
            return Err(Error::Usage(format!(
                "vae: decoder_log_variance {} must be from -30 to 20",
                self.decoder_log_variance
            )));
        }
        if let Some(image) = self.image.filter(|image| image.count() != self.width) {
            return Err(Error::Usage(format!(
                "vae: image is {image}, which has not the model's {} values",
                self.width
            )));
        }
        if !self.channels.is_empty() {
            let image = self.image.ok_or_else(|| {
                Error::Usage("vae: convolutions need images, not points".to_owned())
            })?;
            if !self.hidden.is_empty() {
                return Err(Error::Usage(
                    "vae: it has convolutions or hidden layers, not both".to_owned(),
                ));
            }
            check_widths("vae", &[("latent", self.latent)])?;
            return halving::check("vae", image, &self.channels);
        }
        if self.hidden.is_empty() {
            return Err(Error::Usage(
                "vae: hidden has 0 layers; it must have from 1 to 16".to_owned(),
            ));
        }
        let mut widths = vec![("width", self.width)];
        widths.extend(self.hidden.iter().map(|&h| ("hidden", h)));
        widths.push(("latent", self.latent));
        check_widths("vae", &widths)
    }
}

/// q(z | x) = N(mu, exp(log_variance)).
#[derive(Clone, Copy, Debug)]
pub struct Posterior<'g> {
    /// `[batch, latent]`.
    pub mu: Var<'g>,
    /// `[batch, latent]`.
    pub log_variance: Var<'g>,
}

/// A variational autoencoder.
#[derive(Clone, Debug)]
pub struct Vae {
    config: Config,
    encoder: Sequential,
    to_mu: Linear,
    to_log_variance: Linear,
    decoder: Sequential,
}

/// The learned ln sigma^2 of a Gaussian decoder.
const DECODER_LOG_VARIANCE: &str = "decoder_log_variance";

impl Vae {
    /// A model of these sizes. With one hidden layer its parameters are named as in pytorch/examples (`fc1`, `fc21`, `fc22`, `fc3`,
    /// `fc4`); with more, hidden layers are `encoder.0`, `encoder.1`, ..., `decoder.0`, ...; with convolutions, `encoder` and `decoder` are
    /// `torch.nn.Sequential`.
    ///
    /// # Errors
    /// When a size is zero or absurd.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        match config.image {
            Some(image) if !config.channels.is_empty() => Ok(Self::convolutional(config, image)),
            _ => Ok(Self::dense(config)),
        }
    }

    fn dense(config: Config) -> Self {
        let single = config.hidden.len() == 1;
        let name = |part: &str, i: usize, alone: &str| {
            if single {
                alone.to_owned()
            } else {
                format!("{part}.{i}")
            }
        };
        let layer = |net: Sequential, linear: Linear| net.then(Layer::Linear(linear));
        let mut encoder = Sequential::default();
        let mut size = config.width + config.classes;
        for (i, &hidden) in config.hidden.iter().enumerate() {
            let linear = Linear::new(name("encoder", i, "fc1"), size, hidden);
            encoder = layer(encoder, linear).activation(Activation::Relu);
            size = hidden;
        }
        let to_mu = Linear::new("fc21", size, config.latent);
        let to_log_variance = Linear::new("fc22", size, config.latent);
        let mut decoder = Sequential::default();
        size = config.latent + config.classes;
        for (i, &hidden) in config.hidden.iter().rev().enumerate() {
            let linear = Linear::new(name("decoder", i, "fc3"), size, hidden);
            decoder = layer(decoder, linear).activation(Activation::Relu);
            size = hidden;
        }
        let decoder = layer(decoder, Linear::new("fc4", size, config.width));
        Self {
            config,
            encoder,
            to_mu,
            to_log_variance,
            decoder,
        }
    }

    fn convolutional(config: Config, image: ImageShape) -> Self {
        let encoder = halving::encoder("encoder", image, config.classes, &config.channels)
            .then(Layer::Flatten);
        let inner = halving::inner(image, &config.channels);
        let from_image = |name: &str| Linear {
            from_image: Some(inner),
            ..Linear::new(name, inner.iter().product(), config.latent)
        };
        let (to_mu, to_log_variance) = (from_image("fc21"), from_image("fc22"));
        let inputs = config.latent + config.classes;
        let decoder = halving::decoder("decoder", inputs, image, &config.channels);
        Self {
            config,
            encoder,
            to_mu,
            to_log_variance,
            decoder,
        }
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// q(z | x): `x` is `[batch, width]`; a conditional model's `classes` `[batch, classes]`.
    pub fn encode<'g>(&self, x: Var<'g>, classes: Option<Var<'g>>) -> Posterior<'g> {
        let graph = x.graph();
        let x = match self.config.image {
            Some(image) if !self.config.channels.is_empty() => halving::planes(x, image, classes),
            _ => match classes {
                Some(classes) => graph.concat(1, &[x, classes]),
                None => x,
            },
        };
        let h = self.encoder.forward(&Pass::evaluation(graph), x);
        Posterior {
            mu: self.to_mu.forward(h),
            // The clamp of diffusers: inside of it nothing changes, outside exp stays finite.
            log_variance: self.to_log_variance.forward(h).clamp(-30.0, 20.0),
        }
    }

    /// Logits (Bernoulli) or means (Gaussian) of p(x | z): `z` is `[batch, latent]`.
    pub fn decode<'g>(&self, z: Var<'g>, classes: Option<Var<'g>>) -> Var<'g> {
        let graph = z.graph();
        let inputs = match classes {
            Some(classes) => graph.concat(1, &[z, classes]),
            None => z,
        };
        let decoded = self.decoder.forward(&Pass::evaluation(graph), inputs);
        decoded.reshape([z.shape().dims()[0], self.config.width])
    }

    /// The classes of the step's batch, of a conditional model.
    fn labels<'g>(
        &self,
        graph: &'g Graph,
        data: &DataType,
        batch: usize,
    ) -> Result<Option<Var<'g>>> {
        match self.config.classes {
            0 => Ok(None),
            classes => data.labels(graph, "vae", classes, batch).map(Some),
        }
    }

    /// The classes that the caller asks for, of a conditional model: input `classes`.
    fn asked<'g>(&self, graph: &'g Graph, count: usize) -> Option<Var<'g>> {
        let classes = self.config.classes;
        (classes > 0).then(|| graph.input("classes", TensorType::f32([count, classes])))
    }

    /// -ln p(x | z), element by element, from what `decode` gave.
    pub fn reconstruction_error<'g>(&self, decoded: Var<'g>, x: Var<'g>) -> Var<'g> {
        match self.config.decoder {
            Decoder::Bernoulli => decoded.bce_with_logits(x),
            Decoder::Gaussian => {
                let log_variance = decoded
                    .graph()
                    .parameter(DECODER_LOG_VARIANCE, [1])
                    .clamp(-12.0, 12.0);
                decoded.gaussian_nll(log_variance, x)
            }
        }
    }

    /// The mean of p(x | z), in the range of the data.
    pub fn mean<'g>(&self, decoded: Var<'g>) -> Var<'g> {
        match self.config.decoder {
            Decoder::Bernoulli => decoded.sigmoid(),
            Decoder::Gaussian => decoded,
        }
    }

    fn batch<'g>(&self, graph: &'g Graph, data: &DataType, batch: usize) -> Result<Var<'g>> {
        data.batch(graph, "vae", self.config.width, batch)
    }
}

impl Model for Vae {
    fn name(&self) -> &'static str {
        "vae"
    }

    fn options(&self) -> serde_json::Value {
        registry::options(&self.config)
    }

    fn width(&self) -> usize {
        self.config.width
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn phases(&self) -> Vec<Phase> {
        Phase::only(&["loss", "reconstruction", "kl"])
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.encoder.parameters();
        parameters.extend(self.to_mu.parameters());
        parameters.extend(self.to_log_variance.parameters());
        parameters.extend(self.decoder.parameters());
        if self.config.decoder == Decoder::Gaussian {
            parameters.push(Parameter::new(
                DECODER_LOG_VARIANCE,
                [1],
                Init::Constant(self.config.decoder_log_variance),
            ));
        }
        parameters
    }

    /// The negative ELBO (eq. 3 with the KL of appendix B in closed form), summed over the batch as pytorch/examples does, the KL
    /// weighted by the schedule (beta, Higgins et al. 2017; its warm-up, Sonderby et al. 2016).
    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let x = self.batch(&graph, data, update.batch)?;
        let labels = self.labels(&graph, data, update.batch)?;
        let Posterior { mu, log_variance } = self.encode(x, labels);
        let z = mu.reparameterize("z", log_variance);
        let decoded = self.decode(z, labels);
        let reconstruction = self.reconstruction_error(decoded, x).sum_all();
        let kl = mu.kl_to_standard_normal(log_variance).sum_all();
        let loss = reconstruction + kl * graph.schedule(schedule::MODEL);
        let metrics = [
            ("loss", loss),
            ("reconstruction", reconstruction),
            ("kl", kl),
        ];
        finish_step(&graph, self, loss, &metrics, &[], update);
        Ok(graph)
    }

    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = self.batch(&graph, data, batch)?;
        let labels = self.labels(&graph, data, batch)?;
        let Posterior { mu, log_variance } = self.encode(x, labels);
        let z = mu.reparameterize_by_example("z", 1, log_variance);
        let decoded = self.decode(z, labels);
        graph.output(
            "reconstruction",
            self.reconstruction_error(decoded, x).sum(&[1]),
        );
        graph.output("kl", mu.kl_to_standard_normal(log_variance).sum(&[1]));
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["reconstruction", "kl"]
    }

    fn report(&self, means: &Figures) -> Figures {
        let mut report = means.clone();
        report.insert("elbo".to_owned(), -self.validation_loss(means));
        report
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn latent(&self) -> Option<usize> {
        Some(self.config.latent)
    }

    fn codes(&self) -> Vec<&'static str> {
        vec!["mu", "log_variance"]
    }

    /// ln w of `draws` importance samples for each of `batch` examples: output `log_weight`, `[draws, batch]`.
    ///
    /// ln w = ln p(x | z) + ln p(z) - ln q(z | x), z ~ q(z | x) (Burda et al. 2016, eq. 8, one term of the sum). With
    /// z = mu + sigma eps, ln p(z) - ln q(z | x) is the sum of (log_variance + eps^2 - z^2) / 2.
    ///
    /// # Errors
    /// When the data does not fit the model.
    fn importance(&self, data: &DataType, batch: usize, draws: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = self.batch(&graph, data, batch)?;
        let labels = self.labels(&graph, data, batch)?;
        let Posterior { mu, log_variance } = self.encode(x, labels);
        let (latent, width) = (self.config.latent, self.config.width);
        let eps = graph
            .normal_by_example("importance", draws, batch, latent)
            .reshape([draws, batch, latent]);
        let z = mu.reparameterize_with(log_variance, eps);
        let prior_ratio = ((eps.square() + log_variance - z.square()) * 0.5).sum(&[2]);
        let classes = self.config.classes;
        let repeated = labels.map(|l| {
            let each = l.reshape([1, batch, classes]);
            each.broadcast_to([draws, batch, classes])
                .reshape([draws * batch, classes])
        });
        let decoded = self
            .decode(z.reshape([draws * batch, latent]), repeated)
            .reshape([draws, batch, width]);
        let log_likelihood = -self.reconstruction_error(decoded, x).sum(&[2]);
        graph.output("log_weight", log_likelihood + prior_ratio);
        Ok(graph)
    }

    /// Samples from the prior: output `images`, `[count, width]`. Example e has the same noise in every batch.
    fn sampling(&self, count: usize) -> Result<Sampling> {
        let graph = Graph::new(Domain::Sampling);
        let z = graph.normal_by_example("prior", 1, count, self.config.latent);
        let classes = self.asked(&graph, count);
        graph.output("images", self.mean(self.decode(z, classes)));
        graph.output("z", z);
        Ok(Sampling::once(graph, count, self.conditioning()))
    }

    /// From input `z` `[count, latent]` to output `images`.
    fn decoding(&self, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let z = graph.input("z", TensorType::f32([count, self.config.latent]));
        let classes = self.asked(&graph, count);
        graph.output("images", self.mean(self.decode(z, classes)));
        Ok(graph)
    }

    /// From a batch of data to outputs `mu`, `log_variance`, `images` (decoded from mu) and `inputs`.
    ///
    /// # Errors
    /// When the data does not fit the model.
    fn encoding(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = self.batch(&graph, data, batch)?;
        let labels = self.labels(&graph, data, batch)?;
        let Posterior { mu, log_variance } = self.encode(x, labels);
        graph.output("mu", mu);
        graph.output("log_variance", log_variance);
        graph.output("images", self.mean(self.decode(mu, labels)));
        graph.output("inputs", x);
        Ok(graph)
    }
}
