//! Batch normalisation (Ioffe & Szegedy 2015).

use super::pass::Pass;
use crate::graph::Var;
use crate::graph::layout::{COUNTER, Init, Parameter, Role};

/// torch.nn.BatchNorm2d: gain and bias, running statistics with momentum 0.1, eps 1e-5.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// The prefix of its tensors' names.
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// The gain's initial values.
    pub gain: Init,
}

const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

impl BatchNorm {
    /// A layer, gain 1.
    pub fn new(name: impl Into<String>, channels: usize) -> Self {
        Self {
            name: name.into(),
            channels,
            gain: Init::Constant(1.0),
        }
    }

    fn named(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    /// Gain, bias, and the running statistics as state.
    pub fn parameters(&self) -> Vec<Parameter> {
        let tensor = |what: &str, init| Parameter::new(self.named(what), [self.channels], init);
        let state = Role::State(0);
        let counter = Parameter::new(self.named(COUNTER), [], Init::Constant(0.0));
        vec![
            tensor("weight", self.gain),
            tensor("bias", Init::Constant(0.0)),
            tensor("running_mean", Init::Constant(0.0)).with_role(state),
            tensor("running_var", Init::Constant(1.0)).with_role(state),
            counter.with_role(state),
        ]
    }

    /// The layer applied to `x` `[..., channels]`.
    ///
    /// In training by the batch's statistics, which the running ones follow: the variance divided by n - 1 there, as PyTorch does. In
    /// evaluation by the running ones: y = x scale + shift, which the convolution before takes into its epilogue.
    pub fn forward<'g>(&self, pass: &Pass<'g>, x: Var<'g>) -> Var<'g> {
        let graph = x.graph();
        let channels = [self.channels];
        let gain = graph.parameter(&self.named("weight"), channels);
        let bias = graph.parameter(&self.named("bias"), channels);
        let (mean_name, variance_name) = (self.named("running_mean"), self.named("running_var"));
        let mean = pass.state(&mean_name, &channels);
        let variance = pass.state(&variance_name, &channels);
        if !pass.is_training() {
            let scale = gain / (variance + EPSILON).sqrt();
            return x * scale + (bias - mean * scale);
        }
        let (y, batch) = x.batch_norm(gain, bias, EPSILON);
        let count = batch.count as f64;
        let unbiased = batch.variance * (count / (count - 1.0).max(1.0));
        let follow = |old: Var<'g>, new: Var<'g>| old * (1.0 - MOMENTUM) + new * MOMENTUM;
        pass.replace(&mean_name, follow(mean, batch.mean));
        pass.replace(&variance_name, follow(variance, unbiased));
        let counter = self.named(COUNTER);
        pass.replace(&counter, pass.state(&counter, &[]) + 1.0);
        y
    }
}
