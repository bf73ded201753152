//! What is verified and timed of it.

use super::{Background, Config, Loss, Ngp};
use crate::data::scene::analytic;
use crate::error::Result;
use crate::graph::update::Rule;
use crate::kernels::Caps;
use crate::models::registry::{Case, Usual};

/// Both losses, with room for all rays and for some.
pub(super) fn cases(_caps: &Caps, quick: bool) -> Result<Vec<Case>> {
    let small = Config {
        levels: 3,
        features: 2,
        log2_entries: 8,
        base_resolution: 4,
        finest_resolution: 16,
        width: 12,
        outputs: 5,
        grid: 16,
        steps: 24,
        capacity: 1500,
        target_samples: 1200,
        ..Config::blender(analytic::camera())
    };
    let rule = Rule::Adam {
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-15,
        decay: 0.0,
    };
    let of = |name: &str, config: Config, batch: usize| -> Result<Case> {
        Ok(Case {
            rule,
            ..Case::new(name, Ngp::new(config)?, batch)
        })
    };
    let around = Config {
        half_side: 6.0,
        cascades: 3,
        octave_steps: 16,
        grid: 8,
        exposures: 3,
        ..small.clone()
    };
    let mut cases = vec![
        of("3 levels of 2, 16^3 cells, batch 67", small.clone(), 67)?,
        of("3 x 8^3 cells, octaves of 16 steps, exposures", around, 35)?,
    ];
    if !quick {
        let full = Config {
            capacity: 200,
            target_samples: 150,
            background: Background::White,
            loss: Loss::L2,
            features: 4,
            ..small
        };
        cases.push(of("room for some rays, L2, white, batch 40", full, 40)?);
    }
    Ok(cases)
}

/// The settings that Blender's scenes are learned with.
pub(super) fn usual() -> Result<Vec<Usual>> {
    let config = Config::blender(analytic::camera());
    Ok(vec![Usual::new("ngp", Ngp::new(config)?, 4096)])
}
