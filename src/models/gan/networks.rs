//! Generators and discriminators: perceptrons, and DCGAN (Radford et al. 2015).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::models::autoencoder::check_widths;
use crate::nn::{Activation, Sequential};
use crate::tensor::ImageShape;

/// The kind of both networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Networks {
    /// Linear layers of these widths, relu in the generator, leaky relu in the discriminator.
    Mlp {
        /// Widths of the hidden layers.
        hidden: Vec<usize>,
    },
    /// DCGAN: transposed convolutions with batch normalisation, and their mirror image.
    Dcgan {
        /// Channels before the generator's last layer; they double with each layer towards the noise.
        generator_channels: usize,
        /// Channels after the discriminator's first layer; they double with each layer.
        discriminator_channels: usize,
        /// Whether the discriminator has batch normalisation. A gradient penalty wants none.
        discriminator_norm: bool,
    },
}

/// Sides that DCGAN reaches: 4 or 7 pixels, doubled as often as there are layers.
const SIDES: &str =
    "8, 16, 32, 64, 128, 256 (4 pixels doubled) and 14, 28, 56, 112, 224 (7 doubled)";

/// The side of the first image and the number of times that it is doubled to reach `image`.
pub(super) fn doublings(image: ImageShape) -> Result<(usize, usize)> {
    let side = image.height;
    let reached = [4_usize, 7].into_iter().find_map(|first| {
        let times = (1..=6).find(|&n| first << n == side)?;
        (first << times <= 256).then_some((first, times))
    });
    match reached {
        Some(found) if image.width == side => Ok(found),
        _ => Err(Error::Usage(format!(
            "gan: DCGAN cannot reach {}x{} images; it can make squares of {SIDES} pixels: resize with `size`",
            image.height, image.width
        ))),
    }
}

impl Networks {
    pub(super) fn check(&self, image: ImageShape, latent: usize, classes: usize) -> Result<()> {
        match self {
            Self::Mlp { hidden } => {
                let mut widths = vec![("the image", image.count() + classes)];
                widths.extend(hidden.iter().map(|&h| ("hidden", h)));
                widths.push(("latent", latent + classes));
                check_widths("gan", &widths)
            }
            Self::Dcgan {
                generator_channels,
                discriminator_channels,
                ..
            } => {
                doublings(image)?;
                let sizes = [
                    ("channels", *generator_channels),
                    ("channels", *discriminator_channels),
                    ("latent", latent),
                    ("image channels", image.channels),
                ];
                match sizes.iter().find(|(_, s)| *s == 0 || *s > 4096) {
                    Some((name, size)) => Err(Error::Usage(format!(
                        "gan: {name} {size} must be from 1 to 4096"
                    ))),
                    None => Ok(()),
                }
            }
        }
    }

    /// From noise (and classes) to images; `end` after the last layer.
    pub(super) fn generator(
        &self,
        image: ImageShape,
        inputs: usize,
        end: Activation,
    ) -> Result<Sequential> {
        let prefix = "generator.main";
        match self {
            Self::Mlp { hidden } => {
                let mut widths = vec![inputs];
                widths.extend(hidden);
                widths.push(image.count());
                Ok(Sequential::dense(prefix, &widths, Activation::Relu, end))
            }
            Self::Dcgan {
                generator_channels, ..
            } => {
                let (first, times) = doublings(image)?;
                let mut channels = generator_channels << (times - 1);
                let mut net = Sequential::new(prefix)
                    .conv_transpose2d(inputs, channels, [first, 1, 0], false)
                    .batch_norm(channels)
                    .activation(Activation::Relu);
                for _ in 1..times {
                    net = net
                        .conv_transpose2d(channels, channels / 2, [4, 2, 1], false)
                        .batch_norm(channels / 2)
                        .activation(Activation::Relu);
                    channels /= 2;
                }
                Ok(net
                    .conv_transpose2d(channels, image.channels, [4, 2, 1], false)
                    .activation(end)
                    .with_normal_weights(0.02))
            }
        }
    }

    /// From images (and planes of classes) to one logit.
    pub(super) fn discriminator(&self, image: ImageShape, classes: usize) -> Result<Sequential> {
        let prefix = "discriminator.main";
        match self {
            Self::Mlp { hidden } => {
                let mut widths = vec![image.count() + classes];
                widths.extend(hidden.iter().rev());
                widths.push(1);
                let (between, end) = (Activation::LeakyRelu, Activation::Identity);
                Ok(Sequential::dense(prefix, &widths, between, end))
            }
            Self::Dcgan {
                discriminator_channels,
                discriminator_norm,
                ..
            } => {
                let (first, times) = doublings(image)?;
                let mut channels = *discriminator_channels;
                let mut net = Sequential::new(prefix)
                    .conv2d(image.channels + classes, channels, [4, 2, 1], false)
                    .activation(Activation::LeakyRelu);
                for _ in 1..times {
                    net = net.conv2d(channels, channels * 2, [4, 2, 1], false);
                    channels *= 2;
                    if *discriminator_norm {
                        net = net.batch_norm(channels);
                    }
                    net = net.activation(Activation::LeakyRelu);
                }
                Ok(net
                    .conv2d(channels, 1, [first, 1, 0], false)
                    .with_normal_weights(0.02))
            }
        }
    }
}
