//! Layers one after the other, named as in torch.nn.Sequential.

use super::activation::Activation;
use super::batch_norm::BatchNorm;
use super::conv::Conv2d;
use super::linear::Linear;
use super::pass::Pass;
use super::spectral_norm::SpectralNorm;
use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};

/// One module of a [`Sequential`].
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A linear layer.
    Linear(Linear),
    /// A convolution.
    Conv2d(Conv2d),
    /// Batch normalisation.
    BatchNorm(BatchNorm),
    /// An activation.
    Activation(Activation),
    /// Images as rows.
    Flatten,
    /// Rows as images of this height, width and number of channels.
    Unflatten([usize; 3]),
}

/// Modules in order; the parameters of number i are `prefix.i.weight` and the like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequential {
    prefix: String,
    layers: Vec<Layer>,
    /// The set of all of its tensors.
    set: u8,
    /// Whether weights are divided by their largest singular value.
    spectral: bool,
}

impl Sequential {
    /// Nothing yet.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }

    /// The same layers, their tensors in set `set`.
    #[must_use]
    pub(crate) fn in_set(self, set: u8) -> Self {
        Self { set, ..self }
    }

    /// The same layers, their weights spectrally normalised where `spectral` says so.
    #[must_use]
    pub fn with_spectral_norm(self, spectral: bool) -> Self {
        Self { spectral, ..self }
    }

    /// The same layers with normal initial weights of this deviation, gains of normalisation around 1 with it, as DCGAN has them.
    #[must_use]
    pub fn with_normal_weights(mut self, deviation: f32) -> Self {
        for layer in &mut self.layers {
            match layer {
                Layer::Linear(linear) => linear.init = Some(Init::Normal(0.0, deviation)),
                Layer::Conv2d(conv) => conv.init = Some(Init::Normal(0.0, deviation)),
                Layer::BatchNorm(norm) => norm.gain = Init::Normal(1.0, deviation),
                Layer::Activation(_) | Layer::Flatten | Layer::Unflatten(_) => {}
            }
        }
        self
    }

    /// The name of the next module.
    pub(crate) fn next_name(&self) -> String {
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

    /// A linear layer that takes images, flattened before it.
    #[must_use]
    pub(crate) fn linear_from_image(self, image: [usize; 3], outputs: usize) -> Self {
        let net = self.then(Layer::Flatten);
        let linear = Linear {
            from_image: Some(image),
            ..Linear::new(net.next_name(), image.iter().product(), outputs)
        };
        net.then(Layer::Linear(linear))
    }

    /// A linear layer that gives images, and what makes images of its rows.
    #[must_use]
    pub(crate) fn linear_to_image(
        self,
        inputs: usize,
        image: [usize; 3],
        after: Activation,
    ) -> Self {
        let linear = Linear {
            to_image: Some(image),
            ..Linear::new(self.next_name(), inputs, image.iter().product())
        };
        self.then(Layer::Linear(linear))
            .activation(after)
            .then(Layer::Unflatten(image))
    }

    /// A convolution more: `[kernel, stride, padding]`.
    #[must_use]
    pub fn conv2d(self, inputs: usize, outputs: usize, sizes: [usize; 3], bias: bool) -> Self {
        let conv = Conv2d::new(self.next_name(), inputs, outputs, sizes);
        self.then(Layer::Conv2d(Conv2d { bias, ..conv }))
    }

    /// A transposed convolution more: `[kernel, stride, padding]`.
    #[must_use]
    pub fn conv_transpose2d(
        self,
        inputs: usize,
        outputs: usize,
        sizes: [usize; 3],
        bias: bool,
    ) -> Self {
        let conv = Conv2d::transposed(self.next_name(), inputs, outputs, sizes);
        self.then(Layer::Conv2d(Conv2d { bias, ..conv }))
    }

    /// Batch normalisation more.
    #[must_use]
    pub fn batch_norm(self, channels: usize) -> Self {
        let norm = BatchNorm::new(self.next_name(), channels);
        self.then(Layer::BatchNorm(norm))
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

    /// Whether a module is batch normalisation.
    pub(crate) fn has_batch_norm(&self) -> bool {
        let is_norm = |l: &Layer| matches!(l, Layer::BatchNorm(_));
        self.layers.iter().any(is_norm)
    }

    /// The spectral normalisation of a layer's weight, where there is one.
    fn spectral_norm(&self, weight: &Parameter) -> Option<SpectralNorm> {
        let named = weight.name.ends_with(".weight") && weight.shape.rank() > 1;
        (self.spectral && named).then(|| SpectralNorm::of(weight))
    }

    /// Parameters and state, in order.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        for layer in &self.layers {
            let own = match layer {
                Layer::Linear(linear) => linear.parameters(),
                Layer::Conv2d(conv) => conv.parameters(),
                Layer::BatchNorm(norm) => norm.parameters(),
                Layer::Activation(_) | Layer::Flatten | Layer::Unflatten(_) => Vec::new(),
            };
            for parameter in own {
                match self.spectral_norm(&parameter) {
                    Some(norm) => parameters.extend(norm.parameters()),
                    None => parameters.push(parameter),
                }
            }
        }
        let own_set = |p: Parameter| p.in_set(self.set);
        parameters.into_iter().map(own_set).collect()
    }

    /// The modules applied to `x` in order.
    pub fn forward<'g>(&self, pass: &Pass<'g>, x: Var<'g>) -> Var<'g> {
        self.layers.iter().fold(x, |x, layer| match layer {
            Layer::Linear(linear) => match self.spectral_norm(&linear.parameters()[0]) {
                Some(norm) => linear.forward_with(x, norm.weight(pass)),
                None => linear.forward(x),
            },
            Layer::Conv2d(conv) => match self.spectral_norm(&conv.parameters()[0]) {
                Some(norm) => conv.forward_with(x, norm.weight(pass)),
                None => conv.forward(x),
            },
            Layer::BatchNorm(norm) => norm.forward(pass, x),
            Layer::Activation(activation) => activation.apply(x),
            Layer::Flatten => {
                let shape = x.shape();
                let batch = shape.dims().first().copied().unwrap_or(1);
                x.reshape([batch, shape.count() / batch.max(1)])
            }
            Layer::Unflatten([height, width, channels]) => {
                let batch = x.shape().dims()[0];
                x.reshape([batch, *height, *width, *channels])
            }
        })
    }
}
