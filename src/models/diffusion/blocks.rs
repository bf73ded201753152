//! Blocks of the U-Net: residual and attention, named as diffusers or as guided-diffusion names them.

use crate::graph::Var;
use crate::graph::layout::Parameter;
use crate::kernels::resize::Interpolation;
use crate::nn::{Conv2d, GroupNorm, Linear, Pass};

/// What a residual block does to the image's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum Resample {
    /// Nothing.
    None,
    /// The mean of each 2x2 pixels.
    Down,
    /// Each pixel four times.
    Up,
}

/// What the layers of a residual block are called behind its own name.
#[derive(Clone, Copy, Debug)]
pub(in crate::models) struct ResnetNames {
    pub(in crate::models) norm1: &'static str,
    pub(in crate::models) conv1: &'static str,
    pub(in crate::models) time: &'static str,
    pub(in crate::models) norm2: &'static str,
    pub(in crate::models) conv2: &'static str,
    pub(in crate::models) shortcut: &'static str,
}

impl ResnetNames {
    /// As diffusers has them.
    pub(in crate::models) const DIFFUSERS: Self = Self {
        norm1: "norm1",
        conv1: "conv1",
        time: "time_emb_proj",
        norm2: "norm2",
        conv2: "conv2",
        shortcut: "conv_shortcut",
    };

    /// As guided-diffusion has them: places in sequences of layers.
    pub(in crate::models) const ADM: Self = Self {
        norm1: "in_layers.0",
        conv1: "in_layers.2",
        time: "emb_layers.1",
        norm2: "out_layers.0",
        conv2: "out_layers.3",
        shortcut: "skip_connection",
    };
}

/// What all residual blocks of a network have in common.
#[derive(Clone, Copy, Debug)]
pub(in crate::models) struct ResnetOptions {
    pub(in crate::models) names: ResnetNames,
    /// Size of the time embedding.
    pub(in crate::models) time: usize,
    /// Groups of each normalisation, and what is added to its variances.
    pub(in crate::models) groups: usize,
    pub(in crate::models) epsilon: f64,
    /// Whether the embedding scales and shifts instead of being added.
    pub(in crate::models) adaptive: bool,
    pub(in crate::models) dropout: f32,
}

/// diffusers' `ResnetBlock2D`: twice normalisation, silu and a convolution, the time embedding between them, around a shortcut.
#[derive(Clone, Debug)]
pub(in crate::models) struct ResnetBlock {
    pub(in crate::models) name: String,
    pub(in crate::models) norm1: GroupNorm,
    pub(in crate::models) conv1: Conv2d,
    pub(in crate::models) time: Linear,
    pub(in crate::models) norm2: GroupNorm,
    pub(in crate::models) conv2: Conv2d,
    pub(in crate::models) shortcut: Option<Conv2d>,
    /// Whether the embedding scales and shifts instead of being added.
    pub(in crate::models) adaptive: bool,
    pub(in crate::models) dropout: f32,
    pub(in crate::models) resample: Resample,
}

impl ResnetBlock {
    /// A block from images of `inputs` channels to such of `outputs`.
    pub(in crate::models) fn new(
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

    pub(in crate::models) fn parameters(&self) -> Vec<Parameter> {
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
    pub(in crate::models) fn forward<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        embedding: Var<'g>,
    ) -> Var<'g> {
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

/// One layer for queries, keys and values: guided-diffusion's `qkv`, a convolution of one pixel in files, whose rows lie in one of two orders.
#[derive(Clone, Debug)]
pub(in crate::models) struct Qkv {
    pub(in crate::models) name: String,
    pub(in crate::models) channels: usize,
    /// Channels of a head.
    pub(in crate::models) head: usize,
    /// Whether a head's queries, keys and values lie together: part p of head h, channel c in row `(3 h + p) head + c` (guided-diffusion's
    /// `QKVAttentionLegacy`) instead of `p channels + h head + c` (its `QKVAttention`).
    pub(in crate::models) by_head: bool,
}

impl Qkv {
    pub(in crate::models) fn parameters(&self) -> Vec<Parameter> {
        let layer = Linear::new(&self.name, self.channels, 3 * self.channels);
        as_convolution(layer.parameters(), 1)
    }

    /// Queries of the rows `asking`, keys and values of `rows`, all `[rows, channels]`, head after head. The weight's rows are brought into
    /// order, which are fewer than what comes out of them.
    pub(in crate::models) fn forward<'g>(&self, asking: Var<'g>, rows: Var<'g>) -> [Var<'g>; 3] {
        let (graph, c) = (rows.graph(), self.channels);
        let weight = graph.parameter(&format!("{}.weight", self.name), [3 * c, c]);
        let bias = graph.parameter(&format!("{}.bias", self.name), [3 * c]);
        let part = |v: Var<'g>, p: usize| {
            if !self.by_head {
                return v.slice(0, p * c, (p + 1) * c);
            }
            let columns = v.shape().count() / (3 * c);
            let by_head = v.reshape([c / self.head, 3, self.head * columns]);
            by_head.slice(1, p, p + 1).reshape([c, columns])
        };
        [0, 1, 2].map(|p| {
            let x = if p == 0 { asking } else { rows };
            x.linear(part(weight, p), part(bias, p).reshape([c]))
        })
    }
}

/// A linear layer's parameters as files have those of a convolution over `axes` axes whose kernel is one pixel.
pub(in crate::models) fn as_convolution(
    mut parameters: Vec<Parameter>,
    axes: usize,
) -> Vec<Parameter> {
    for parameter in &mut parameters {
        if let &[outputs, inputs] = parameter.shape.dims() {
            let ones = std::iter::repeat_n(1, axes);
            let sizes: Vec<usize> = [outputs, inputs].into_iter().chain(ones).collect();
            parameter.file_shape = Some(sizes.as_slice().into());
        }
    }
    parameters
}

/// How an attention block comes to queries, keys and values.
#[derive(Clone, Debug)]
pub(in crate::models) enum Projections {
    /// By a layer each, as diffusers has them.
    Apart(Box<[Linear; 3]>),
    /// By one, as guided-diffusion has it.
    Fused(Qkv),
}

/// Attention of each pixel to all others, around a shortcut: diffusers' `Attention` as its U-Net uses it, guided-diffusion's `AttentionBlock`.
#[derive(Clone, Debug)]
pub(in crate::models) struct AttentionBlock {
    pub(in crate::models) norm: Option<GroupNorm>,
    pub(in crate::models) projections: Projections,
    pub(in crate::models) out: Linear,
    /// Channels of a head.
    pub(in crate::models) head: usize,
}

impl AttentionBlock {
    /// A block whose heads have `head` channels each, as diffusers names it; `norm` is groups and epsilon of its normalisation, where it has
    /// one.
    pub(in crate::models) fn new(
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
            projections: Projections::Apart(Box::new(["to_q", "to_k", "to_v"].map(linear))),
            out: linear("to_out.0"),
            head,
        }
    }

    /// The same as guided-diffusion names it, its rows of queries, keys and values `by_head` or not.
    pub(in crate::models) fn adm(
        name: &str,
        channels: usize,
        head: usize,
        (groups, epsilon): (usize, f64),
        by_head: bool,
    ) -> Self {
        Self {
            norm: Some(GroupNorm {
                name: format!("{name}.norm"),
                channels,
                groups,
                epsilon,
            }),
            projections: Projections::Fused(Qkv {
                name: format!("{name}.qkv"),
                channels,
                head,
                by_head,
            }),
            out: Linear::new(format!("{name}.proj_out"), channels, channels),
            head,
        }
    }

    pub(in crate::models) fn parameters(&self) -> Vec<Parameter> {
        let mut parameters: Vec<Parameter> =
            self.norm.iter().flat_map(GroupNorm::parameters).collect();
        match &self.projections {
            Projections::Apart(layers) => {
                parameters.extend(layers.iter().flat_map(Linear::parameters));
                parameters.extend(self.out.parameters());
            }
            Projections::Fused(qkv) => {
                parameters.extend(qkv.parameters());
                parameters.extend(as_convolution(self.out.parameters(), 1));
            }
        }
        parameters
    }

    /// `x` `[batch, height, width, channels]`.
    pub(in crate::models) fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let shape = x.shape();
        let &[batch, height, width, channels] = shape.dims() else {
            return x;
        };
        let h = self.norm.as_ref().map_or(x, |norm| norm.forward(x, false));
        let rows = h.reshape([batch * height * width, channels]);
        let heads = [batch, height * width, channels / self.head, self.head];
        let projected = match &self.projections {
            Projections::Apart(layers) => layers.each_ref().map(|layer| layer.forward(rows)),
            Projections::Fused(qkv) => qkv.forward(rows, rows),
        };
        let [query, key, value] = projected.map(|v| v.reshape(heads));
        let attended = query.attention(key, value).reshape(rows.shape());
        self.out.forward(attended).reshape(shape) + x
    }
}
