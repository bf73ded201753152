//! Arguments of `wgen train ngp`.

use std::sync::Arc;

use clap::Args;

use super::camera_of;
use crate::cli::training::{Defaults, ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::nerf::Background;
use crate::models::nerf::ngp::{self, Loss};
use crate::nn::schedule::Shape;

#[derive(Debug, Args)]
pub(in crate::cli) struct Ngp {
    #[command(flatten)]
    training: TrainingArguments,
    /// Half the side of the box around the origin that holds the scene, of several the outermost [default: 1.5, doubled with each box around it]
    #[arg(long)]
    half_side: Option<f32>,
    /// Boxes in one another, each twice as large as the one before it: 1 for an object, more (up to 8) for a scene that goes on around it
    #[arg(long, default_value_t = 1)]
    cascades: usize,
    /// Levels of the hash grid
    #[arg(long, default_value_t = 8)]
    levels: usize,
    /// Features of an entry: 1, 2, 4 or 8
    #[arg(long, default_value_t = 4)]
    features: usize,
    /// Base-2 logarithm of the most entries of a level
    #[arg(long, default_value_t = 17)]
    log2_entries: u32,
    /// Vertices along a side of the coarsest level
    #[arg(long, default_value_t = 16)]
    base_resolution: u32,
    /// Of the finest [default: 512, doubled with each box around the first]
    #[arg(long)]
    finest_resolution: Option<u32>,
    /// Units of a hidden layer
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Cells along a side of the occupancy grid
    #[arg(long, default_value_t = 64)]
    occupancy: usize,
    /// Steps along the diagonal of the box, of several the innermost [default: 256, of several 128]
    #[arg(long)]
    ray_steps: Option<usize>,
    /// Of several boxes: steps until a step becomes twice as long, and so on with the distance; 0 for steps of one length [default: 64]
    #[arg(long)]
    octave_steps: Option<usize>,
    /// Learns how each picture was exposed: factors of red, green and blue
    #[arg(long)]
    exposures: bool,
    /// Samples that a step aims at
    #[arg(long, default_value_t = 1 << 14)]
    samples: usize,
    /// What lies behind the scene, where pictures are transparent
    #[arg(long, value_enum, default_value_t = Background::Random)]
    scene_background: Background,
    /// The error of a colour
    #[arg(long, value_enum, default_value_t = Loss::Huber)]
    loss: Loss,
}

impl ModelArguments for Ngp {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let usual = ngp::Config::around(camera_of(dataset)?, self.cascades);
        let views = dataset.views.as_ref().map_or(0, |v| v.poses.len());
        Ok(Arc::new(ngp::Ngp::new(ngp::Config {
            half_side: self.half_side.unwrap_or(usual.half_side),
            octave_steps: match self.cascades {
                1 => 0,
                _ => self.octave_steps.unwrap_or(usual.octave_steps),
            },
            exposures: if self.exposures { views } else { 0 },
            levels: self.levels,
            features: self.features,
            log2_entries: self.log2_entries,
            base_resolution: self.base_resolution,
            finest_resolution: (self.finest_resolution).unwrap_or(usual.finest_resolution),
            width: self.width,
            grid: self.occupancy,
            steps: self.ray_steps.unwrap_or(usual.steps),
            capacity: ngp::Config::room_for(self.samples),
            target_samples: self.samples,
            background: self.scene_background,
            loss: self.loss,
            ..usual
        })?))
    }

    fn takes_rays(&self) -> bool {
        true
    }

    fn training(&self) -> &TrainingArguments {
        &self.training
    }

    fn defaults(&self) -> Defaults {
        Defaults {
            learning_rate: 1e-2,
            beta2: 0.99,
            epsilon: 1e-15,
            shape: Shape::Stairs,
            warmup: 50,
            batch: 4096,
            steps: Some(3_500),
            ..Defaults::default()
        }
    }
}
