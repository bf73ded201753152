//! The classifier of pytorch/examples' MNIST: not a generative model but the judge of them. Its last hidden layer is the space in which
//! samples are compared with data.
//!
//! ```
//! use wgen::data::digits::digits;
//! use wgen::evaluate::Evaluator;
//! use wgen::models::Model;
//! use wgen::models::classifier::{Classifier, Config};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let data = digits(10, 1);
//! let model = Classifier::new(Config { channels: [2, 4], features: 8, ..Config::mnist(data.shape, 10) })?;
//! let weights: Vec<_> = model.parameters().iter().map(|p| draw(p, 0)).collect(); // untrained
//! let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 10, 0)?;
//! let features = evaluator.encoded(&model, &data, &["features"])?.remove(0);
//! assert_eq!((features.width, features.values.len()), (8, 10 * 8));
//! // It guesses among ten classes.
//! let figures = evaluator.figures(&model, &data)?;
//! assert!((figures["cross_entropy"] - 10_f64.ln()).abs() < 0.3, "{figures:?}");
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
use crate::kernels::philox::Domain;
use crate::nn::{Conv2d, Linear, Pass};
use crate::tensor::ImageShape;

mod cases;

/// Among all models.
pub(crate) const ENTRY: Entry = Entry {
    name: "classifier",
    from_json: |json| registry::built(json, Classifier::new),
    cases: cases::cases,
    usual: cases::usual,
    further: registry::nothing_further,
};

/// What a classifier is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One input.
    pub image: ImageShape,
    /// Classes.
    pub classes: usize,
    /// Channels of the two convolutions.
    pub channels: [usize; 2],
    /// The size of the features.
    pub features: usize,
    /// Pixels in [0, 1] are shifted by this mean,
    pub mean: f32,
    /// and divided by this deviation.
    pub deviation: f32,
}

impl Config {
    /// pytorch/examples' sizes, and its pixels' mean and deviation.
    pub fn mnist(image: ImageShape, classes: usize) -> Self {
        Self {
            image,
            classes,
            channels: [32, 64],
            features: 128,
            mean: 0.1307,
            deviation: 0.3081,
        }
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("classifier: {why}")));
        let ImageShape {
            height,
            width,
            channels,
        } = self.image;
        if !(6..=1024).contains(&height) || !(6..=1024).contains(&width) || channels == 0 {
            return wrong(format!(
                "{height}x{width} images; two convolutions and a pooling take 6 to 1024 pixels a side"
            ));
        }
        let sizes = [
            ("channels", self.channels[0]),
            ("channels", self.channels[1]),
            ("features", self.features),
            ("classes", self.classes),
            ("image channels", channels),
        ];
        if let Some((name, size)) = sizes.iter().find(|(_, s)| *s == 0 || *s > 4096) {
            return wrong(format!("{name} {size} must be from 1 to 4096"));
        }
        if self.classes < 2 {
            return wrong(format!("{} classes are none to tell apart", self.classes));
        }
        if self
            .pooled()
            .iter()
            .product::<usize>()
            .saturating_mul(self.features)
            > 1 << 28
        {
            return wrong("the images are too large for its first linear layer".to_owned());
        }
        let finite = self.mean.is_finite() && self.deviation.is_finite();
        if !finite || self.deviation <= 0.0 {
            return wrong(format!(
                "mean {} and deviation {} must be finite, the deviation above 0",
                self.mean, self.deviation
            ));
        }
        Ok(())
    }

    /// Height, width and channels after the pooling.
    fn pooled(&self) -> [usize; 3] {
        let half = |size: usize| size.saturating_sub(4) / 2;
        [
            half(self.image.height),
            half(self.image.width),
            self.channels[1],
        ]
    }
}

/// A classifier of images.
#[derive(Clone, Debug)]
pub struct Classifier {
    config: Config,
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl Classifier {
    /// A model of these sizes, its parameters named as in pytorch/examples.
    ///
    /// # Errors
    /// When a size is zero or absurd.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let [first, second] = config.channels;
        let pooled = config.pooled();
        Ok(Self {
            conv1: Conv2d::new("conv1", config.image.channels, first, [3, 1, 0]),
            conv2: Conv2d::new("conv2", first, second, [3, 1, 0]),
            fc1: Linear {
                from_image: Some(pooled),
                ..Linear::new("fc1", pooled.iter().product(), config.features)
            },
            fc2: Linear::new("fc2", config.features, config.classes),
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Features `[batch, features]` and logits `[batch, classes]` of pixels `x` `[batch, width]` in [0, 1].
    pub fn forward<'g>(&self, pass: &Pass<'g>, x: Var<'g>) -> (Var<'g>, Var<'g>) {
        let ImageShape {
            height,
            width,
            channels,
        } = self.config.image;
        let batch = x.shape().dims()[0];
        let drop = |name: &str, x: Var<'g>, share| {
            if pass.is_training() {
                x.dropout(name, share)
            } else {
                x
            }
        };
        let x = (x + f64::from(-self.config.mean)) * (1.0 / f64::from(self.config.deviation));
        let x = x.reshape([batch, height, width, channels]);
        let x = self.conv1.forward(x).relu();
        let x = self.conv2.forward(x).relu();
        let x = drop("dropout1", x.max_pool2d([2, 2], [2, 2], [0, 0]), 0.25);
        let count = x.shape().count() / batch;
        let features = self.fc1.forward(x.reshape([batch, count])).relu();
        let logits = self.fc2.forward(drop("dropout2", features, 0.5));
        (features, logits)
    }

    /// 1 where the largest logit is the label's.
    fn is_right<'g>(logits: Var<'g>, labels: Var<'g>) -> Var<'g> {
        // A label's logit that no other exceeds.
        let own = (logits * labels).sum(&[1]);
        let above = own.max_of(logits);
        own.equal(above)
    }

    /// Features and class probabilities of data, in evaluation: outputs `features` and `probabilities`.
    ///
    /// # Errors
    /// When the data does not fit the model.
    pub fn judging(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = data.batch(&graph, "classifier", self.config.image.count(), batch)?;
        let (features, logits) = self.forward(&Pass::evaluation(&graph), x);
        graph.output("features", features);
        graph.output("probabilities", logits.softmax());
        Ok(graph)
    }
}

impl<'g> Var<'g> {
    /// The larger of self `[batch]` and the largest of each row of `rows` `[batch, n]`.
    fn max_of(self, rows: Self) -> Self {
        self.max(rows.max_over(&[1]))
    }
}

impl Model for Classifier {
    fn name(&self) -> &'static str {
        "classifier"
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
        let convolutions = [&self.conv1, &self.conv2].map(Conv2d::parameters);
        let linears = [&self.fc1, &self.fc2].map(Linear::parameters);
        convolutions.into_iter().chain(linears).flatten().collect()
    }

    fn phases(&self) -> Vec<Phase> {
        Phase::only(&["loss", "accuracy"])
    }

    fn training(&self, _phase: usize, data: &DataType, update: &Update) -> Result<Graph> {
        let graph = Graph::new(Domain::Training);
        let pass = Pass::training(&graph);
        let width = self.config.image.count();
        let x = data.batch(&graph, "classifier", width, update.batch)?;
        let labels = data.labels(&graph, "classifier", self.config.classes, update.batch)?;
        let (_, logits) = self.forward(&pass, x);
        let loss = logits.cross_entropy(labels).sum_all();
        let right = Self::is_right(logits, labels).sum_all();
        let metrics = [("loss", loss), ("accuracy", right)];
        finish_step(&graph, self, loss, &metrics, &[], update);
        Ok(graph)
    }

    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = data.batch(&graph, "classifier", self.config.image.count(), batch)?;
        let labels = data.labels(&graph, "classifier", self.config.classes, batch)?;
        let (_, logits) = self.forward(&Pass::evaluation(&graph), x);
        graph.output("cross_entropy", logits.cross_entropy(labels));
        graph.output("accuracy", Self::is_right(logits, labels));
        Ok(graph)
    }

    fn figures(&self) -> Vec<&'static str> {
        vec!["cross_entropy", "accuracy"]
    }

    fn validation_loss(&self, means: &Figures) -> f64 {
        means["cross_entropy"]
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn encoding(&self, data: &DataType, batch: usize) -> Result<Graph> {
        let graph = Graph::new(Domain::Validation);
        let x = data.batch(&graph, "classifier", self.config.image.count(), batch)?;
        let (features, logits) = self.forward(&Pass::evaluation(&graph), x);
        graph.output("features", features);
        graph.output("logits", logits);
        Ok(graph)
    }

    fn codes(&self) -> Vec<&'static str> {
        vec!["features", "logits"]
    }
}
