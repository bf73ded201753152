//! What is verified and timed of it.

use super::{Background, Config, Nerf};
use crate::data::scene::analytic;
use crate::error::Result;
use crate::kernels::Caps;
use crate::models::registry::{Case, Usual};

/// Coarse and fine, with and without directions, noise, a skip; and the paper's networks on few rays.
pub(super) fn cases(_caps: &Caps, quick: bool) -> Result<Vec<Case>> {
    let small = Config {
        coarse: 5,
        fine: 6,
        depth: 3,
        width: 20,
        skips: vec![0],
        point_octaves: Some(4),
        direction_octaves: Some(2),
        ..Config::blender(analytic::camera())
    };
    let mut cases = vec![Case::new(
        "3 x 20, 5 + 6 samples, batch 13",
        Nerf::new(small.clone())?,
        13,
    )];
    if !quick {
        let plain = Config {
            fine: 0,
            view_directions: false,
            point_octaves: None,
            background: Background::Random,
            raw_noise: 1.0,
            inverse_distance: true,
            ..small.clone()
        };
        let name = "coarse alone, no directions, noise, 1 / distance, batch 7";
        cases.push(Case::new(name, Nerf::new(plain)?, 7));
        let ndc = Config {
            near: 0.0,
            far: 1.0,
            ndc: true,
            ..small
        };
        cases.push(Case::new("NDC, batch 9", Nerf::new(ndc)?, 9));
        let paper = Nerf::new(Config::blender(analytic::camera()))?;
        let name = "8 x 256 of the paper, 64 + 128 samples, batch 2";
        cases.push(Case::new(name, paper, 2));
    }
    Ok(cases)
}

/// A network of the paper's depth on fewer samples.
pub(super) fn usual() -> Result<Vec<Usual>> {
    let config = Config {
        coarse: 32,
        fine: 32,
        depth: 4,
        width: 128,
        skips: Vec::new(),
        ..Config::blender(analytic::camera())
    };
    Ok(vec![Usual::new("nerf", Nerf::new(config)?, 256)])
}
