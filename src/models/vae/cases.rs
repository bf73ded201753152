//! What is verified and timed of it.

use super::{Config, Decoder, Vae};
use crate::error::Result;
use crate::graph::update::Rule;
use crate::kernels::Caps;
use crate::models::registry::{CLASSES, Case, IMAGE, Usual, colour};
use crate::program::PlanOptions;

/// The VAE: Bernoulli and Gaussian decoders, sizes that are no multiple of four, clipping, EMA, without subgroups, convolutional,
/// conditional.
pub(super) fn cases(caps: &Caps, quick: bool) -> Result<Vec<Case>> {
    let model = |hidden: &[usize], latent, decoder| {
        Vae::new(Config {
            width: 784,
            hidden: hidden.to_vec(),
            latent,
            decoder,
            ..Config::mnist()
        })
    };
    let small = || model(&[36], 5, Decoder::Bernoulli);
    let with = |options: PlanOptions| -> Result<Case> {
        Ok(Case {
            options,
            ..Case::new(format!("36-5 batch 13, {options:?}"), small()?, 13)
        })
    };
    let rmsprop = Rule::Rmsprop {
        alpha: 0.99,
        epsilon: 1e-8,
        momentum: 0.9,
        decay: 0.01,
    };
    let usual = PlanOptions::default();
    let mut steps = vec![
        Case {
            max_norm: 1.0,
            ..Case::new("36-5 batch 13, clipped", small()?, 13)
        },
        Case {
            rule: rmsprop,
            ..Case::new(
                "24-17-2 batch 8, Gaussian, RMSprop",
                model(&[24, 17], 2, Decoder::Gaussian)?,
                8,
            )
        },
        with(PlanOptions {
            subgroups: false,
            ..usual
        })?,
        // One example: products with one row are reductions.
        Case::new("36-5 batch 1", small()?, 1),
        Case::new(
            "convolutional 4-6, conditional, batch 5",
            Vae::new(Config {
                hidden: Vec::new(),
                channels: vec![4, 6],
                image: Some(IMAGE),
                latent: 5,
                classes: CLASSES,
                ..Config::mnist()
            })?,
            5,
        ),
    ];
    if !quick {
        let full = || model(&[400], 20, Decoder::Bernoulli);
        steps.push(Case::new("400-20 batch 128", full()?, 128));
        steps.push(Case::new("400-20 batch 1", full()?, 1));
        steps.push(with(PlanOptions {
            fuse: false,
            ..usual
        })?);
        steps.push(Case::new(
            "36-5, conditional, batch 9",
            Vae::new(Config {
                hidden: vec![36],
                latent: 5,
                classes: CLASSES,
                ..Config::mnist()
            })?,
            9,
        ));
    }
    if caps.f16 {
        let options = PlanOptions {
            half: true,
            ..usual
        };
        steps.push(Case {
            max_norm: 1.0,
            options,
            ..Case::new("36-5 batch 16, f16", small()?, 16)
        });
        steps.push(Case {
            options,
            ..Case::new(
                "64-32-4 batch 16, Gaussian, f16",
                model(&[64, 32], 4, Decoder::Gaussian)?,
                16,
            )
        });
    }
    // Activations larger than a binding: every kernel of the step on ranges of its tensors.
    let cut = PlanOptions {
        binding_bytes: Some(64 << 10),
        ..usual
    };
    steps.push(Case {
        options: cut,
        ..Case::new(
            "64-8 batch 64, ranges",
            model(&[64], 8, Decoder::Bernoulli)?,
            64,
        )
    });
    Ok(steps)
}

pub(super) fn usual() -> Result<Vec<Usual>> {
    Ok(vec![Usual {
        title: "VAE 784-400-20",
        large: Some(1024),
        samples: &[1, 64],
        ..Usual::new("vae", Vae::new(Config::mnist())?, 128)
    }])
}

/// Convolutions on colour pictures, conditional, with the decoder that colour has.
pub(super) fn further() -> Result<Vec<Usual>> {
    let image = colour(64);
    let config = Config {
        width: image.count(),
        hidden: Vec::new(),
        channels: vec![32, 64, 128],
        image: Some(image),
        latent: 128,
        classes: CLASSES,
        decoder: Decoder::Gaussian,
        ..Config::mnist()
    };
    let model = Vae::new(config)?;
    Ok(vec![Usual {
        samples: &[64],
        ..Usual::new("vae of 64x64", model, 64)
    }])
}
