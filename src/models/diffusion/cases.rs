//! What is verified and timed of it.

use super::process::{Prediction, Variance};
use super::{Config, Diffusion, Loss, Network, mlp, unet};
use crate::error::Result;
use crate::kernels::Caps;
use crate::models::registry::{CLASSES, Case, IMAGE, Usual};

/// The U-Net with all that its configuration may ask for, and the perceptron; each prediction and loss.
pub(super) fn cases(_caps: &Caps, quick: bool) -> Result<Vec<Case>> {
    let unet = |channels: &[usize], attention: &[usize]| unet::Config {
        norm_num_groups: 4,
        attention_head_dim: Some(4),
        ..unet::Config::of(IMAGE, channels, 1, attention)
    };
    let images = |unet: unet::Config| Config::of(IMAGE, true, Network::Unet(Box::new(unet)));
    let points = |outputs: usize, classes: usize| {
        let network = mlp::Config {
            width: IMAGE.count(),
            hidden: 20,
            blocks: 2,
            outputs,
            classes,
        };
        Config::of(IMAGE, true, Network::Mlp(network))
    };
    let mut configs = vec![
        (
            "U-Net 8-12, conditional",
            Config {
                classes: CLASSES,
                null_share: 0.4,
                ..images(unet::Config {
                    num_class_embeds: Some(CLASSES + 1),
                    dropout: 0.1,
                    ..unet(&[8, 12], &[])
                })
            },
            3,
        ),
        (
            "perceptron, v, min-SNR",
            Config {
                prediction: Prediction::Velocity,
                loss: Loss::MinSnr(5.0),
                ..points(IMAGE.count(), 0)
            },
            7,
        ),
        (
            "perceptron, x_0, variational bound",
            Config {
                prediction: Prediction::Sample,
                loss: Loss::Vlb,
                variance: Variance::FixedLarge,
                ..points(IMAGE.count(), 0)
            },
            5,
        ),
    ];
    if !quick {
        configs.push((
            "U-Net 4-8-8, scale-shift, resnet samplers, hybrid",
            Config {
                variance: Variance::LearnedRange,
                loss: Loss::Hybrid,
                ..images(unet::Config {
                    out_channels: 2,
                    // Groups of one channel would make the gradients of biases before them zero, and rounding all that is left.
                    norm_num_groups: 2,
                    resnet_time_scale_shift: "scale_shift".to_owned(),
                    downsample_type: "resnet".to_owned(),
                    upsample_type: "resnet".to_owned(),
                    downsample_padding: 0,
                    flip_sin_to_cos: false,
                    freq_shift: 1.0,
                    ..unet(&[4, 8, 8], &[14])
                })
            },
            2,
        ));
        configs.push((
            "perceptron, conditional, hybrid",
            Config {
                variance: Variance::LearnedRange,
                loss: Loss::Hybrid,
                classes: CLASSES,
                ..points(2 * IMAGE.count(), CLASSES)
            },
            6,
        ));
    }
    let step = |(name, config, batch): (&str, Config, usize)| {
        Ok(Case::new(
            format!("{name}, batch {batch}"),
            Diffusion::new(config)?,
            batch,
        ))
    };
    configs.into_iter().map(step).collect()
}

pub(super) fn usual() -> Result<Vec<Usual>> {
    Ok(vec![Usual {
        samples: &[16],
        ..Usual::new("diffusion", Diffusion::new(Config::mnist())?, 16)
    }])
}
