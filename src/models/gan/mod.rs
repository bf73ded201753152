//! Generative adversarial networks (Goodfellow et al. 2014), with the losses that have become usual since: a generator makes examples of
//! noise, a discriminator learns to tell them from real ones, and each learns from the other.
//!
//! `docs/models/gan.md` sets each formula beside the function here that implements it.
//!
//! ```
//! use wgen::data::toy::{Toy, points};
//! use wgen::evaluate::Evaluator;
//! use wgen::models::Model;
//! use wgen::models::gan::{Config, Gan, Networks};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let data = points(Toy::Ring8, 100, 0);
//! let networks = Networks::Mlp { hidden: vec![16, 16] };
//! let gan = Gan::new(Config { networks, ..Config::for_data(data.shape, false) })?;
//! assert_eq!(gan.phases().iter().map(|p| p.name).collect::<Vec<_>>(), ["discriminator", "generator"]);
//! let weights: Vec<_> = gan.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained
//! let mut evaluator = Evaluator::new(&Device::Cpu, &gan, &weights, 50, 0)?;
//! // A discriminator that has learned nothing says 1/2 of everything.
//! let figures = evaluator.figures(&gan, &data)?;
//! assert!((figures["d_real"] - 0.5).abs() < 0.1 && (figures["d_fake"] - 0.5).abs() < 0.1, "{figures:?}");
//! assert_eq!(evaluator.samples(&gan, 3, None)?.images.len(), 3 * 2);
//! # Ok::<(), wgen::Error>(())
//! ```

use super::autoencoder::halving;
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
use crate::program::sampling::Sampling;
use crate::tensor::TensorType;

mod cases;
mod config;
mod networks;

pub use config::{Config, Loss};
pub use networks::Networks;

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "gan",
    from_json: |json| registry::built(json, Gan::new),
    cases: cases::cases,
    usual: cases::usual,
    further: cases::further,
};

/// The sets of parameters.
const DISCRIMINATOR: u8 = 0;
const GENERATOR: u8 = 1;

/// A generator and a discriminator.
#[derive(Clone, Debug)]
pub struct Gan {
    config: Config,
    generator: Sequential,
    discriminator: Sequential,
}

impl Gan {
    /// Networks of these sizes, their tensors `generator.main.0.weight` and `discriminator.main.0.weight` and so on.
    ///
    /// # Errors
    /// When a size is zero or absurd, or options exclude each other.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let end = if config.pixels {
            Activation::Tanh
        } else {
            Activation::Identity
        };
        let inputs = config.latent + config.classes;
        let generator = config.networks.generator(config.image, inputs, end)?;
        let discriminator = config
            .networks
            .discriminator(config.image, config.classes)?;
        Ok(Self {
            generator: generator.in_set(GENERATOR),
            discriminator: discriminator
                .in_set(DISCRIMINATOR)
                .with_spectral_norm(config.spectral_norm),
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn is_dcgan(&self) -> bool {
        matches!(self.config.networks, Networks::Dcgan { .. })
    }

    /// Examples `[batch, width]` of noise `z` `[batch, latent]`, in the networks' range.
    pub fn generate<'g>(&self, pass: &Pass<'g>, z: Var<'g>, classes: Option<Var<'g>>) -> Var<'g> {
        let graph = pass.graph();
        let batch = z.shape().dims()[0];
        let inputs = match classes {
            Some(classes) => graph.concat(1, &[z, classes]),
            None => z,
        };
        let inputs = if self.is_dcgan() {
            inputs.reshape([batch, 1, 1, self.config.latent + self.config.classes])
        } else {
            inputs
        };
        let images = self.generator.forward(pass, inputs);
        images.reshape([batch, self.config.image.count()])
    }

    /// The discriminator's logits `[batch]` of examples `[batch, width]` in the networks' range.
    pub fn discriminate<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        classes: Option<Var<'g>>,
    ) -> Var<'g> {
        let graph = pass.graph();
        let batch = x.shape().dims()[0];
        let inputs = match classes {
            _ if self.is_dcgan() => halving::planes(x, self.config.image, classes),
            Some(classes) => graph.concat(1, &[x, classes]),
            None => x,
        };
        self.discriminator.forward(pass, inputs).reshape([batch])
    }

    /// The step's real examples in the networks' range.
    fn real<'g>(&self, graph: &'g Graph, data: &DataType, batch: usize) -> Result<Var<'g>> {
        let x = data.batch(graph, "gan", self.config.image.count(), batch)?;
        Ok(if self.config.pixels {
            x * 2.0 + -1.0
        } else {
            x
        })
    }

    fn noise<'g>(&self, graph: &'g Graph, batch: usize) -> Var<'g> {
        graph.random("z", Distribution::Normal, [batch, self.config.latent])
    }

    /// Classes of generated examples: drawn evenly.
    fn drawn_classes<'g>(&self, graph: &'g Graph, batch: usize) -> Option<Var<'g>> {
        let classes = self.config.classes;
        if classes == 0 {
            return None;
        }
        // The class whose uniform number is the largest.
        let draws = graph.random("classes", Distribution::Uniform, [batch, classes]);
        let largest = draws.max_over(&[1]).reshape([batch, 1]);
        Some(draws.equal(largest))
    }

    /// Each example's loss of the discriminator for `real` and `fake` logits, `[batch]`, the gradient penalty aside.
    pub fn discriminator_loss<'g>(&self, real: Var<'g>, fake: Var<'g>) -> Var<'g> {
        let graph = real.graph();
        let target = graph.constant(1.0 - f64::from(self.config.smoothing));
        match self.config.loss {
            Loss::Minimax | Loss::NonSaturating => {
                real.bce_with_logits(target) + fake.bce_with_logits(graph.constant(0.0))
            }
            Loss::LeastSquares => ((real - target).square() + fake.square()) * 0.5,
            Loss::Hinge => (-real + 1.0).relu() + (fake + 1.0).relu(),
            Loss::Wasserstein => fake - real,
        }
    }

    /// Each example's loss of the generator, `[batch]`.
    fn generator_loss<'g>(&self, fake: Var<'g>) -> Var<'g> {
        let graph = fake.graph();
        match self.config.loss {
            Loss::Minimax => -fake.bce_with_logits(graph.constant(0.0)),
            Loss::NonSaturating => fake.bce_with_logits(graph.constant(1.0)),
            Loss::LeastSquares => (fake + -1.0).square() * 0.5,
            Loss::Hinge | Loss::Wasserstein => -fake,
        }
    }

    /// (|grad d(x^)| - 1)^2 of each example at a random place x^ between a real and a generated one, `[batch]` (Gulrajani et al. 2017): a
    /// gradient that is differentiated again.
    fn penalty<'g>(
        &self,
        pass: &Pass<'g>,
        real: Var<'g>,
        fake: Var<'g>,
        classes: Option<Var<'g>>,
    ) -> Var<'g> {
        let graph = pass.graph();
        let batch = real.shape().dims()[0];
        let share = graph.random("between", Distribution::Uniform, [batch, 1]);
        let between = real * share + fake * (-share + 1.0);
        let logits = self.discriminate(pass, between, classes);
        let slope = graph.gradients(logits.sum_all(), &[between]).remove(0);
        // The square root's own slope is infinite at 0.
        let length = (slope.square().sum(&[1]) + 1e-12).sqrt();
        (length + -1.0).square()
    }

    /// What is reported of logits: D(x), or the critic's value where that is no probability.
    fn score<'g>(&self, logits: Var<'g>) -> Var<'g> {
        match self.config.loss {
            Loss::Minimax | Loss::NonSaturating => logits.sigmoid(),
            _ => logits,
        }
    }

    /// Whether the discriminator's loss is the paper's, so that its value bounds the Jensen-Shannon divergence.
    fn has_value(&self) -> bool {
        let paper = matches!(self.config.loss, Loss::Minimax | Loss::NonSaturating);
        paper && self.config.smoothing == 0.0
    }

    fn train_discriminator(&self, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let pass = Pass::training(&graph);
        let batch = update.batch;
        let x = self.real(&graph, data, batch)?;
        let labels = match self.config.classes {
            0 => None,
            classes => Some(data.labels(&graph, "gan", classes, batch)?),
        };
        // Generated examples have the classes of the real ones.
        let fake = self.generate(&pass, self.noise(&graph, batch), labels);
        // Separate batches, as DCGAN has them: batch normalisation must not see both together.
        let real_logits = self.discriminate(&pass, x, labels);
        let fake_logits = self.discriminate(&pass, fake, labels);
        let mut loss = self.discriminator_loss(real_logits, fake_logits).sum_all();
        let mut metrics = vec![
            ("d_real", self.score(real_logits).sum_all()),
            ("d_fake", self.score(fake_logits).sum_all()),
        ];
        if self.config.loss == Loss::Wasserstein {
            let penalty = self.penalty(&pass, x, fake, labels).sum_all();
            loss = loss + penalty * self.config.gradient_penalty;
            metrics.push(("penalty", penalty));
        }
        metrics.insert(0, ("discriminator_loss", loss));
        // The penalty is a gradient too: losses are averaged, so that its weight means what it does in the paper.
        finish_step(
            &graph,
            self,
            loss * (1.0 / batch as f64),
            &metrics,
            &pass.states(),
            update,
        );
        Ok(graph)
    }

    fn train_generator(&self, update: &Update) -> Graph {
        let graph = Graph::new(Domain::Training);
        let pass = Pass::training(&graph);
        let batch = update.batch;
        let classes = self.drawn_classes(&graph, batch);
        let fake = self.generate(&pass, self.noise(&graph, batch), classes);
        let logits = self.discriminate(&pass, fake, classes);
        let loss = self.generator_loss(logits).sum_all();
        let metrics = [
            ("generator_loss", loss),
            ("d_fake_after", self.score(logits).sum_all()),
        ];
        finish_step(
            &graph,
            self,
            loss * (1.0 / batch as f64),
            &metrics,
            &pass.states(),
            update,
        );
        graph
    }

    /// The discriminator's logits of given examples: input `x` `[batch, width]` in the data's range, output `logits` `[batch]`.
    pub fn judging(&self, batch: usize) -> Graph {
        let graph = Graph::new(Domain::Validation);
        let pass = Pass::evaluation(&graph);
        let x = graph.input("x", TensorType::f32([batch, self.config.image.count()]));
        let x = if self.config.pixels {
            x * 2.0 + -1.0
        } else {
            x
        };
        graph.output("logits", self.discriminate(&pass, x, None));
        graph
    }

    fn sample<'g>(&self, graph: &'g Graph, z: Var<'g>) -> Var<'g> {
        let count = z.shape().dims()[0];
        let classes = self.config.classes;
        let given =
            (classes > 0).then(|| graph.input("classes", TensorType::f32([count, classes])));
        let images = self.generate(&Pass::evaluation(graph), z, given);
        if self.config.pixels {
            images * 0.5 + 0.5
        } else {
            images
        }
    }
}

impl Model for Gan {
    fn name(&self) -> &'static str {
        "gan"
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
        [self.discriminator.parameters(), self.generator.parameters()].concat()
    }

    fn phases(&self) -> Vec<Phase> {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        let mut metrics = vec!["discriminator_loss", "d_real", "d_fake"];
        if self.config.loss == Loss::Wasserstein {
            metrics.push("penalty");
        }
        vec![
            Phase {
                name: "discriminator",
                set: DISCRIMINATOR,
                repeats: self.config.discriminator_steps,
                takes_data: true,
                metrics: names(&metrics),
            },
            Phase {
                name: "generator",
                set: GENERATOR,
                repeats: 1,
                takes_data: false,
                metrics: names(&["generator_loss", "d_fake_after"]),
            },
        ]
    }

    fn training(&self, phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let normalised = self.generator.has_batch_norm() || self.discriminator.has_batch_norm();
        if normalised && update.batch < 2 {
            return Err(Error::Usage(
                "gan: a batch of one cannot be normalised by its own mean and variance; use a larger `batch`"
                    .to_owned(),
            ));
        }
        if phase == 0 {
            self.train_discriminator(data, update)
        } else {
            Ok(self.train_generator(update))
        }
    }

    /// V(D, G) = E ln D(x) + E ln(1 - D(G(z))), and (V + 2 ln 2) / 2, a lower bound of the Jensen-Shannon divergence of data and samples that
    /// is reached by the best discriminator (Goodfellow et al. 2014, theorem 1). Only where the discriminator maximises V.
    fn derived(&self, figures: &Figures) -> Figures {
        let mut derived = Figures::new();
        if let (true, Some(loss)) = (self.has_value(), figures.get("discriminator_loss")) {
            let value = -loss;
            derived.insert("value".to_owned(), value);
            let bound = 0.5 * (value + 2.0 * std::f64::consts::LN_2);
            derived.insert("jensen_shannon_bound".to_owned(), bound);
        }
        derived
    }

    /// Of held-out examples: how real the discriminator finds them, and samples of the generator.
    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let pass = Pass::evaluation(&graph);
        let x = self.real(&graph, data, batch)?;
        let labels = match self.config.classes {
            0 => None,
            classes => Some(data.labels(&graph, "gan", classes, batch)?),
        };
        let z = graph.normal_by_example("z", 1, batch, self.config.latent);
        let fake = self.generate(&pass, z, labels);
        let real_logits = self.discriminate(&pass, x, labels);
        let fake_logits = self.discriminate(&pass, fake, labels);
        graph.output("d_real", self.score(real_logits));
        graph.output("d_fake", self.score(fake_logits));
        let loss = self.discriminator_loss(real_logits, fake_logits);
        graph.output("discriminator_loss", loss);
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["d_real", "d_fake", "discriminator_loss"]
    }

    fn report(&self, means: &Figures) -> Figures {
        let mut report = means.clone();
        report.extend(self.derived(means));
        report
    }

    fn has_validation_loss(&self) -> bool {
        false
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn parts(&self) -> Vec<&'static str> {
        vec!["generator", "discriminator"]
    }

    fn latent(&self) -> Option<usize> {
        Some(self.config.latent)
    }

    fn sampling(&self, count: usize) -> Result<Sampling> {
        let graph = Graph::new(Domain::Sampling);
        let z = graph.normal_by_example("prior", 1, count, self.config.latent);
        graph.output("images", self.sample(&graph, z));
        graph.output("z", z);
        Ok(Sampling::once(graph, count, self.conditioning()))
    }

    fn decoding(&self, count: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Sampling);
        let z = graph.input("z", TensorType::f32([count, self.config.latent]));
        graph.output("images", self.sample(&graph, z));
        Ok(graph)
    }
}
