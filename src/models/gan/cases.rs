//! What is verified and timed of it.

use super::{Config, Gan, Loss, Networks};
use crate::error::Result;
use crate::kernels::Caps;
use crate::models::model::Model;
use crate::models::registry::{CLASSES, Case, IMAGE, Usual, colour};

/// Both phases of each: losses, normalisations, conditional, and the penalty that differentiates a gradient.
pub(super) fn cases(_caps: &Caps, quick: bool) -> Result<Vec<Case>> {
    let mlp = Config {
        networks: Networks::Mlp {
            hidden: vec![20, 12],
        },
        latent: 5,
        ..Config::for_data(IMAGE, true)
    };
    let dcgan = |norm| Config {
        networks: Networks::Dcgan {
            generator_channels: 4,
            discriminator_channels: 4,
            discriminator_norm: norm,
        },
        latent: 6,
        ..Config::for_data(IMAGE, true)
    };
    let mut configs = vec![
        ("DCGAN 4", dcgan(true)),
        (
            "perceptrons, Wasserstein",
            Config {
                loss: Loss::Wasserstein,
                ..mlp.clone()
            },
        ),
        (
            "perceptrons, minimax, smoothed, spectral norm",
            Config {
                loss: Loss::Minimax,
                smoothing: 0.1,
                spectral_norm: true,
                ..mlp.clone()
            },
        ),
    ];
    if !quick {
        configs.extend([
            (
                "DCGAN 4, conditional, spectral norm, hinge",
                Config {
                    loss: Loss::Hinge,
                    spectral_norm: true,
                    classes: CLASSES,
                    ..dcgan(false)
                },
            ),
            (
                "DCGAN 4, Wasserstein",
                Config {
                    loss: Loss::Wasserstein,
                    ..dcgan(false)
                },
            ),
            (
                "perceptrons, conditional, least squares",
                Config {
                    loss: Loss::LeastSquares,
                    classes: CLASSES,
                    ..mlp
                },
            ),
        ]);
    }
    let mut steps = Vec::new();
    for (name, config) in configs {
        for phase in 0..2 {
            let model = Gan::new(config.clone())?;
            let whose = model.phases()[phase].name;
            steps.push(Case {
                phase,
                ..Case::new(format!("{name}, {whose}, batch 6"), model, 6)
            });
        }
    }
    Ok(steps)
}

pub(super) fn usual() -> Result<Vec<Usual>> {
    let phase = |name, phase| -> Result<Usual> {
        let model = Gan::new(Config::for_data(IMAGE, true))?;
        Ok(Usual {
            phase,
            ..Usual::new(name, model, 16)
        })
    };
    Ok(vec![
        phase("gan-discriminator", 0)?,
        phase("gan-generator", 1)?,
    ])
}

/// DCGAN's own pictures, 64x64 in colour, with pytorch/examples' 64 channels.
pub(super) fn further() -> Result<Vec<Usual>> {
    let phase = |name, phase| -> Result<Usual> {
        let model = Gan::new(Config::for_data(colour(64), true))?;
        Ok(Usual {
            phase,
            samples: &[64],
            ..Usual::new(name, model, 128)
        })
    };
    Ok(vec![
        phase("gan-discriminator of 64x64", 0)?,
        phase("gan-generator of 64x64", 1)?,
    ])
}
