//! The networks of guided-diffusion, with its names: that of `wgen train adm`, and the noised classifier's.

use clap::Args;

use crate::models::diffusion::adm;

/// The sizes of such a network.
#[derive(Debug, Args)]
pub(super) struct AdmArguments {
    /// Channels that the levels' are multiples of
    #[arg(long, default_value_t = 32)]
    model_channels: usize,
    /// Channels of the levels over those, each level but the last halving the image
    #[arg(long, value_delimiter = ',', default_value = "1,2,2")]
    channel_mult: Vec<f64>,
    /// Residual blocks of a level
    #[arg(long, default_value_t = 1)]
    num_res_blocks: usize,
    /// How often the image is smaller where there is attention, beside the middle: 1 for the whole image, 2 for the half
    #[arg(long, value_delimiter = ',')]
    attention_resolutions: Vec<usize>,
    /// Channels of a head of attention
    #[arg(long, default_value_t = 32, conflicts_with = "num_heads")]
    num_head_channels: usize,
    /// Heads of attention, instead of their channels
    #[arg(long)]
    num_heads: Option<usize>,
    /// Groups of each normalisation; guided-diffusion's networks have 32
    #[arg(long, default_value_t = 32)]
    groups: usize,
    /// Share of activations that training drops
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// The embedding of time is added instead of scaling and shifting what is normalised
    #[arg(long)]
    no_scale_shift: bool,
    /// A convolution halves the image instead of a residual block
    #[arg(long)]
    no_resblock_updown: bool,
    /// A mean halves it
    #[arg(long, requires = "no_resblock_updown")]
    no_conv_resample: bool,
    /// Rows of qkv lie queries first, then keys, then values, and not head by head
    #[arg(long)]
    new_attention_order: bool,
}

impl AdmArguments {
    pub(super) fn network(&self) -> adm::Config {
        adm::Config {
            model_channels: self.model_channels,
            channel_mult: self.channel_mult.clone(),
            num_res_blocks: self.num_res_blocks,
            attention_resolutions: self.attention_resolutions.clone(),
            num_head_channels: self.num_heads.is_none().then_some(self.num_head_channels),
            num_heads: self.num_heads.unwrap_or(1),
            use_scale_shift_norm: !self.no_scale_shift,
            resblock_updown: !self.no_resblock_updown,
            conv_resample: !self.no_conv_resample,
            use_new_attention_order: self.new_attention_order,
            groups: self.groups,
            dropout: self.dropout,
        }
    }
}
