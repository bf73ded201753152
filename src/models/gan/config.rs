//! What a GAN is built from, and what of it is refused.

use serde::{Deserialize, Serialize};

use super::networks::Networks;
use crate::error::{Error, Result};
use crate::tensor::ImageShape;

/// What the two networks play for. D(x) is the sigmoid of the discriminator's logit d(x).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Loss {
    /// Goodfellow et al. 2014, eq. 1: D maximises E ln D(x) + E ln(1 - D(G(z))), G minimises it.
    Minimax,
    /// The same discriminator; G maximises E ln D(G(z)) (section 3 there), whose gradient does not vanish while D wins.
    #[default]
    NonSaturating,
    /// Mao et al. 2017, eq. 9: (d(x) - 1)^2 + d(G(z))^2, halved, against (d(G(z)) - 1)^2, halved.
    LeastSquares,
    /// Lim & Ye 2017: max(0, 1 - d(x)) + max(0, 1 + d(G(z))) against -d(G(z)).
    Hinge,
    /// Arjovsky et al. 2017 with the gradient penalty of Gulrajani et al. 2017, algorithm 1.
    Wasserstein,
}

/// What a GAN is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One example.
    pub image: ImageShape,
    /// Whether examples are pixels in [0, 1]: the networks then have them in [-1, 1], the generator's last layer being a tanh.
    pub pixels: bool,
    /// Both networks.
    pub networks: Networks,
    /// The size of the noise.
    pub latent: usize,
    /// The losses.
    pub loss: Loss,
    /// Updates of the discriminator for one of the generator.
    pub discriminator_steps: usize,
    /// One-sided label smoothing (Salimans et al. 2016): the target of real examples is 1 less this.
    pub smoothing: f32,
    /// Weight of the gradient penalty, of `Wasserstein`.
    pub gradient_penalty: f64,
    /// Whether the discriminator's weights are spectrally normalised (Miyato et al. 2018).
    pub spectral_norm: bool,
    /// Classes that both networks are conditional on; 0 for none.
    pub classes: usize,
}

impl Config {
    /// Perceptrons of the usual size for points in the plane, or DCGAN for images.
    pub fn for_data(image: ImageShape, pixels: bool) -> Self {
        let networks = if pixels {
            Networks::Dcgan {
                generator_channels: 64,
                discriminator_channels: 64,
                discriminator_norm: true,
            }
        } else {
            Networks::Mlp {
                hidden: vec![128, 128, 128],
            }
        };
        Self {
            image,
            pixels,
            networks,
            latent: if pixels { 100 } else { 8 },
            loss: Loss::NonSaturating,
            discriminator_steps: 1,
            smoothing: 0.0,
            gradient_penalty: 10.0,
            spectral_norm: false,
            classes: 0,
        }
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("gan: {why}")));
        self.networks.check(self.image, self.latent, self.classes)?;
        if self.latent == 0 || self.classes > 4096 {
            let (latent, classes) = (self.latent, self.classes);
            return wrong(format!(
                "latent {latent} must be at least 1, classes {classes} at most 4096"
            ));
        }
        if self.discriminator_steps == 0 || self.discriminator_steps > 64 {
            return wrong(format!(
                "{} discriminator steps for one of the generator; there must be 1 to 64",
                self.discriminator_steps
            ));
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            return wrong(format!(
                "label smoothing {} must be in [0, 1)",
                self.smoothing
            ));
        }
        let with_labels = matches!(
            self.loss,
            Loss::Minimax | Loss::NonSaturating | Loss::LeastSquares
        );
        if self.smoothing > 0.0 && !with_labels {
            return wrong(format!(
                "loss {} has no labels to smooth",
                serde_json::json!(self.loss)
            ));
        }
        if !self.gradient_penalty.is_finite() || self.gradient_penalty < 0.0 {
            return wrong(format!(
                "the gradient penalty {} must be a finite number from 0",
                self.gradient_penalty
            ));
        }
        let normalised = matches!(
            self.networks,
            Networks::Dcgan {
                discriminator_norm: true,
                ..
            }
        );
        if self.loss == Loss::Wasserstein && normalised {
            return wrong(
                "the gradient penalty is of each example alone, which batch normalisation mixes; leave it out of the discriminator \
                 (`discriminator_norm` none)"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
