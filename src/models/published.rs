//! The networks that guided-diffusion published, and models of networks like them.
//!
//! A file of theirs holds weights and nothing else. Names and shapes say most of what the network is; what they leave open, heads and their
//! order, the schedule, the size of images, is known of the files that were published, which the number of their parameters identifies, and has
//! to be said of others: a network with the wrong heads loads without an error and draws mush.
//!
//! ```
//! use wgen::models::published::{ALL, Untold};
//!
//! let of_64 = ALL.iter().find(|p| p.parameters == 295_904_454).unwrap();
//! assert_eq!((of_64.name, of_64.untold.image_size), ("64x64_diffusion", Some(64)));
//! // What is said counts before what is known.
//! let untold = Untold { dropout: Some(0.0), ..Untold::default() }.or(of_64.untold);
//! assert_eq!((untold.dropout, untold.num_head_channels), (Some(0.0), Some(64)));
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diffusion::adm::{self, Kind, Shapes};
use super::diffusion::process::{self, BetaSchedule, Variance};
use super::diffusion::samplers::SamplerSettings;
use super::diffusion::spacing::Spacing;
use super::diffusion::{self, Diffusion, Loss, Network};
use super::model::Model;
use super::noised_classifier::{self, NoisedClassifier, Pool};
use crate::error::{Error, Result};
use crate::tensor::ImageShape;

/// What names and shapes do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Untold {
    /// Height and width of images.
    pub image_size: Option<usize>,
    /// Channels of a head of attention.
    pub num_head_channels: Option<usize>,
    /// Heads of attention, where their channels are not given.
    pub num_heads: Option<usize>,
    /// Whether rows of `qkv` lie queries first, then keys, then values, and not head by head.
    pub use_new_attention_order: Option<bool>,
    /// How betas grow, of T = 1000.
    pub beta_schedule: Option<BetaSchedule>,
    /// Height and width of the images beside x, of super-resolution.
    pub low_res: Option<usize>,
    /// Residual blocks of a level, of classifiers.
    pub num_res_blocks: Option<usize>,
    /// Share of activations that training drops.
    pub dropout: Option<f32>,
}

impl Untold {
    /// The same, and what is not said as `other` says it. Heads are taken from one of them.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let heads = match (self.num_head_channels, self.num_heads) {
            (None, None) => (other.num_head_channels, other.num_heads),
            own => own,
        };
        Self {
            image_size: self.image_size.or(other.image_size),
            num_head_channels: heads.0,
            num_heads: heads.1,
            use_new_attention_order: self
                .use_new_attention_order
                .or(other.use_new_attention_order),
            beta_schedule: self.beta_schedule.or(other.beta_schedule),
            low_res: self.low_res.or(other.low_res),
            num_res_blocks: self.num_res_blocks.or(other.num_res_blocks),
            dropout: self.dropout.or(other.dropout),
        }
    }
}

/// A file that guided-diffusion published.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Its name, without the ending.
    pub name: &'static str,
    /// Numbers in all of its tensors: no two files have as many, but those of one network trained on different pictures.
    pub parameters: usize,
    /// What its names and shapes do not say.
    pub untold: Untold,
}

const fn published(name: &'static str, parameters: usize, untold: Untold) -> Published {
    Published {
        name,
        parameters,
        untold,
    }
}

/// Heads of 64 channels head by head, linear betas.
const fn usual(image_size: usize) -> Untold {
    Untold {
        image_size: Some(image_size),
        num_head_channels: Some(64),
        num_heads: None,
        use_new_attention_order: Some(false),
        beta_schedule: Some(BetaSchedule::Linear),
        low_res: None,
        num_res_blocks: None,
        dropout: Some(0.0),
    }
}

const fn four_heads(image_size: usize) -> Untold {
    Untold {
        num_head_channels: None,
        num_heads: Some(4),
        ..usual(image_size)
    }
}

const fn classifier(image_size: usize, num_res_blocks: usize) -> Untold {
    Untold {
        num_res_blocks: Some(num_res_blocks),
        ..usual(image_size)
    }
}

/// All of them (`README.md` of guided-diffusion 22e0df8; its flags for sampling).
pub const ALL: &[Published] = &[
    published(
        "64x64_diffusion",
        295_904_454,
        Untold {
            use_new_attention_order: Some(true),
            beta_schedule: Some(BetaSchedule::Cosine),
            dropout: Some(0.1),
            ..usual(64)
        },
    ),
    published("128x128_diffusion", 421_529_606, four_heads(128)),
    published("256x256_diffusion", 553_838_086, usual(256)),
    published("256x256_diffusion_uncond", 552_814_086, usual(256)),
    published("512x512_diffusion", 558_997_638, usual(512)),
    published(
        "64_256_upsampler",
        311_795_910,
        Untold {
            low_res: Some(64),
            ..four_heads(256)
        },
    ),
    published(
        "128_512_upsampler",
        308_835_270,
        Untold {
            low_res: Some(128),
            ..usual(512)
        },
    ),
    published(
        "64x64_classifier",
        65_438_568,
        Untold {
            beta_schedule: Some(BetaSchedule::Cosine),
            ..classifier(64, 4)
        },
    ),
    published("128x128_classifier", 42_568_040, classifier(128, 2)),
    published("256x256_classifier", 54_096_360, classifier(256, 2)),
    published("512x512_classifier", 54_448_360, classifier(512, 2)),
];

/// Whether tensors of these names and shapes are those of a network of guided-diffusion.
pub fn is_adm(tensors: &BTreeMap<&str, &[usize]>) -> bool {
    ["time_embed.0.weight", "input_blocks.0.0.weight"]
        .iter()
        .all(|name| tensors.contains_key(name))
}

/// The model whose weights are tensors of these names and shapes, and the published file that they are, as far as it is one. What
/// `untold` says counts before what is known of that file.
///
/// # Errors
/// When something is left open, naming all of it; when a network so told does not fit together.
pub fn model(
    tensors: &BTreeMap<&str, &[usize]>,
    untold: Untold,
) -> Result<(Arc<dyn Model>, Option<&'static Published>)> {
    let parameters: usize = tensors.values().map(|s| s.iter().product::<usize>()).sum();
    let known = ALL.iter().find(|p| p.parameters == parameters);
    let untold = untold.or(known.map(|p| p.untold).unwrap_or_default());
    let shapes = Shapes::of(tensors, untold.num_res_blocks);
    let of_unet = tensors
        .keys()
        .any(|name| name.starts_with("output_blocks."));
    let open = left_open(&untold, of_unet);
    let (Some(size), Some(new_order), Some(beta_schedule), []) = (
        untold.image_size,
        untold.use_new_attention_order,
        untold.beta_schedule,
        &open[..],
    ) else {
        return Err(Error::Usage(format!(
            "has {parameters} parameters in {} tensors, as none of the files that guided-diffusion published; its names and shapes leave open how \
             it was made: convert it, saying {}",
            tensors.len(),
            open.join(", ")
        )));
    };
    let shapes = shapes?;
    let network = adm::Config {
        num_head_channels: untold.num_head_channels,
        num_heads: untold.num_heads.unwrap_or(1),
        use_new_attention_order: new_order,
        dropout: untold.dropout.unwrap_or(0.0),
        ..shapes.network
    };
    let process = process::Config {
        beta_schedule,
        ..process::Config::default()
    };
    let image = |channels: usize| ImageShape {
        height: size,
        width: size,
        channels,
    };
    let model: Arc<dyn Model> = match shapes.kind {
        Kind::Encoder { classes } => Arc::new(NoisedClassifier::new(noised_classifier::Config {
            process,
            pool: Pool::Attention,
            network,
            ..noised_classifier::Config::of(image(shapes.inputs), classes)
        })?),
        Kind::UNet { classes, outputs } => {
            let beside = if untold.low_res.is_some() { 2 } else { 1 };
            if untold.low_res.is_none() && shapes.inputs == 6 {
                return Err(Error::Usage(
                    "sees 6 channels, two RGB images: say the size of the smaller one, `low_res`"
                        .to_owned(),
                ));
            }
            let unet = adm::UNetConfig {
                out_channels: outputs,
                num_classes: (classes > 0).then_some(classes),
                low_res: untold.low_res.map(|small| [small; 2]),
                ..adm::UNetConfig::of(image(shapes.inputs / beside), network)
            };
            Arc::new(Diffusion::new(diffusing(unet, process))?)
        }
    };
    Ok((model, known))
}

/// What is asked of who knows how a network was made, as messages name it.
fn left_open(untold: &Untold, of_unet: bool) -> Vec<String> {
    let open = [
        ("image_size", untold.image_size.is_none()),
        (
            "num_head_channels` or `num_heads",
            untold.num_head_channels.is_none() && untold.num_heads.is_none(),
        ),
        (
            "use_new_attention_order",
            untold.use_new_attention_order.is_none(),
        ),
        ("beta_schedule", untold.beta_schedule.is_none()),
        (
            "num_res_blocks",
            untold.num_res_blocks.is_none() && !of_unet,
        ),
    ];
    open.into_iter()
        .filter(|(_, open)| *open)
        .map(|(name, _)| format!("`{name}`"))
        .collect()
}

/// The model of a network along a process, sampled as guided-diffusion does with `--timestep_respacing 250`.
fn diffusing(unet: adm::UNetConfig, process: process::Config) -> diffusion::Config {
    let learned = unet.out_channels == 2 * unet.image.channels;
    let (variance, loss) = match learned {
        true => (Variance::LearnedRange, Loss::Hybrid),
        false => (Variance::FixedLarge, Loss::Simple),
    };
    diffusion::Config {
        process,
        variance,
        loss,
        classes: unet.num_classes.unwrap_or(0),
        sampling: SamplerSettings {
            sampler: "ddpm".to_owned(),
            steps: 250,
            spacing: Spacing::Linspace,
            ..SamplerSettings::default()
        },
        ..diffusion::Config::of(unet.image, true, Network::Adm(Box::new(unet)))
    }
}
