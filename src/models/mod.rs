//! Models: each builds its graphs, names its parameters, and reads like its paper.

use crate::error::Result;
use crate::graph::Graph;
use crate::graph::layout::Parameter;
use crate::graph::update::Update;
use crate::tensor::DType;

pub mod vae;

/// A data set as a model's graphs see it: rows of pixels or coordinates, by index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataType {
    /// Rows that are resident.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Their type.
    pub dtype: DType,
    /// Length of the list of indices.
    pub indices: usize,
    /// Factor that brings elements to the model's range.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
}

/// What a trainer needs of a model.
pub trait Model {
    /// The name on the command line and in `config.json`.
    fn name(&self) -> &'static str;

    /// Its trained tensors.
    fn parameters(&self) -> Vec<Parameter>;

    /// One training step on a batch of `data`: a graph with gradients for every parameter, scalar outputs that are sums over the
    /// batch, and `update`'s metrics among them. Inputs are named `data` and `index`.
    ///
    /// # Errors
    /// When the data does not fit the model.
    fn training(&self, data: &DataType, update: &Update) -> Result<Graph>;

    /// Figures per example of a batch: outputs `[batch]`, noise keyed by example.
    ///
    /// # Errors
    /// As [`Model::training`].
    fn evaluation(&self, data: &DataType, batch: usize) -> Result<Graph>;

    /// Names of the sums that `training` reports, the loss first.
    fn metrics(&self) -> Vec<String>;
}
