//! What guides a sampler towards a class.

use std::fmt::Debug;

use super::denoiser::Timestep;
use super::process;
use crate::graph::Var;
use crate::graph::layout::Parameter;
use crate::nn::Pass;
use crate::tensor::ImageShape;

/// Something that says of noisy examples how likely a class is, and is differentiated by them: a classifier that was trained on them
/// (Dhariwal & Nichol 2021, section 4).
pub trait Guide: Debug + Send + Sync {
    /// Its tensors, under names that the guided network has none of.
    fn parameters(&self) -> Vec<Parameter>;

    /// ln p(y | x_t, t) `[batch]` of `x` `[batch, width]`, in the process's range, and `classes` `[batch, classes]`, 1 at the class y.
    fn log_probability<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        t: Timestep<'g>,
        classes: Var<'g>,
    ) -> Var<'g>;

    /// Classes that it tells apart.
    fn classes(&self) -> usize;

    /// What one example is.
    fn image(&self) -> ImageShape;

    /// The process whose noise it knows.
    fn process(&self) -> &process::Config;
}
