//! guided-diffusion's U-Net as diffusers' `UNet2DModel`: the same network under other names, where its sizes are such that diffusers has them.
//!
//! ```
//! use wgen::models::diffusion::adm::names::{as_unet2d, renamed};
//! use wgen::models::diffusion::adm::{Config, UNetConfig};
//! use wgen::tensor::ImageShape;
//!
//! let image = ImageShape { height: 64, width: 64, channels: 3 };
//! let config = UNetConfig::of(image, Config::of(64));
//! assert_eq!(as_unet2d(&config)?.down_block_types[0], "ResnetDownsampleBlock2D");
//! let tensors = renamed(&config);
//! let query = tensors.iter().find(|t| t.name == "mid_block.attentions.0.to_q.weight").unwrap();
//! assert_eq!(query.source, "middle_block.1.qkv.weight");
//! // Of two heads of two channels each, head by head: rows 0, 1 and 6, 7 of twelve.
//! let rows = wgen::models::diffusion::adm::names::Rows { part: 0, head: 2, by_head: true };
//! let numbers: Vec<f32> = (0..12).map(|i| i as f32).collect();
//! assert_eq!(rows.of(&numbers, 4), [0.0, 1.0, 6.0, 7.0]);
//!
//! // Heads by their number have other channels in each level.
//! let four = Config { num_head_channels: None, num_heads: 4, ..Config::of(64) };
//! let why = as_unet2d(&UNetConfig::of(image, four)).unwrap_err();
//! assert!(why.contains("heads by their number"), "{why}");
//! # Ok::<(), String>(())
//! ```

use super::config::Config;
use super::unet::UNetConfig;
use crate::models::diffusion::unet::{self, SampleSize};

/// Which rows of a fused `qkv` a tensor of diffusers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// 0 queries, 1 keys, 2 values.
    pub part: usize,
    /// Channels of a head.
    pub head: usize,
    /// Whether a head's three parts lie together.
    pub by_head: bool,
}

impl Rows {
    /// The part's rows out of `values`, `3 channels` rows of as many numbers each.
    pub fn of(self, values: &[f32], channels: usize) -> Vec<f32> {
        let columns = values.len() / (3 * channels).max(1);
        let row = |channel: usize| {
            let (head, c) = (channel / self.head, channel % self.head);
            match self.by_head {
                true => (3 * head + self.part) * self.head + c,
                false => self.part * channels + channel,
            }
        };
        let rows = (0..channels).map(|channel| row(channel) * columns);
        rows.flat_map(|at| values[at..at + columns].iter().copied())
            .collect()
    }
}

/// A tensor of diffusers and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Its name in diffusers.
    pub name: String,
    /// guided-diffusion's.
    pub source: String,
    /// Of one that is a third of its source.
    pub rows: Option<Rows>,
}

/// The network as diffusers has it.
///
/// # Errors
/// What of it diffusers does not have.
pub fn as_unet2d(config: &UNetConfig) -> Result<unet::Config, String> {
    let network = &config.network;
    if config.low_res.is_some() {
        return Err("an image of low resolution beside x".to_owned());
    }
    let channels = network.channels().map_err(|e| e.to_string())?;
    if channels.first() != Some(&network.model_channels) {
        return Err(format!(
            "a time embedding of {} beside first channels of {}",
            network.model_channels,
            channels.first().copied().unwrap_or(0)
        ));
    }
    if !network.resblock_updown && !network.conv_resample && channels.len() > 1 {
        return Err("images halved without a convolution".to_owned());
    }
    let attends = |level: usize| network.attention_resolutions.contains(&(1 << level));
    let with_attention = channels.iter().enumerate();
    let heads = with_attention
        .filter(|&(level, _)| attends(level) || level + 1 == channels.len())
        .map(|(_, &c)| network.head(c));
    let mut heads: Vec<usize> = heads.collect();
    heads.dedup();
    let [head] = heads[..] else {
        return Err(format!(
            "heads by their number, which so have {heads:?} channels"
        ));
    };
    let updown = network.resblock_updown;
    let kind = |level: usize, down: &str| match (attends(level), updown) {
        (true, _) => format!("Attn{down}Block2D"),
        (false, true) if down == "Down" => "ResnetDownsampleBlock2D".to_owned(),
        (false, true) => "ResnetUpsampleBlock2D".to_owned(),
        (false, false) => format!("{down}Block2D"),
    };
    let resample = if updown { "resnet" } else { "conv" };
    let image = config.image;
    Ok(unet::Config {
        sample_size: match image.height == image.width {
            true => SampleSize::Square(image.height),
            false => SampleSize::Rectangle([image.height, image.width]),
        },
        in_channels: image.channels,
        out_channels: config.out_channels,
        freq_shift: 0.0,
        flip_sin_to_cos: true,
        down_block_types: (0..channels.len()).map(|l| kind(l, "Down")).collect(),
        up_block_types: (0..channels.len()).rev().map(|l| kind(l, "Up")).collect(),
        block_out_channels: channels,
        layers_per_block: network.num_res_blocks,
        downsample_padding: 1,
        downsample_type: resample.to_owned(),
        upsample_type: resample.to_owned(),
        dropout: network.dropout,
        attention_head_dim: Some(head),
        norm_num_groups: network.groups,
        attn_norm_num_groups: Some(network.groups),
        norm_eps: super::EPSILON,
        resnet_time_scale_shift: match network.use_scale_shift_norm {
            true => "scale_shift".to_owned(),
            false => "default".to_owned(),
        },
        num_class_embeds: config.num_classes,
        ..unet::Config::default()
    })
}

/// What a layer is, by which its tensors are called.
#[derive(Clone, Copy)]
enum Layer {
    Plain,
    Residual,
    Attention,
}

/// guided-diffusion's layer, diffusers', what it is, its channels where that matters.
type Named = (String, String, Layer, usize);

/// Each tensor of diffusers' network of [`as_unet2d`].
pub fn renamed(config: &UNetConfig) -> Vec<Renamed> {
    let network = &config.network;
    let (levels, blocks) = (network.channel_mult.len(), network.num_res_blocks);
    let channels = network.channels().unwrap_or_default();
    let attends = |level: usize| network.attention_resolutions.contains(&(1 << level));
    let mut layers: Vec<Named> = Vec::new();
    let plain = |from: &str, to: &str| (from.to_owned(), to.to_owned(), Layer::Plain, 0);
    layers.push(plain("time_embed.0", "time_embedding.linear_1"));
    layers.push(plain("time_embed.2", "time_embedding.linear_2"));
    if config.num_classes.is_some() {
        layers.push(plain("label_emb", "class_embedding"));
    }
    layers.push(plain("input_blocks.0.0", "conv_in"));
    let resampled = |from: String, to: String, conv: [&str; 2]| match network.resblock_updown {
        true => (from, to, Layer::Residual, 0),
        false => (
            format!("{from}.{}", conv[0]),
            format!("{to}.{}", conv[1]),
            Layer::Plain,
            0,
        ),
    };
    let pair = |from: String, to: String, i: usize, level: usize, attends: bool| {
        let own = channels.get(level).copied().unwrap_or(0);
        let residual = (format!("{from}.0"), format!("{to}.resnets.{i}"));
        let mut pair = vec![(residual.0, residual.1, Layer::Residual, 0)];
        if attends {
            let names = (format!("{from}.1"), format!("{to}.attentions.{i}"));
            pair.push((names.0, names.1, Layer::Attention, own));
        }
        pair
    };
    for level in 0..levels {
        let to = format!("down_blocks.{level}");
        for i in 0..blocks {
            let from = format!("input_blocks.{}", 1 + level * (blocks + 1) + i);
            layers.extend(pair(from, to.clone(), i, level, attends(level)));
        }
        if level + 1 < levels {
            let from = format!("input_blocks.{}.0", (level + 1) * (blocks + 1));
            layers.push(resampled(
                from,
                format!("{to}.downsamplers.0"),
                ["op", "conv"],
            ));
        }
    }
    layers.extend(pair(
        "middle_block".to_owned(),
        "mid_block".to_owned(),
        0,
        levels.saturating_sub(1),
        true,
    ));
    let last = (
        "middle_block.2".to_owned(),
        "mid_block.resnets.1".to_owned(),
    );
    layers.push((last.0, last.1, Layer::Residual, 0));
    for (up, level) in (0..levels).rev().enumerate() {
        let to = format!("up_blocks.{up}");
        for i in 0..=blocks {
            let from = format!("output_blocks.{}", up * (blocks + 1) + i);
            let own = pair(from.clone(), to.clone(), i, level, attends(level));
            let layer = own.len();
            layers.extend(own);
            if level > 0 && i == blocks {
                let (from, to) = (format!("{from}.{layer}"), format!("{to}.upsamplers.0"));
                layers.push(resampled(from, to, ["conv", "conv"]));
            }
        }
    }
    layers.push(plain("out.0", "conv_norm_out"));
    layers.push(plain("out.2", "conv_out"));
    layers
        .into_iter()
        .flat_map(|layer| tensors(layer, network))
        .collect()
}

/// The tensors of a layer.
fn tensors((from, to, what, own): Named, network: &Config) -> Vec<Renamed> {
    let own = match what {
        Layer::Plain => vec![(from, to, None)],
        Layer::Residual => RESIDUAL
            .iter()
            .map(|(a, b)| (format!("{from}.{a}"), format!("{to}.{b}"), None))
            .collect(),
        Layer::Attention => {
            let part = |(part, name): (usize, &&str)| {
                let rows = Rows {
                    part,
                    head: network.head(own),
                    by_head: !network.use_new_attention_order,
                };
                (format!("{from}.qkv"), format!("{to}.{name}"), Some(rows))
            };
            let parts = ["to_q", "to_k", "to_v"];
            let mut all = vec![(format!("{from}.norm"), format!("{to}.group_norm"), None)];
            all.extend(parts.iter().enumerate().map(part));
            all.push((format!("{from}.proj_out"), format!("{to}.to_out.0"), None));
            all
        }
    };
    let both = |(from, to, rows): (String, String, Option<Rows>)| {
        ["weight", "bias"].map(|what| Renamed {
            name: format!("{to}.{what}"),
            source: format!("{from}.{what}"),
            rows,
        })
    };
    own.into_iter().flat_map(both).collect()
}

/// Layers of a residual block, here and there. Which of them has a shortcut its file says.
const RESIDUAL: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];
