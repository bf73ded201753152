//! The linear layer.

use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};

/// `y = x weight^T + bias`, weight `[outputs, inputs]`, as torch.nn.Linear has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The prefix of its parameters' names.
    pub name: String,
    /// Columns of x.
    pub inputs: usize,
    /// Columns of y.
    pub outputs: usize,
}

impl Linear {
    /// A layer; its parameters are `name.weight` and `name.bias`.
    pub fn new(name: impl Into<String>, inputs: usize, outputs: usize) -> Self {
        Self {
            name: name.into(),
            inputs,
            outputs,
        }
    }

    /// Its parameters, initially uniform on +-1 / sqrt(inputs): torch.nn.Linear's kaiming_uniform with a = sqrt(5).
    pub fn parameters(&self) -> [Parameter; 2] {
        let init = Init::Uniform(1.0 / (self.inputs as f32).sqrt());
        [
            Parameter::new(
                format!("{}.weight", self.name),
                [self.outputs, self.inputs],
                init,
            ),
            Parameter::new(format!("{}.bias", self.name), [self.outputs], init),
        ]
    }

    /// The layer applied to `x` `[batch, inputs]`.
    pub fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let graph = x.graph();
        let weight = graph.parameter(
            &format!("{}.weight", self.name),
            [self.outputs, self.inputs],
        );
        let bias = graph.parameter(&format!("{}.bias", self.name), [self.outputs]);
        x.linear(weight, bias)
    }
}
