//! The sizes of guided-diffusion's networks, and what of them is refused.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::attention::LARGEST_HEAD;
use crate::tensor::ImageShape;

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
            let exact = mult * self.model_channels as f64;
            // A quotient read off a file may be a rounding away.
            let channels = exact.round();
            let whole = (exact - channels).abs() < 1e-9 * channels;
            let fits = (1.0..=f64::from(1 << 14)).contains(&channels) && whole;
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
