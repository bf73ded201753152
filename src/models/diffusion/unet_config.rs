//! The configuration of the U-Net: diffusers' `config.json`, and what of it is refused.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::keys;
use crate::error::{Error, Result};
use crate::kernels::attention::LARGEST_HEAD;
use crate::tensor::ImageShape;

/// One number for a square, or height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SampleSize {
    /// Height and width.
    Square(usize),
    /// Height, width.
    Rectangle([usize; 2]),
}

/// `config.json` of a `UNet2DModel`, with diffusers' names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Height and width of images.
    pub sample_size: SampleSize,
    /// Channels of x.
    pub in_channels: usize,
    /// Channels of the prediction: twice as many where the variance is learned.
    pub out_channels: usize,
    /// Whether x is brought from [0, 1] to [-1, 1] first.
    pub center_input_sample: bool,
    /// `positional` alone.
    pub time_embedding_type: String,
    /// Size of the time embedding after its layers; four times the first channels where it is not given.
    pub time_embedding_dim: Option<usize>,
    /// See [`Convention::shift`](crate::kernels::timestep_embedding::Convention::shift).
    pub freq_shift: f64,
    /// See [`Convention::cosine_first`](crate::kernels::timestep_embedding::Convention::cosine_first).
    pub flip_sin_to_cos: bool,
    /// From the image down.
    pub down_block_types: Vec<String>,
    /// `UNetMidBlock2D` or nothing.
    pub mid_block_type: Option<String>,
    /// Back up to the image.
    pub up_block_types: Vec<String>,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level; one more on the way up.
    pub layers_per_block: usize,
    /// 1 alone.
    pub mid_block_scale_factor: f64,
    /// Zeros around an image before it is halved; 0 is one behind each axis (Ho et al. 2020).
    pub downsample_padding: usize,
    /// `conv` or `resnet`, of levels with attention.
    pub downsample_type: String,
    /// Likewise.
    pub upsample_type: String,
    /// Share of activations that training drops.
    pub dropout: f32,
    /// `silu` or `swish`.
    pub act_fn: String,
    /// Channels of a head; without, a head has all.
    pub attention_head_dim: Option<usize>,
    /// Groups of each normalisation.
    pub norm_num_groups: usize,
    /// Groups of the one before the middle's attention, which otherwise is there with `default` scale and shift alone.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to variances.
    pub norm_eps: f64,
    /// `default`: the time embedding is added; `scale_shift`: it scales and shifts what is normalised.
    pub resnet_time_scale_shift: String,
    /// Whether the middle has attention.
    pub add_attention: bool,
    /// Nothing alone: classes are looked up.
    pub class_embed_type: Option<String>,
    /// Classes, the null class of guidance among them as the last where there is one.
    pub num_class_embeds: Option<usize>,
    /// Of learned time embeddings, which are not supported; ignored.
    pub num_train_timesteps: Option<usize>,
}

impl Default for Config {
    /// diffusers' defaults.
    fn default() -> Self {
        let names = |all: [&str; 4]| all.map(str::to_owned).to_vec();
        Self {
            sample_size: SampleSize::Square(32),
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: "positional".to_owned(),
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: names([
                "DownBlock2D",
                "AttnDownBlock2D",
                "AttnDownBlock2D",
                "AttnDownBlock2D",
            ]),
            mid_block_type: Some("UNetMidBlock2D".to_owned()),
            up_block_types: names([
                "AttnUpBlock2D",
                "AttnUpBlock2D",
                "AttnUpBlock2D",
                "UpBlock2D",
            ]),
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: "conv".to_owned(),
            upsample_type: "conv".to_owned(),
            dropout: 0.0,
            act_fn: "silu".to_owned(),
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: "default".to_owned(),
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
        }
    }
}

/// Keys that no release's `UNet2DModel` had: what has them is another network's configuration.
const OF_CONDITION: [&str; 5] = [
    "cross_attention_dim",
    "encoder_hid_dim",
    "addition_embed_type",
    "time_cond_proj_dim",
    "projection_class_embeddings_input_dim",
];

/// What a level does beside its residual blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) attention: bool,
    /// Whether the image changes its size by a residual block and not by a convolution.
    pub(super) resnet: bool,
}

impl Config {
    /// For images of this shape: `layers` residual blocks a level, attention at the heights `attention`, eight groups, heads of 32 channels.
    pub fn of(image: ImageShape, channels: &[usize], layers: usize, attention: &[usize]) -> Self {
        let block = |level: usize, way: &str| {
            let attends = attention.contains(&(image.height >> level));
            format!("{}{way}Block2D", if attends { "Attn" } else { "" })
        };
        let levels = channels.len();
        Self {
            sample_size: if image.height == image.width {
                SampleSize::Square(image.height)
            } else {
                SampleSize::Rectangle([image.height, image.width])
            },
            in_channels: image.channels,
            out_channels: image.channels,
            down_block_types: (0..levels).map(|i| block(i, "Down")).collect(),
            up_block_types: (0..levels).rev().map(|i| block(i, "Up")).collect(),
            block_out_channels: channels.to_vec(),
            layers_per_block: layers,
            attention_head_dim: Some(32),
            norm_num_groups: 8,
            ..Self::default()
        }
    }

    /// From the text of a `config.json` that diffusers wrote. Keys that its `UNet2DModel` does not have are passed over, as there.
    ///
    /// # Errors
    /// When it is no JSON, of another class, or has an option or a value of one that is not supported, which is named.
    pub fn from_diffusers(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::Usage(format!("UNet2DModel: {why}"));
        let (config, _) = Self::read_diffusers(keys::object(text).map_err(wrong)?)?;
        Ok(config)
    }

    /// As [`from_diffusers`](Self::from_diffusers), and the names of the keys that were passed over.
    pub(crate) fn read_diffusers(mut fields: Map<String, Json>) -> Result<(Self, Vec<String>)> {
        let wrong = |why: String| Error::Usage(format!("UNet2DModel: {why}"));
        match fields.get("_class_name") {
            Some(Json::String(name)) if name == "UNet2DModel" => {}
            // As in `UNet2DModel.from_pretrained`.
            None => {}
            Some(other) => {
                return Err(wrong(format!(
                    "_class_name is {other}; only UNet2DModel is supported"
                )));
            }
        }
        // Older configurations write null where today's have the default.
        fields.retain(|name, value| {
            !(value.is_null()
                && matches!(
                    name.as_str(),
                    "norm_num_groups" | "sample_size" | "dropout" | "act_fn"
                ))
        });
        for name in OF_CONDITION {
            if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
                return Err(wrong(format!(
                    "{name} {value} is of a UNet2DConditionModel; only UNet2DModel is supported"
                )));
            }
        }
        let (config, passed): (Self, _) = keys::known(fields).map_err(wrong)?;
        config.check()?;
        Ok((config, passed))
    }

    /// The text of its `config.json`.
    pub fn to_diffusers(&self) -> Json {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = json.as_object_mut() {
            fields.insert("_class_name".to_owned(), "UNet2DModel".into());
            fields.insert("_diffusers_version".to_owned(), "0.42.1".into());
            // diffusers has an integer here.
            if self.freq_shift.fract() == 0.0 {
                fields.insert("freq_shift".to_owned(), (self.freq_shift as i64).into());
            }
        }
        json
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        match self.sample_size {
            SampleSize::Square(side) => [side; 2],
            SampleSize::Rectangle(size) => size,
        }
    }

    /// What an image of it is.
    pub fn image(&self) -> ImageShape {
        let [height, width] = self.size();
        ImageShape {
            height,
            width,
            channels: self.in_channels,
        }
    }

    pub(super) fn level(name: &str) -> Result<Level> {
        let (attention, resnet) = match name.strip_prefix("UNetRes").unwrap_or(name) {
            "DownBlock2D" | "UpBlock2D" => (false, false),
            "AttnDownBlock2D" | "AttnUpBlock2D" => (true, false),
            "ResnetDownsampleBlock2D" | "ResnetUpsampleBlock2D" => (false, true),
            other => {
                return Err(Error::Usage(format!(
                    "UNet2DModel: block type {other} is not supported; there are DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D and the same up"
                )));
            }
        };
        Ok(Level { attention, resnet })
    }

    /// Refuses what is not supported, naming the option, before anything is allocated.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        self.check_kinds()?;
        self.check_numbers()?;
        self.check_levels()
    }

    fn check_kinds(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("UNet2DModel: {why}")));
        let only = [
            (
                "time_embedding_type",
                self.time_embedding_type.as_str(),
                &["positional"][..],
            ),
            ("act_fn", &self.act_fn, &["silu", "swish"]),
            (
                "resnet_time_scale_shift",
                &self.resnet_time_scale_shift,
                &["default", "scale_shift"],
            ),
            (
                "downsample_type",
                &self.downsample_type,
                &["conv", "resnet"],
            ),
            ("upsample_type", &self.upsample_type, &["conv", "resnet"]),
            (
                "mid_block_type",
                self.mid_block_type.as_deref().unwrap_or("UNetMidBlock2D"),
                &["UNetMidBlock2D"],
            ),
        ];
        for (name, value, possible) in only {
            if !possible.contains(&value) {
                return wrong(format!(
                    "{name} '{value}' is not supported; there is {}",
                    possible.join(", ")
                ));
            }
        }
        if let Some(kind) = &self.class_embed_type {
            return wrong(format!(
                "class_embed_type '{kind}' is not supported; leave it out and classes are looked up"
            ));
        }
        if self.mid_block_scale_factor != 1.0 {
            return wrong(format!(
                "mid_block_scale_factor {} is not supported; it must be 1",
                self.mid_block_scale_factor
            ));
        }
        if self.downsample_padding > 1 {
            return wrong(format!(
                "downsample_padding {} is not supported; it must be 0 or 1",
                self.downsample_padding
            ));
        }
        let levels = self.block_out_channels.len();
        if levels == 0
            || levels > 8
            || self.down_block_types.len() != levels
            || self.up_block_types.len() != levels
        {
            return wrong(format!(
                "block_out_channels has {levels} levels, down_block_types {}, up_block_types {}; all must be as many, from 1 to 8",
                self.down_block_types.len(),
                self.up_block_types.len()
            ));
        }
        for name in self.down_block_types.iter().chain(&self.up_block_types) {
            Self::level(name)?;
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("UNet2DModel: {why}")));
        for (name, value, most) in [
            ("in_channels", self.in_channels, 1024),
            ("out_channels", self.out_channels, 1024),
            ("layers_per_block", self.layers_per_block, 32),
            ("norm_num_groups", self.norm_num_groups, 4096),
            (
                "num_class_embeds",
                self.num_class_embeds.unwrap_or(1),
                1 << 20,
            ),
            ("time_embedding_dim", self.time_dim(), 1 << 16),
        ] {
            if value == 0 || value > most {
                return wrong(format!("{name} {value} must be from 1 to {most}"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(format!("dropout {} must be in [0, 1)", self.dropout));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return wrong(format!("norm_eps {} must be above 0", self.norm_eps));
        }
        Ok(())
    }

    /// The levels' widths and attention, and the image that they halve.
    fn check_levels(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("UNet2DModel: {why}")));
        let levels = self.block_out_channels.len();
        let head = |channels: usize| self.attention_head_dim.unwrap_or(channels);
        let attends = |i: usize| {
            let named = |types: &[String], i: usize| {
                Self::level(&types[i]).is_ok_and(|level| level.attention)
            };
            named(&self.down_block_types, i)
                || named(&self.up_block_types, levels - 1 - i)
                || (i == levels - 1 && self.add_attention && self.mid_block_type.is_some())
        };
        for (i, &channels) in self.block_out_channels.iter().enumerate() {
            if channels == 0 || channels > 1 << 14 {
                return wrong(format!(
                    "block_out_channels {channels} must be from 1 to {}",
                    1 << 14
                ));
            }
            if !channels.is_multiple_of(self.norm_num_groups) {
                return wrong(format!(
                    "norm_num_groups {} do not divide block_out_channels {channels}",
                    self.norm_num_groups
                ));
            }
            let size = head(channels);
            if attends(i) && (size == 0 || !channels.is_multiple_of(size)) {
                return wrong(format!(
                    "attention_head_dim {size} does not divide block_out_channels {channels}"
                ));
            }
            if attends(i) && size > LARGEST_HEAD {
                return wrong(format!(
                    "attention_head_dim {size} is more than {LARGEST_HEAD}, which is what a workgroup's registers hold; use more heads"
                ));
            }
        }
        let [height, width] = self.size();
        let factor = 1 << (levels - 1);
        if height == 0
            || width == 0
            || !height.is_multiple_of(factor)
            || !width.is_multiple_of(factor)
        {
            return wrong(format!(
                "images of {height} by {width} are not divided by {factor}: each of {levels} levels but the last halves them"
            ));
        }
        if height.max(width) > 1 << 13 {
            return wrong(format!("images of {height} by {width} are too large"));
        }
        if (self.block_out_channels[0] / 2) as f64 <= self.freq_shift {
            return wrong(format!(
                "freq_shift {} leaves no frequencies in {} channels",
                self.freq_shift, self.block_out_channels[0]
            ));
        }
        Ok(())
    }

    pub(super) fn time_dim(&self) -> usize {
        let first = self.block_out_channels.first().copied().unwrap_or(1);
        self.time_embedding_dim.unwrap_or(4 * first)
    }
}
