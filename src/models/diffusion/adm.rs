//! The networks of Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", with guided-diffusion's names: lists of entries,
//! each a sequence of layers called `LIST.entry.layer`. Here is what their U-Net and their classifier have in common, which is its half
//! from the image down, and what that is built from.
//!
//! ```
//! use wgen::models::diffusion::adm::Config;
//! use wgen::tensor::ImageShape;
//!
//! // The published classifier of 512 x 512 pixels.
//! let config = Config { num_res_blocks: 2, channel_mult: vec![0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0], ..Config::of(128) };
//! assert_eq!(config.channels()?, [64, 128, 128, 256, 256, 512, 512]);
//! let image = ImageShape { height: 512, width: 512, channels: 3 };
//! assert!(config.check(image).is_ok());
//! // Six of its seven levels end in a halving.
//! let error = config.check(ImageShape { height: 500, ..image }).unwrap_err();
//! assert!(error.to_string().contains("500 x 512 RGB are not divided by 64"), "{error}");
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::blocks::{AttentionBlock, Resample, ResnetBlock, ResnetNames, ResnetOptions};
use super::denoiser::Timestep;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::layout::{Init, Parameter};
use crate::kernels::attention::LARGEST_HEAD;
use crate::kernels::timestep_embedding::Convention;
use crate::nn::{Conv2d, Linear, Pass};
use crate::tensor::ImageShape;

/// Added to variances by every normalisation.
pub(in crate::models) const EPSILON: f64 = 1e-5;

/// The sizes of such a network, under guided-diffusion's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Channels that the levels' are multiples of.
    pub model_channels: usize,
    /// Channels of each level over `model_channels`; each level but the last ends in a halving of the image.
    pub channel_mult: Vec<f64>,
    /// Residual blocks of a level.
    pub num_res_blocks: usize,
    /// How often the image is smaller where there is attention, beside the middle: 1 for the whole image, 2 for the half.
    pub attention_resolutions: Vec<usize>,
    /// Channels of a head of attention.
    pub num_head_channels: Option<usize>,
    /// Heads of attention, where their channels are not given.
    pub num_heads: usize,
    /// Whether the embedding of time scales and shifts what is normalised, instead of being added.
    pub use_scale_shift_norm: bool,
    /// Whether residual blocks halve the image.
    pub resblock_updown: bool,
    /// Whether, without those, a convolution halves it, and not a mean.
    pub conv_resample: bool,
    /// Whether rows of `qkv` lie queries first, then keys, then values, and not head by head.
    pub use_new_attention_order: bool,
    /// Groups of each normalisation: guided-diffusion's are always 32.
    pub groups: usize,
    /// Share of activations that training drops.
    pub dropout: f32,
}

impl Config {
    /// guided-diffusion's defaults for classifiers: four levels of one to four times these channels, two blocks each, attention where the image
    /// is a half, a quarter and an eighth, heads of 64 channels, scale and shift, residual blocks that halve.
    pub fn of(model_channels: usize) -> Self {
        Self {
            model_channels,
            channel_mult: vec![1.0, 2.0, 3.0, 4.0],
            num_res_blocks: 2,
            attention_resolutions: vec![2, 4, 8],
            num_head_channels: Some(64),
            num_heads: 1,
            use_scale_shift_norm: true,
            resblock_updown: true,
            conv_resample: true,
            use_new_attention_order: false,
            groups: 32,
            dropout: 0.0,
        }
    }

    /// Channels of each level.
    ///
    /// # Errors
    /// When they are no whole numbers, or absurd.
    pub fn channels(&self) -> Result<Vec<usize>> {
        let level = |&mult: &f64| {
            let channels = mult * self.model_channels as f64;
            let fits = (1.0..=f64::from(1 << 14)).contains(&channels) && channels.fract() == 0.0;
            fits.then_some(channels as usize).ok_or_else(|| {
                Error::Usage(format!(
                    "ADM: `channel_mult` {mult} of `model_channels` {} must be a whole number of channels from 1 to {}",
                    self.model_channels,
                    1 << 14
                ))
            })
        };
        self.channel_mult.iter().map(level).collect()
    }

    /// Channels of a head of attention over `channels`.
    pub(in crate::models) fn head(&self, channels: usize) -> usize {
        let by_number = channels / self.num_heads.max(1);
        self.num_head_channels.unwrap_or(by_number)
    }

    /// How often the image is smaller in the middle.
    pub(in crate::models) fn factor(&self) -> usize {
        1 << self.channel_mult.len().saturating_sub(1)
    }

    /// Refuses what cannot be built for such images, before anything is allocated.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self, image: ImageShape) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("ADM: {why}")));
        let levels = self.channel_mult.len();
        for (name, value, most) in [
            ("model_channels", self.model_channels, 1 << 12),
            ("num_res_blocks", self.num_res_blocks, 32),
            ("num_heads", self.num_heads, 1 << 14),
            ("groups", self.groups, 1 << 12),
        ] {
            if value == 0 || value > most {
                return wrong(format!("`{name}` {value} must be from 1 to {most}"));
            }
        }
        if !self.model_channels.is_multiple_of(2) {
            return wrong(format!(
                "`model_channels` {} must be even: half of them are sines of the time, half are cosines",
                self.model_channels
            ));
        }
        if levels == 0 || levels > 8 {
            return wrong(format!(
                "`channel_mult` has {levels} levels; from 1 to 8 are possible"
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(format!("`dropout` {} must be in [0, 1)", self.dropout));
        }
        let divides = |ds: usize| ds.is_power_of_two() && ds <= self.factor();
        if let Some(ds) = self.attention_resolutions.iter().find(|&&ds| !divides(ds)) {
            return wrong(format!(
                "`attention_resolutions` {ds}: the image is at most {} times smaller, by powers of 2",
                self.factor()
            ));
        }
        self.check_channels()?;
        let ImageShape {
            height,
            width,
            channels,
        } = image;
        if channels == 0 || channels > 1 << 10 {
            return wrong(format!(
                "images of {channels} channels; from 1 to {} are possible",
                1 << 10
            ));
        }
        let factor = self.factor();
        if height == 0
            || width == 0
            || !height.is_multiple_of(factor)
            || !width.is_multiple_of(factor)
        {
            return wrong(format!(
                "images of {image} are not divided by {factor}: each of the {levels} levels of `channel_mult` but the last halves them"
            ));
        }
        if height.max(width) > 1 << 13 {
            return wrong(format!("images of {image} are too large"));
        }
        Ok(())
    }

    /// Groups and heads of every level.
    fn check_channels(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("ADM: {why}")));
        let channels = self.channels()?;
        for (level, &channels) in channels.iter().enumerate() {
            if !channels.is_multiple_of(self.groups) {
                return wrong(format!(
                    "`groups` {} do not divide the {channels} channels of a level",
                    self.groups
                ));
            }
            let last = level + 1 == self.channel_mult.len();
            if !last && !self.attention_resolutions.contains(&(1 << level)) {
                continue;
            }
            let (head, named, parts) = match self.num_head_channels {
                Some(head) => (head, format!("`num_head_channels` {head}"), head),
                None => (
                    channels / self.num_heads,
                    format!("`num_heads` {}", self.num_heads),
                    self.num_heads,
                ),
            };
            if parts == 0 || !channels.is_multiple_of(parts) {
                return wrong(format!(
                    "{named} does not divide the {channels} channels of a level with attention"
                ));
            }
            if head > LARGEST_HEAD {
                return wrong(format!(
                    "{named} gives heads of {head} channels, more than the {LARGEST_HEAD} that a workgroup's registers hold; use more heads"
                ));
            }
        }
        Ok(())
    }
}

/// A layer of an entry.
#[derive(Clone, Debug)]
pub(in crate::models) enum Layer {
    Conv(Conv2d),
    /// The mean of each 2x2 pixels.
    Mean,
    Residual(Box<ResnetBlock>),
    Attention(AttentionBlock),
}

impl Layer {
    fn parameters(&self) -> Vec<Parameter> {
        match self {
            Self::Conv(conv) => conv.parameters(),
            Self::Mean => Vec::new(),
            Self::Residual(block) => block.parameters(),
            Self::Attention(block) => block.parameters(),
        }
    }

    /// `embedding` `[batch or 1, size]`, after its silu.
    fn forward<'g>(&self, pass: &Pass<'g>, x: Var<'g>, embedding: Var<'g>) -> Var<'g> {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::Mean => x.avg_pool2d([2; 2], [2; 2], [0; 2]),
            Self::Residual(block) => block.forward(pass, x, embedding),
            Self::Attention(block) => block.forward(x),
        }
    }
}

/// Layers one after the other.
pub(in crate::models) type Entry = Vec<Layer>;

/// Makes layers as a configuration says.
pub(in crate::models) struct Builder<'a> {
    config: &'a Config,
    options: ResnetOptions,
}

impl<'a> Builder<'a> {
    pub(in crate::models) fn new(config: &'a Config) -> Self {
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

    pub(in crate::models) fn residual(
        &self,
        name: String,
        sizes: [usize; 2],
        resample: Resample,
    ) -> Layer {
        let block = ResnetBlock::new(name, sizes, resample, &self.options);
        Layer::Residual(Box::new(block))
    }

    pub(in crate::models) fn attention(&self, name: &str, channels: usize) -> Layer {
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
        let time = self.time.iter().flat_map(Linear::parameters);
        let entries = self.entries.iter().chain([&self.middle]).flatten();
        let mut parameters: Vec<Parameter> =
            time.chain(entries.flat_map(Layer::parameters)).collect();
        for parameter in &mut parameters {
            let layer = parameter
                .name
                .trim_end_matches(".weight")
                .trim_end_matches(".bias");
            if layer.ends_with(".out_layers.3") || layer.ends_with(".proj_out") {
                parameter.init = Init::Constant(0.0);
            }
        }
        parameters
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
        let through = |entry: &Entry, x: Var<'g>| {
            let layers = entry.iter();
            layers.fold(x, |h, layer| layer.forward(pass, h, embedding))
        };
        let mut h = x;
        let mut entries = Vec::new();
        for entry in &self.entries {
            h = through(entry, h);
            entries.push(h);
        }
        Down {
            middle: through(&self.middle, h),
            entries,
        }
    }
}
