//! Layers one after the other, named as in torch.nn.Sequential.

use super::activation::Activation;
use super::linear::Linear;
use super::pass::Pass;
use crate::graph::Var;
use crate::graph::layout::Parameter;

/// One module of a [`Sequential`].
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A linear layer.
    Linear(Linear),
    /// An activation.
    Activation(Activation),
}

/// Modules in order; the parameters of number i are `prefix.i.weight` and the like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequential {
    prefix: String,
    layers: Vec<Layer>,
}

impl Sequential {
    /// Nothing yet.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            layers: Vec::new(),
        }
    }

    /// The name of the next module.
    pub fn next_name(&self) -> String {
        let position = self.layers.len();
        if self.prefix.is_empty() {
            position.to_string()
        } else {
            format!("{}.{position}", self.prefix)
        }
    }

    /// One more module.
    #[must_use]
    pub fn then(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// A linear layer more.
    #[must_use]
    pub fn linear(self, inputs: usize, outputs: usize) -> Self {
        let name = self.next_name();
        self.then(Layer::Linear(Linear::new(name, inputs, outputs)))
    }

    /// An activation more; none where it is the identity, as one would write it.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        match activation {
            Activation::Identity => self,
            other => self.then(Layer::Activation(other)),
        }
    }

    /// Linear layers of these widths with `between` after each but the last, and `end` after that.
    #[must_use]
    pub fn dense(
        prefix: impl Into<String>,
        widths: &[usize],
        between: Activation,
        end: Activation,
    ) -> Self {
        let last = widths.len().saturating_sub(2);
        let pairs = widths.windows(2).enumerate();
        pairs.fold(Self::new(prefix), |net, (i, w)| {
            let after = if i == last { end } else { between };
            net.linear(w[0], w[1]).activation(after)
        })
    }

    /// The modules.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Parameters and state, in order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let of = |layer: &Layer| match layer {
            Layer::Linear(linear) => linear.parameters().to_vec(),
            Layer::Activation(_) => Vec::new(),
        };
        self.layers.iter().flat_map(of).collect()
    }

    /// The modules applied to `x` in order.
    pub fn forward<'g>(&self, _pass: &Pass<'g>, x: Var<'g>) -> Var<'g> {
        self.layers.iter().fold(x, |x, layer| match layer {
            Layer::Linear(linear) => linear.forward(x),
            Layer::Activation(activation) => activation.apply(x),
        })
    }
}
