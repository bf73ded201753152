//! `wgen convert`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::Output;
use crate::error::Result;
use crate::files::guided_diffusion::{Untold, convert};
use crate::models::diffusion::process::BetaSchedule;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Weights of guided-diffusion (ADM), as published or as its scripts save them; what is a published file needs no option below
    file: PathBuf,
    /// The new folder: one that diffusers opens too, where it has such a network
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Height and width of its images
    #[arg(long)]
    image_size: Option<usize>,
    /// Channels of a head of attention
    #[arg(long, conflicts_with = "num_heads")]
    num_head_channels: Option<usize>,
    /// Heads of attention, where their channels were not given in training
    #[arg(long)]
    num_heads: Option<usize>,
    /// Whether it was trained with --use_new_attention_order True: a wrong answer draws mush
    #[arg(long, value_name = "BOOL")]
    new_attention_order: Option<bool>,
    /// How betas grow: guided-diffusion's --noise_schedule
    #[arg(long, value_enum)]
    beta_schedule: Option<BetaSchedule>,
    /// Height and width of the small images, of super-resolution
    #[arg(long)]
    low_res: Option<usize>,
    /// Residual blocks of a level, of a classifier
    #[arg(long)]
    num_res_blocks: Option<usize>,
    /// Share of activations that further training drops
    #[arg(long)]
    dropout: Option<f32>,
}

pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<()> {
    let untold = Untold {
        image_size: arguments.image_size,
        num_head_channels: arguments.num_head_channels,
        num_heads: arguments.num_heads,
        use_new_attention_order: arguments.new_attention_order,
        beta_schedule: arguments.beta_schedule,
        low_res: arguments.low_res,
        num_res_blocks: arguments.num_res_blocks,
        dropout: arguments.dropout,
    };
    let folder = &arguments.out;
    let converted = convert(&arguments.file, untold, folder)?;
    output.say(&format!(
        "{}: {}, {} parameters in {} tensors",
        folder.display(),
        converted
            .published
            .unwrap_or("a network of guided-diffusion's kind"),
        converted.parameters,
        converted.tensors
    ));
    match &converted.for_diffusers {
        Ok(()) => output.say("diffusers opens it too"),
        Err(why) => output.say(&format!("for wgen alone: diffusers has no {why}")),
    }
    output.result(&json!({
        "folder": folder,
        "published": converted.published,
        "parameters": converted.parameters,
        "tensors": converted.tensors,
        "for_diffusers": converted.for_diffusers.is_ok(),
    }))
}
