//! Blocks of the U-Net: residual and attention, named as diffusers names them.

use crate::graph::Var;
use crate::graph::layout::Parameter;
use crate::kernels::resize::Interpolation;
use crate::nn::{Conv2d, GroupNorm, Linear, Pass};

/// What a residual block does to the image's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resample {
    /// Nothing.
    None,
    /// The mean of each 2x2 pixels.
    Down,
    /// Each pixel four times.
    Up,
}

/// What the layers of a residual block are called behind its own name.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResnetNames {
    pub(super) norm1: &'static str,
    pub(super) conv1: &'static str,
    pub(super) time: &'static str,
    pub(super) norm2: &'static str,
    pub(super) conv2: &'static str,
    pub(super) shortcut: &'static str,
}

impl ResnetNames {
    /// As diffusers has them.
    pub(super) const DIFFUSERS: Self = Self {
        norm1: "norm1",
        conv1: "conv1",
        time: "time_emb_proj",
        norm2: "norm2",
        conv2: "conv2",
        shortcut: "conv_shortcut",
    };
}

/// What all residual blocks of a network have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResnetOptions {
    pub(super) names: ResnetNames,
    /// Size of the time embedding.
    pub(super) time: usize,
    /// Groups of each normalisation, and what is added to its variances.
    pub(super) groups: usize,
    pub(super) epsilon: f64,
    /// Whether the embedding scales and shifts instead of being added.
    pub(super) adaptive: bool,
    pub(super) dropout: f32,
}

/// diffusers' `ResnetBlock2D`: twice normalisation, silu and a convolution, the time embedding between them, around a shortcut.
#[derive(Clone, Debug)]
pub(super) struct ResnetBlock {
    pub(super) name: String,
    pub(super) norm1: GroupNorm,
    pub(super) conv1: Conv2d,
    pub(super) time: Linear,
    pub(super) norm2: GroupNorm,
    pub(super) conv2: Conv2d,
    pub(super) shortcut: Option<Conv2d>,
    /// Whether the embedding scales and shifts instead of being added.
    pub(super) adaptive: bool,
    pub(super) dropout: f32,
    pub(super) resample: Resample,
}

impl ResnetBlock {
    /// A block from images of `inputs` channels to such of `outputs`.
    pub(super) fn new(
        name: String,
        [inputs, outputs]: [usize; 2],
        resample: Resample,
        options: &ResnetOptions,
    ) -> Self {
        let ResnetOptions { names, .. } = *options;
        let norm = |what, channels| GroupNorm {
            name: format!("{name}.{what}"),
            channels,
            groups: options.groups,
            epsilon: options.epsilon,
        };
        let conv = |what, inputs| Conv2d::new(format!("{name}.{what}"), inputs, outputs, [3, 1, 1]);
        let rows = if options.adaptive { 2 } else { 1 } * outputs;
        Self {
            norm1: norm(names.norm1, inputs),
            conv1: conv(names.conv1, inputs),
            time: Linear::new(format!("{name}.{}", names.time), options.time, rows),
            norm2: norm(names.norm2, outputs),
            conv2: conv(names.conv2, outputs),
            shortcut: (inputs != outputs).then(|| {
                let name = format!("{name}.{}", names.shortcut);
                Conv2d::new(name, inputs, outputs, [1, 1, 0])
            }),
            adaptive: options.adaptive,
            dropout: options.dropout,
            resample,
            name,
        }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.norm1.parameters();
        parameters.extend(self.conv1.parameters());
        parameters.extend(self.time.parameters());
        parameters.extend(self.norm2.parameters());
        parameters.extend(self.conv2.parameters());
        parameters.extend(self.shortcut.iter().flat_map(Conv2d::parameters));
        parameters
    }

    fn resampled<'g>(&self, x: Var<'g>) -> Var<'g> {
        let &[_, height, width, _] = x.shape().dims() else {
            return x;
        };
        match self.resample {
            Resample::None => x,
            Resample::Down => x.avg_pool2d([2; 2], [2; 2], [0; 2]),
            Resample::Up => x.resize([2 * height, 2 * width], Interpolation::Nearest),
        }
    }

    /// `x` `[batch, height, width, channels]`; `embedding` `[batch or 1, size]`, after its silu.
    pub(super) fn forward<'g>(&self, pass: &Pass<'g>, x: Var<'g>, embedding: Var<'g>) -> Var<'g> {
        let h = self
            .conv1
            .forward(self.resampled(self.norm1.forward(x, true)));
        let time = self.time.forward(embedding);
        let rows = time.shape().dims()[0];
        let channels = self.conv1.outputs;
        let h = if self.adaptive {
            let (scale, shift) = (
                time.slice(1, 0, channels),
                time.slice(1, channels, 2 * channels),
            );
            self.norm2.forward_adaptive(h, scale, shift)
        } else {
            self.norm2
                .forward(h + time.reshape([rows, 1, 1, channels]), true)
        };
        let h = if pass.is_training() {
            h.dropout(
                &pass.random_name(&format!("{}.dropout", self.name)),
                self.dropout,
            )
        } else {
            h
        };
        let x = self.resampled(x);
        let kept = self.shortcut.as_ref().map_or(x, |conv| conv.forward(x));
        self.conv2.forward(h) + kept
    }
}

/// diffusers' `Attention` as its U-Net uses it: of each pixel to all others, around a shortcut.
#[derive(Clone, Debug)]
pub(super) struct AttentionBlock {
    pub(super) norm: Option<GroupNorm>,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) out: Linear,
    /// Channels of a head.
    pub(super) head: usize,
}

impl AttentionBlock {
    /// A block whose heads have `head` channels each; `norm` is groups and epsilon of its normalisation, where it has one.
    pub(super) fn new(
        name: &str,
        channels: usize,
        head: usize,
        norm: Option<(usize, f64)>,
    ) -> Self {
        let linear = |what: &str| Linear::new(format!("{name}.{what}"), channels, channels);
        Self {
            norm: norm.map(|(groups, epsilon)| GroupNorm {
                name: format!("{name}.group_norm"),
                channels,
                groups,
                epsilon,
            }),
            query: linear("to_q"),
            key: linear("to_k"),
            value: linear("to_v"),
            out: linear("to_out.0"),
            head,
        }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let layers = [&self.query, &self.key, &self.value, &self.out];
        let norm = self.norm.iter().flat_map(GroupNorm::parameters);
        norm.chain(layers.into_iter().flat_map(Linear::parameters))
            .collect()
    }

    /// `x` `[batch, height, width, channels]`.
    pub(super) fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let shape = x.shape();
        let &[batch, height, width, channels] = shape.dims() else {
            return x;
        };
        let h = self.norm.as_ref().map_or(x, |norm| norm.forward(x, false));
        let rows = h.reshape([batch * height * width, channels]);
        let heads = [batch, height * width, channels / self.head, self.head];
        let [query, key, value] =
            [&self.query, &self.key, &self.value].map(|l| l.forward(rows).reshape(heads));
        let attended = query.attention(key, value).reshape(rows.shape());
        self.out.forward(attended).reshape(shape) + x
    }
}
