//! Arguments of `wgen train nerf`.

use std::sync::Arc;

use clap::Args;

use super::camera_of;
use crate::cli::training::{Defaults, ModelArguments, TrainingArguments};
use crate::data::Dataset;
use crate::error::Result;
use crate::models::Model;
use crate::models::nerf::{Background, vanilla};
use crate::nn::schedule::Shape;

#[derive(Debug, Args)]
pub(in crate::cli) struct Nerf {
    #[command(flatten)]
    training: TrainingArguments,
    /// Where rays begin, in the scene's units
    #[arg(long, default_value_t = 2.0)]
    near: f64,
    /// Where rays end
    #[arg(long, default_value_t = 6.0)]
    far: f64,
    /// Samples of a ray by distance
    #[arg(long, default_value_t = 64)]
    coarse: usize,
    /// Samples more where the coarse network finds something; 0 for the coarse network alone
    #[arg(long, default_value_t = 128)]
    fine: usize,
    /// Layers of a network
    #[arg(long, default_value_t = 8)]
    depth: usize,
    /// Units of a layer
    #[arg(long, default_value_t = 256)]
    width: usize,
    /// Layers behind which the points come in again [default: 4, where there is a layer behind it]
    #[arg(long, value_delimiter = ',')]
    skips: Option<Vec<usize>>,
    /// Colours that do not depend on the direction
    #[arg(long)]
    no_view_directions: bool,
    /// Frequencies of the points' encoding; 0 for the points themselves
    #[arg(long, default_value_t = 10)]
    point_octaves: usize,
    /// Frequencies of the directions' encoding
    #[arg(long, default_value_t = 4)]
    direction_octaves: usize,
    /// What lies behind the scene, where pictures are transparent
    #[arg(long, value_enum, default_value_t = Background::White)]
    scene_background: Background,
    /// Samples at equal steps of 1 / distance
    #[arg(long)]
    lindisp: bool,
    /// Rays in normalised device coordinates, for forward-facing scenes; near and far are then 0 and 1
    #[arg(long)]
    ndc: bool,
    /// Standard deviation of noise on densities
    #[arg(long, default_value_t = 0.0)]
    raw_noise: f64,
    /// Steps in which only the middle of the pictures is seen
    #[arg(long, default_value_t = 500)]
    precrop: u64,
}

impl ModelArguments for Nerf {
    fn model(&self, dataset: &Dataset) -> Result<Arc<dyn Model>> {
        let octaves = |n: usize| (n > 0).then_some(n);
        let skips = match &self.skips {
            Some(skips) => skips.clone(),
            None => [4].into_iter().filter(|s| s + 1 < self.depth).collect(),
        };
        Ok(Arc::new(vanilla::Nerf::new(vanilla::Config {
            camera: camera_of(dataset)?,
            near: self.near,
            far: self.far,
            coarse: self.coarse,
            fine: self.fine,
            depth: self.depth,
            width: self.width,
            skips,
            view_directions: !self.no_view_directions,
            point_octaves: octaves(self.point_octaves),
            direction_octaves: octaves(self.direction_octaves),
            background: self.scene_background,
            inverse_distance: self.lindisp,
            ndc: self.ndc,
            raw_noise: self.raw_noise,
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
            learning_rate: 5e-4,
            shape: Shape::Exponential,
            batch: 512,
            steps: Some(200_000),
            ..Defaults::default()
        }
    }

    fn weight(&self) -> (f64, u64) {
        (1.0, self.precrop)
    }
}
