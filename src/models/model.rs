//! What a model is to those who train, evaluate and sample it.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;

use super::batch::DataType;
use crate::data::scene::{Camera, Views};
use crate::error::{Error, Result};
use crate::graph::layout::{Parameter, Role};
use crate::graph::update::Update;
use crate::graph::{Graph, Var};
use crate::kernels::Caps;
use crate::program::sampling::{Classes, Sampling};

/// One of the updates that an iteration of training is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name, for figures; empty where it is the only one.
    pub name: &'static str,
    /// The set of parameters that it updates.
    pub set: u8,
    /// How often it is done in an iteration, each time on new examples.
    pub repeats: usize,
    /// Whether it takes examples.
    pub takes_data: bool,
    /// Names of its scalar outputs that are reported, the loss first; sums over the batch.
    pub metrics: Vec<String>,
}

impl Phase {
    /// The only phase of a model that has one loss.
    pub fn only(metrics: &[&str]) -> Vec<Self> {
        vec![Self {
            name: "",
            set: 0,
            repeats: 1,
            takes_data: true,
            metrics: metrics.iter().map(|&m| m.to_owned()).collect(),
        }]
    }
}

/// Where a radiance field is, in the scene's coordinates, and how finely it is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// The corner of its box where x, y and z are least.
    pub low: [f64; 3],
    /// The corner where they are greatest.
    pub high: [f64; 3],
    /// The length of the steps, about, in which its views are computed.
    pub step: f64,
}

impl Extent {
    /// A cube around the origin.
    pub(super) fn around_origin(half_side: f64, step: f64) -> Self {
        Self {
            low: [-half_side; 3],
            high: [half_side; 3],
            step,
        }
    }
}

/// Mean figures by name.
pub type Figures = BTreeMap<String, f64>;

/// What trainer, evaluation and command line need of a model. What a model cannot do is an error that says so.
pub trait Model: Debug + Send + Sync {
    /// The name on the command line and in `config.json`.
    fn name(&self) -> &'static str;

    /// What it was built from, as `config.json` has it beside the name.
    fn options(&self) -> serde_json::Value;

    /// Values of one example.
    fn width(&self) -> usize;

    /// Itself, for what only one kind of model has: `model.as_any().downcast_ref::<Diffusion>()`.
    fn as_any(&self) -> &dyn Any;

    /// Its tensors.
    fn parameters(&self) -> Vec<Parameter>;

    /// The updates of an iteration, in order.
    fn phases(&self) -> Vec<Phase>;

    /// One update on a batch of `data`: a graph with gradients for every parameter of the phase's set, scalar outputs that are sums over
    /// the batch, and `update`'s metrics among them. Inputs are those of [`DataType::batch`] and [`DataType::labels`].
    ///
    /// # Errors
    /// When the data does not fit the model.
    fn training(&self, phase: usize, data: &DataType, update: &Update) -> Result<Graph>;

    /// Figures per example of a batch: outputs `[batch]` named by [`Model::figures`], noise keyed by example.
    ///
    /// # Errors
    /// As [`Model::training`].
    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph>;

    /// Names of the outputs of the evaluation graph.
    fn figures(&self) -> Vec<&'static str>;

    /// The held-out loss an example, from the means of the evaluation's figures: what the best weights are chosen by.
    fn validation_loss(&self, means: &Figures) -> f64 {
        self.figures().iter().map(|&name| means[name]).sum()
    }

    /// What `eval` reports, from the means of the evaluation's figures.
    fn report(&self, means: &Figures) -> Figures {
        means.clone()
    }

    /// Whether held-out data gives a loss that the best weights can be chosen by.
    fn has_validation_loss(&self) -> bool {
        true
    }

    /// Figures that follow from those that a step reports, an example each.
    fn derived(&self, _figures: &Figures) -> Figures {
        Figures::new()
    }

    /// What a step on a batch of `batch` examples does beside examples, how much of each: rays and their samples of a radiance field. `figures`
    /// are those that the step reports.
    fn work(&self, _batch: usize, _figures: &Figures) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Refuses views that a radiance field cannot learn from, before it is trained on them.
    ///
    /// # Errors
    /// With the numbers that say why.
    fn check_views(&self, _views: &Views) -> Result<()> {
        Ok(())
    }

    /// Refuses a device that has no room for one of the model's tensors, and says what size has.
    ///
    /// # Errors
    /// Naming the field.
    fn check_device(&self, _caps: &Caps) -> Result<()> {
        Ok(())
    }

    /// What the user should know of a training whose figures at `step` are these: that it goes wrong, and what may help. Said once.
    fn warning(&self, _step: u64, _figures: &Figures) -> Option<String> {
        None
    }

    /// Prefixes of parameters that are also written to files of their own, without the prefix: networks that others know apart.
    fn parts(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Names of what its first phase reports.
    fn metrics(&self) -> Vec<String> {
        self.phases().remove(0).metrics
    }

    /// Classes that it is conditional on; 0 where it is not.
    fn classes(&self) -> usize {
        0
    }

    /// The size of its codes, where it has a decoder from codes to examples.
    fn latent(&self) -> Option<usize> {
        None
    }

    /// How `count` samples at a time are drawn. A conditional model's input `classes` says of which classes.
    ///
    /// # Errors
    /// When the model has no samples.
    fn sampling(&self, _count: usize) -> Result<Sampling> {
        Err(self.cannot("draw samples: it has no prior over codes"))
    }

    /// What input `classes` of its sampler and decoder takes.
    fn conditioning(&self) -> Classes {
        let conditional = self.latent().is_some();
        Classes {
            model: self.name(),
            count: if conditional { self.classes() } else { 0 },
            null: false,
            turns: Vec::new(),
        }
    }

    /// From input `z` `[count, latent]` (and `classes`) to output `images`.
    ///
    /// # Errors
    /// When the model has no decoder.
    fn decoding(&self, _count: usize) -> Result<Graph> {
        Err(self.cannot("decode: it has no decoder"))
    }

    /// From a batch of data to the codes named by [`Model::codes`], the one that [`Model::decoding`] takes first; where there is a decoder
    /// also to outputs `inputs` and `images`, what the model makes of them.
    ///
    /// # Errors
    /// When the model has no encoder.
    fn encoding(&self, _data: &DataType, _batch: usize) -> Result<Graph> {
        Err(self.cannot("encode: it has no encoder"))
    }

    /// Names of the codes that [`Model::encoding`] gives.
    fn codes(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The camera of the pictures that a radiance field has learned from, where it is one.
    fn camera(&self) -> Option<Camera> {
        None
    }

    /// What a radiance field shows of `camera`, `count` pixels a run: from input `first` `[1]`, the number of a pixel, on, seen from input
    /// `poses` `[1, 12]`. What earlier runs saw stays in input `picture` `[pixels, 6]`; both are fed back. Outputs `colour` `[pixels, 3]`,
    /// `opacity`, `depth` (along the camera's axis) and `distance` (along the ray) `[pixels]`, in the scene's units, and `next` `[1]`, what
    /// `first` becomes: a model may have room for fewer rays than `count`. At the number of pixels all of the picture is seen.
    ///
    /// # Errors
    /// When the model is no radiance field, or the picture has more than 2^24 pixels.
    fn rendering(&self, _camera: &Camera, _count: usize) -> Result<Graph> {
        Err(self.cannot("show views: it is no radiance field"))
    }

    /// What lies behind the views of a radiance field: its name and its colour.
    fn background(&self) -> (&'static str, [u8; 3]) {
        ("white", [255; 3])
    }

    /// The most rays of a [`Model::rendering`] whose buffers have at most `limit` bytes each.
    fn rays_at_once(&self, _limit: u64) -> usize {
        1
    }

    /// Where it is, of a radiance field.
    ///
    /// # Errors
    /// When the model is no radiance field, or its coordinates are not the scene's.
    fn extent(&self) -> Result<Extent> {
        Err(self.cannot("say what is where: it is no radiance field"))
    }

    /// How dense a radiance field is at `count` places: from input `places` `[count, 3]`, in the scene's coordinates, to output `density` `[count]`, the
    /// optical thickness of a unit of length, not below 0.
    ///
    /// # Errors
    /// As [`Model::extent`].
    fn densities(&self, _count: usize) -> Result<Graph> {
        self.extent()
            .and(Err(self.cannot("say how dense it is at a place")))
    }

    /// What a radiance field's places look like: from inputs `places` `[count, 3]` and `directions` `[count, 3]`, of length 1, the way of the light's
    /// ray from the eye on, to output `colour` `[count, 3]` in [0, 1]. A model whose colours do not depend on directions has no such input.
    ///
    /// # Errors
    /// As [`Model::extent`].
    fn colours(&self, _count: usize) -> Result<Graph> {
        self.extent()
            .and(Err(self.cannot("say what colour a place has")))
    }

    /// The most places of [`Model::densities`] and [`Model::colours`] whose buffers have at most `limit` bytes each.
    fn places_at_once(&self, _limit: u64) -> usize {
        1
    }

    /// What single units of the code stand for, as images: output `images` `[units, width]`. `None` where that cannot be drawn.
    fn filters(&self) -> Option<Graph> {
        None
    }

    /// ln w of `draws` importance samples for each of `batch` examples: output `log_weight`, `[draws, batch]`.
    ///
    /// # Errors
    /// When the model has no likelihood that this estimates.
    fn importance(&self, _data: &DataType, _batch: usize, _draws: usize) -> Result<Graph> {
        Err(self
            .cannot("estimate a likelihood by importance samples: it has no posterior over codes"))
    }

    /// The error of a model that lacks something.
    fn cannot(&self, what: &str) -> Error {
        Error::Usage(format!("a {} model cannot {what}", self.name()))
    }
}

/// Ends the graph of an update: gradients of `loss` for the trained parameters of the update's set, the next values of its state from
/// `states`, the figures that are reported, and the update itself.
pub(crate) fn finish_step<'g>(
    graph: &'g Graph,
    model: &dyn Model,
    loss: Var<'g>,
    metrics: &[(&str, Var<'g>)],
    states: &[(String, Var<'g>)],
    update: &Update,
) {
    let vars = trained(graph, model, update);
    let gradients = graph.scaled_gradients(loss, &vars, update);
    finish_with(graph, model, gradients, metrics, states, update);
}

/// The parameters that an update trains.
pub(crate) fn trained<'g>(graph: &'g Graph, model: &dyn Model, update: &Update) -> Vec<Var<'g>> {
    let parameters = model.parameters().into_iter();
    parameters
        .filter(|p| p.role == Role::Trained(update.set))
        .map(|p| graph.parameter(&p.name, p.shape))
        .collect()
}

/// As [`finish_step`], the gradients by [`trained`] given.
pub(crate) fn finish_with<'g>(
    graph: &'g Graph,
    model: &dyn Model,
    gradients: Vec<Var<'g>>,
    metrics: &[(&str, Var<'g>)],
    states: &[(String, Var<'g>)],
    update: &Update,
) {
    let parameters = model.parameters();
    let of_role = |role: Role| parameters.iter().filter(move |p| p.role == role);
    for (parameter, gradient) in of_role(Role::Trained(update.set)).zip(gradients) {
        graph.output_gradient(&parameter.name, gradient);
    }
    for state in of_role(Role::State(update.set)) {
        if let Some((_, next)) = states.iter().find(|(name, _)| *name == state.name) {
            graph.output_gradient(&state.name, *next);
        }
    }
    for (name, value) in metrics {
        graph.output(name, *value);
    }
    graph.set_update(update.clone());
}
