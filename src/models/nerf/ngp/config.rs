//! What an ngp is built from.

use serde::{Deserialize, Serialize};

use super::super::rays::{self, Background};
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;
use crate::kernels::march::March;

/// The error of a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Loss {
    /// e^2 up to 0.1, then 0.2 |e| - 0.01 (instant-ngp's Huber loss).
    #[default]
    Huber,
    /// e^2.
    L2,
}

/// What an ngp is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The pictures' camera.
    pub camera: Camera,
    /// Half the side of the box that holds the scene, around the origin: 1.5 of Blender's.
    pub half_side: f32,
    /// Levels of the table.
    pub levels: usize,
    /// Features of an entry: 1, 2, 4 or 8.
    pub features: usize,
    /// Base-2 logarithm of the most entries of a level.
    pub log2_entries: u32,
    /// Vertices along a side of the coarsest level.
    pub base_resolution: u32,
    /// Of the finest.
    pub finest_resolution: u32,
    /// Units of a hidden layer.
    pub width: usize,
    /// Outputs of the density's network, the first of which is ln of the density.
    pub outputs: usize,
    /// Cells along a side of the occupancy grid.
    pub grid: usize,
    /// Occupancy grids over boxes in one another, each twice as large as the one before it, the last of half side `half_side`: 1 of an object on its
    /// own, more of a scene that goes on around it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub cascades: usize,
    /// Steps along the diagonal of the box, of several the innermost.
    pub steps: usize,
    /// Steps until a step becomes twice as long, and so on, where there are several boxes; 0 for steps of one length.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub octave_steps: usize,
    /// Rows of samples in a step.
    pub capacity: usize,
    /// Samples of a step that the number of rays is aimed at.
    pub target_samples: usize,
    /// What lies behind the scene.
    pub background: Background,
    /// What is minimised.
    pub loss: Loss,
    /// Added to the gradient of matrices, times their values.
    pub weight_decay: f32,
    /// Views whose pictures were exposed differently, each with factors of red, green and blue of its own that are learned; 0 where all were alike.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub exposures: usize,
}

fn one() -> usize {
    1
}

fn is_one(x: &usize) -> bool {
    *x == 1
}

fn is_zero(x: &usize) -> bool {
    *x == 0
}

impl Config {
    /// The settings that learn Blender's scenes at 200 x 200 on a CPU: 3 million features.
    pub fn blender(camera: Camera) -> Self {
        Self {
            camera,
            half_side: 1.5,
            levels: 8,
            features: 4,
            log2_entries: 17,
            base_resolution: 16,
            finest_resolution: 512,
            width: 64,
            outputs: 16,
            grid: 64,
            cascades: 1,
            steps: 256,
            octave_steps: 0,
            capacity: Self::room_for(1 << 14),
            target_samples: 1 << 14,
            background: Background::Random,
            loss: Loss::Huber,
            weight_decay: 1e-6,
            exposures: 0,
        }
    }

    /// The same for a scene that goes on around the camera: that box as the innermost of so many, each twice as large as the one before it, table and steps
    /// as they need. More boxes than there can be are refused by [`Ngp::new`](super::Ngp::new).
    pub fn around(camera: Camera, cascades: usize) -> Self {
        let usual = Self::blender(camera);
        if cascades <= 1 {
            return Self { cascades, ..usual };
        }
        let doubled = 1_u32 << (cascades.min(March::MOST_CASCADES) - 1);
        Self {
            half_side: usual.half_side * doubled as f32,
            finest_resolution: usual.finest_resolution * doubled,
            cascades,
            // A ray through all of them has few enough samples that many rays fit a step.
            steps: usual.steps / 2,
            octave_steps: 64,
            ..usual
        }
    }

    /// Rows for a step that is aimed at so many samples: a little more, for rays of the next step may be longer than the last one's. Every
    /// row costs its share of the step, and rays that do not fit are only left out.
    pub fn room_for(samples: usize) -> usize {
        samples.saturating_add(samples / 32)
    }

    /// Refuses what is no model, or absurd, before anything is allocated. What concerns the table and the grid alone is refused by them.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        rays::check_camera("ngp", &self.camera)?;
        let bounded = |name: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::Usage(format!(
                "ngp: {name} is {value}; it must be from {least} to {most}"
            )))
        };
        bounded("width", self.width, 1, 4096)?;
        bounded("outputs", self.outputs, 1, 256)?;
        let most = self.steps.saturating_mul(self.cascades);
        let most = most.min(March::MOST_STEPS).max(self.steps);
        bounded("capacity", self.capacity, most.max(64), 1 << 24)?;
        bounded("target_samples", self.target_samples, 1, self.capacity)?;
        if !(self.half_side.is_finite() && self.half_side > 0.0) {
            return Err(Error::Usage(format!(
                "ngp: half_side {} must be above 0",
                self.half_side
            )));
        }
        if !(0.0..=1.0).contains(&self.weight_decay) {
            return Err(Error::field(
                "weight_decay",
                format!("{} must be from 0 to 1", self.weight_decay),
            ));
        }
        Ok(())
    }
}
