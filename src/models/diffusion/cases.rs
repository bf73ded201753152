//! What is verified and timed of it.

use super::inpainting::{Inpainting, RePaint};
use super::process::{self, Density, Edm, Flow, Kind, Prediction, Variance};
use super::samplers::SamplerSettings;
use super::spacing::{SigmaSpacing, Spacing};
use super::{Config, Diffusion, Loss, Network, adm, mlp, unet};
use crate::error::Result;
use crate::kernels::Caps;
use crate::kernels::attention::LARGEST_HEAD;
use crate::models::registry::{CLASSES, Case, IMAGE, Usual, colour};

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
        (
            "perceptron, flow",
            Config {
                prediction: Prediction::Flow,
                process: continuous(Kind::Flow(Flow {
                    shift: 3.0,
                    density: Density::LogitNormal,
                })),
                sampling: own_levels("heun", None),
                ..points(IMAGE.count(), 0)
            },
            5,
        ),
        (
            "perceptron, EDM",
            Config {
                prediction: Prediction::Edm,
                process: continuous(Kind::Edm(Edm::default())),
                sampling: own_levels("dpmpp-2m", Some(SigmaSpacing::Karras)),
                ..points(IMAGE.count(), 0)
            },
            6,
        ),
    ];
    // guided-diffusion's networks. Groups of two channels: of one, gradients of biases before them would be zero, and rounding all that is left.
    let adm = |network: adm::Config, low_res: Option<[usize; 2]>| {
        let network = adm::Config {
            num_res_blocks: 1,
            num_head_channels: Some(4),
            groups: 2,
            ..network
        };
        let unet = adm::UNetConfig {
            low_res,
            ..adm::UNetConfig::of(IMAGE, network)
        };
        Config::of(IMAGE, true, Network::Adm(Box::new(unet)))
    };
    configs.push((
        "ADM 4-8, super-resolution",
        adm(
            adm::Config {
                channel_mult: vec![1.0, 2.0],
                attention_resolutions: vec![2],
                ..adm::Config::of(4)
            },
            Some([14, 7]),
        ),
        3,
    ));
    if !quick {
        configs.push((
            "ADM 4-4-8, time added, plain samplers, v",
            Config {
                prediction: Prediction::Velocity,
                ..adm(
                    adm::Config {
                        channel_mult: vec![0.5, 0.5, 1.0],
                        attention_resolutions: vec![4],
                        use_scale_shift_norm: false,
                        resblock_updown: false,
                        use_new_attention_order: true,
                        ..adm::Config::of(8)
                    },
                    None,
                )
            },
            2,
        ));
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
    let mut cases: Vec<Case> = configs.into_iter().map(step).collect::<Result<_>>()?;
    // Pictures completed: by a sampler that keeps something, and with fresh noise and jumps.
    let jumps = RePaint {
        jump_length: 2,
        jump_n_sample: 2,
    };
    for (name, sampler, repaint) in [
        ("perceptron, completing, unipc", "unipc", None),
        ("perceptron, completing, RePaint", "ddpm", Some(jumps)),
    ] {
        let mut config = points(IMAGE.count(), 0);
        config.sampling.sampler = sampler.to_owned();
        config.sampling.steps = 5;
        let model = Diffusion::new(config)?.inpainting(Inpainting { repaint })?;
        cases.push(Case::sampling(format!("{name}, 3 samples"), model, 3));
    }
    Ok(cases)
}

/// A process without betas.
fn continuous(kind: Kind) -> process::Config {
    process::Config {
        kind,
        ..process::Config::default()
    }
}

/// How it is sampled.
fn own_levels(sampler: &str, sigmas: Option<SigmaSpacing>) -> SamplerSettings {
    SamplerSettings {
        sampler: sampler.to_owned(),
        steps: 6,
        spacing: Spacing::Linspace,
        sigmas,
        ..SamplerSettings::default()
    }
}

pub(super) fn usual() -> Result<Vec<Usual>> {
    Ok(vec![Usual {
        samples: &[16],
        ..Usual::new("diffusion", Diffusion::new(Config::mnist())?, 16)
    }])
}

/// Heads of each size that attention has a body for, in networks of diffusers' kind on colour pictures; and the longest expressions, which
/// the hybrid loss and guidance have.
pub(super) fn further() -> Result<Vec<Usual>> {
    let heads = [
        ("diffusion, heads of 16", 16, 64),
        ("diffusion, heads of 32", 32, 64),
        ("diffusion, heads of 64", 64, 128),
        ("diffusion, heads of 128", 128, 128),
        ("diffusion, heads of 256", 256, 256),
        ("diffusion, heads of 512", 512, 512),
    ];
    let mut all = Vec::new();
    for (name, head, channels) in heads.into_iter().filter(|h| h.1 <= LARGEST_HEAD) {
        let image = colour(32);
        let unet = unet::Config {
            attention_head_dim: Some(head),
            ..unet::Config::of(image, &[channels / 2, channels], 1, &[16])
        };
        let config = Config::of(image, true, Network::Unet(Box::new(unet)));
        all.push(Usual {
            samples: &[16],
            ..Usual::new(name, Diffusion::new(config)?, 16)
        });
    }
    let unet = unet::Config {
        num_class_embeds: Some(CLASSES + 1),
        out_channels: 2,
        resnet_time_scale_shift: "scale_shift".to_owned(),
        ..unet::Config::of(IMAGE, &[32, 32, 64], 1, &[])
    };
    let guided = Config {
        variance: Variance::LearnedRange,
        loss: Loss::Hybrid,
        classes: CLASSES,
        null_share: 0.1,
        sampling: SamplerSettings {
            guidance: 2.0,
            ..Default::default()
        },
        ..Config::of(IMAGE, true, Network::Unet(Box::new(unet)))
    };
    all.push(Usual {
        samples: &[16],
        ..Usual::new("diffusion, guided, hybrid", Diffusion::new(guided)?, 16)
    });
    let small = adm::Config {
        channel_mult: vec![1.0, 1.0],
        num_res_blocks: 1,
        attention_resolutions: Vec::new(),
        num_head_channels: Some(32),
        ..adm::Config::of(32)
    };
    let larger = adm::UNetConfig {
        low_res: Some([14, 14]),
        ..adm::UNetConfig::of(IMAGE, small)
    };
    let larger = Config::of(IMAGE, true, Network::Adm(Box::new(larger)));
    all.push(Usual {
        samples: &[16],
        ..Usual::new("diffusion, super-resolution", Diffusion::new(larger)?, 16)
    });
    Ok(all)
}
