//! What guided-diffusion's U-Net and classifier have in common: the half from the image down and the middle, and what it is built from.

use super::config::Config;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};
use crate::kernels::resize::Interpolation;
use crate::kernels::timestep_embedding::Convention;
use crate::models::diffusion::blocks::{
    AttentionBlock, Resample, ResnetBlock, ResnetNames, ResnetOptions,
};
use crate::models::diffusion::denoiser::Timestep;
use crate::nn::{Conv2d, Linear, Pass};

/// Added to variances by every normalisation.
pub(in crate::models) const EPSILON: f64 = 1e-5;

/// A layer of an entry.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Conv(Conv2d),
    /// The mean of each 2x2 pixels.
    Mean,
    /// Each pixel four times, and a convolution where there is one.
    Nearest(Option<Conv2d>),
    Residual(Box<ResnetBlock>),
    Attention(AttentionBlock),
}

impl Layer {
    fn parameters(&self) -> Vec<Parameter> {
        match self {
            Self::Conv(conv) => conv.parameters(),
            Self::Mean => Vec::new(),
            Self::Nearest(conv) => conv.iter().flat_map(Conv2d::parameters).collect(),
            Self::Residual(block) => block.parameters(),
            Self::Attention(block) => block.parameters(),
        }
    }

    /// `embedding` `[batch or 1, size]`, after its silu.
    fn forward<'g>(&self, pass: &Pass<'g>, x: Var<'g>, embedding: Var<'g>) -> Var<'g> {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::Mean => x.avg_pool2d([2; 2], [2; 2], [0; 2]),
            Self::Nearest(conv) => {
                let &[_, height, width, _] = x.shape().dims() else {
                    return x;
                };
                let x = x.resize([2 * height, 2 * width], Interpolation::Nearest);
                conv.as_ref().map_or(x, |conv| conv.forward(x))
            }
            Self::Residual(block) => block.forward(pass, x, embedding),
            Self::Attention(block) => block.forward(x),
        }
    }
}

/// Layers one after the other.
pub(super) type Entry = Vec<Layer>;

/// `x` through an entry; `embedding` `[batch or 1, size]`, after its silu.
pub(super) fn through<'g>(
    entry: &Entry,
    pass: &Pass<'g>,
    x: Var<'g>,
    embedding: Var<'g>,
) -> Var<'g> {
    let layers = entry.iter();
    layers.fold(x, |h, layer| layer.forward(pass, h, embedding))
}

/// The tensors of entries. What ends a residual branch begins as zero.
pub(super) fn parameters_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Parameter> {
    let mut parameters: Vec<Parameter> = entries.flatten().flat_map(Layer::parameters).collect();
    for parameter in &mut parameters {
        let name = parameter.name.trim_end_matches(".weight");
        let layer = name.trim_end_matches(".bias");
        if layer.ends_with(".out_layers.3") || layer.ends_with(".proj_out") {
            parameter.init = Init::Constant(0.0);
        }
    }
    parameters
}

/// Makes layers as a configuration says.
pub(super) struct Builder<'a> {
    config: &'a Config,
    options: ResnetOptions,
}

impl<'a> Builder<'a> {
    pub(super) fn new(config: &'a Config) -> Self {
        Self {
            config,
            options: ResnetOptions {
                names: ResnetNames::ADM,
                time: 4 * config.model_channels,
                groups: config.groups,
                epsilon: EPSILON,
                adaptive: config.use_scale_shift_norm,
                dropout: config.dropout,
            },
        }
    }

    pub(super) fn residual(&self, name: String, sizes: [usize; 2], resample: Resample) -> Layer {
        let block = ResnetBlock::new(name, sizes, resample, &self.options);
        Layer::Residual(Box::new(block))
    }

    pub(super) fn attention(&self, name: &str, channels: usize) -> Layer {
        let config = self.config;
        let norm = (config.groups, EPSILON);
        let by_head = !config.use_new_attention_order;
        let head = config.head(channels);
        Layer::Attention(AttentionBlock::adm(name, channels, head, norm, by_head))
    }

    /// What halves the image in the entry called `name`.
    fn halving(&self, name: &str, channels: usize) -> Layer {
        if self.config.resblock_updown {
            return self.residual(format!("{name}.0"), [channels; 2], Resample::Down);
        }
        if !self.config.conv_resample {
            return Layer::Mean;
        }
        let name = format!("{name}.0.op");
        Layer::Conv(Conv2d::new(name, channels, channels, [3, 2, 1]))
    }

    /// What doubles the image, as layer `name`.
    pub(super) fn doubling(&self, name: String, channels: usize) -> Layer {
        if self.config.resblock_updown {
            return self.residual(name, [channels; 2], Resample::Up);
        }
        let conv = || Conv2d::new(format!("{name}.conv"), channels, channels, [3, 1, 1]);
        Layer::Nearest(self.config.conv_resample.then(conv))
    }
}

/// The embedding of time, the entries on the way down, and the middle.
#[derive(Clone, Debug)]
pub(in crate::models) struct InputHalf {
    model_channels: usize,
    time: [Linear; 2],
    entries: Vec<Entry>,
    middle: Entry,
    /// Channels of each entry's result; those of the last are the middle's too.
    pub(in crate::models) widths: Vec<usize>,
}

/// What becomes of images on the way down, `[batch, height, width, channels]` each.
#[derive(Clone, Debug)]
pub(in crate::models) struct Down<'g> {
    /// The results of the entries.
    pub(in crate::models) entries: Vec<Var<'g>>,
    /// That of the middle.
    pub(in crate::models) middle: Var<'g>,
    /// The embedding, after its silu: `[batch or 1, 4 model_channels]`.
    pub(super) embedding: Var<'g>,
}

impl InputHalf {
    /// Of images of `inputs` channels; all names begin with `prefix`.
    ///
    /// # Errors
    /// As [`Config::channels`].
    pub(in crate::models) fn new(config: &Config, inputs: usize, prefix: &str) -> Result<Self> {
        let builder = Builder::new(config);
        let channels = config.channels()?;
        let first = channels.first().copied().unwrap_or(config.model_channels);
        let mut entries: Vec<Entry> = Vec::new();
        let mut widths = Vec::new();
        let named = |entry: usize| format!("{prefix}input_blocks.{entry}");
        let conv = Conv2d::new(format!("{}.0", named(0)), inputs, first, [3, 1, 1]);
        entries.push(vec![Layer::Conv(conv)]);
        widths.push(first);
        let mut before = first;
        for (level, &own) in channels.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let name = named(entries.len());
                let mut entry =
                    vec![builder.residual(format!("{name}.0"), [before, own], Resample::None)];
                if config.attention_resolutions.contains(&(1 << level)) {
                    entry.push(builder.attention(&format!("{name}.1"), own));
                }
                entries.push(entry);
                widths.push(own);
                before = own;
            }
            if level + 1 < channels.len() {
                let name = named(entries.len());
                entries.push(vec![builder.halving(&name, own)]);
                widths.push(own);
            }
        }
        let middle = |layer: usize| format!("{prefix}middle_block.{layer}");
        let residual = |layer| builder.residual(middle(layer), [before; 2], Resample::None);
        let time = 4 * config.model_channels;
        Ok(Self {
            model_channels: config.model_channels,
            time: [
                Linear::new(format!("{prefix}time_embed.0"), config.model_channels, time),
                Linear::new(format!("{prefix}time_embed.2"), time, time),
            ],
            entries,
            middle: vec![
                residual(0),
                builder.attention(&middle(1), before),
                residual(2),
            ],
            widths,
        })
    }

    /// Its tensors, in the order of guided-diffusion's state dict. What ends a residual branch begins as zero.
    pub(in crate::models) fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.time_parameters();
        parameters.extend(self.entry_parameters());
        parameters
    }

    /// The tensors of the embedding of time alone.
    pub(super) fn time_parameters(&self) -> Vec<Parameter> {
        self.time.iter().flat_map(Linear::parameters).collect()
    }

    /// Those of the entries and of the middle.
    pub(super) fn entry_parameters(&self) -> Vec<Parameter> {
        parameters_of(self.entries.iter().chain([&self.middle]))
    }

    /// The embedding of `t` `[batch]` or `[1]` (u32), before its silu: `[batch or 1, 4 model_channels]`.
    pub(in crate::models) fn embedding<'g>(&self, t: Timestep<'g>) -> Var<'g> {
        let sinusoid = t.embedding(self.model_channels, Convention::ADM);
        self.time[1].forward(self.time[0].forward(sinusoid).silu())
    }

    /// `x` `[batch, height, width, channels]` on the way down. `embedding` is that of the time, and of what is added to it.
    pub(in crate::models) fn forward<'g>(
        &self,
        pass: &Pass<'g>,
        x: Var<'g>,
        embedding: Var<'g>,
    ) -> Down<'g> {
        // Every block begins with it.
        let embedding = embedding.silu();
        let mut h = x;
        let mut entries = Vec::new();
        for entry in &self.entries {
            h = through(entry, pass, h, embedding);
            entries.push(h);
        }
        Down {
            middle: through(&self.middle, pass, h, embedding),
            entries,
            embedding,
        }
    }
}
