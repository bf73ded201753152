//! Arguments of `wgen train` that belong to one model, a file each.

use clap::Subcommand;

use super::training::ModelArguments;
use crate::data::Dataset;
use crate::data::scene::Camera;
use crate::error::{Error, Result};
use crate::models::Model;
use crate::models::diffusion::{Diffusion, Network};

mod adm;
mod adm_network;
mod ae;
mod classifier;
mod continuous;
mod contractive_ae;
mod corruption;
mod diffusion;
mod forward;
mod gan;
mod nerf;
mod ngp;
mod reverse;
mod sparse_ae;
pub(super) mod usual;
mod vae;

/// Makes each model's arguments a command: one line a model.
macro_rules! models {
    ($($(#[$help:meta])* $file:ident :: $model:ident,)*) => {
        /// A model to be trained.
        #[derive(Debug, Subcommand)]
        pub(super) enum Command {
            $($(#[$help])* $model(Box<$file::$model>),)*
        }

        impl Command {
            /// Its name, as configurations have it.
            pub(super) fn name(&self) -> String {
                if let Some(name) = self.arguments().variant() {
                    return name.to_owned();
                }
                match self {
                    $(Self::$model(_) => stringify!($file).replace('_', "-"),)*
                }
            }

            /// Its arguments.
            pub(super) fn arguments(&self) -> &dyn ModelArguments {
                match self {
                    $(Self::$model(arguments) => arguments.as_ref(),)*
                }
            }
        }
    };
}

models! {
    /// The variational autoencoder (Kingma & Welling 2013); 784-400-20 on 28x28 images by default
    vae::Vae,
    /// The autoencoder (Hinton & Salakhutdinov 2006); 784-1000-500-250-30 on 28x28 images by default
    ae::Ae,
    /// A generative adversarial network (Goodfellow et al. 2014): DCGAN on images, perceptrons on points
    gan::Gan,
    /// A diffusion model (Ho et al. 2020): a U-Net on images, a perceptron on points
    diffusion::Diffusion,
    /// A diffusion model of images with the U-Net of Dhariwal & Nichol 2021 (guided-diffusion), or its super-resolution
    adm::Adm,
    /// A radiance field by two networks, coarse and fine (Mildenhall et al. 2020), of posed pictures
    nerf::Nerf,
    /// A radiance field by a hash grid (Müller et al. 2022), of posed pictures
    ngp::Ngp,
    /// The classifier in whose features samples are judged (pytorch/examples' MNIST); noised, the one that guides diffusion models
    classifier::Classifier,
    /// A sparse autoencoder: a code of 1024 units of which few are active, by L1, KL or top-k
    sparse_ae::SparseAe,
    /// The contractive autoencoder (Rifai et al. 2011); tied weights, a sigmoid code of 256 by default
    contractive_ae::ContractiveAe,
}

/// Models that a command trains where an option asks for them, by their names in configurations, and what is typed for them.
const VARIANTS: [(&str, &str); 1] = [("noised-classifier", "classifier --noised")];

/// The name of what trains such a model: its own, but for those that other commands than their namesake make.
pub(super) fn trained_as(model: &dyn Model) -> &'static str {
    let diffusion = model.as_any().downcast_ref::<Diffusion>();
    match diffusion.map(|d| &d.config().network) {
        Some(Network::Adm(_)) => "adm",
        _ => model.name(),
    }
}

/// What is typed behind `wgen train` for the model that configurations call `name`.
pub(super) fn typed(name: &str) -> &str {
    let variant = VARIANTS.iter().find(|(variant, _)| *variant == name);
    variant.map_or(name, |(_, typed)| typed)
}

/// The classes of data that a model is to be conditional on, or to tell apart.
fn classes_of(dataset: &Dataset) -> Result<usize> {
    match dataset.classes() {
        0 => Err(Error::Usage(format!(
            "{} has no labels, which this model needs; use digits, idx:DIR, or images:DIR with a subfolder a class",
            dataset.name
        ))),
        classes => Ok(classes),
    }
}

/// The camera of posed pictures.
fn camera_of(dataset: &Dataset) -> Result<Camera> {
    let views = dataset.views.as_ref().ok_or_else(|| {
        Error::Usage(format!(
            "{} is no posed pictures, which this model needs; use scene:DIR or analytic",
            dataset.name
        ))
    })?;
    Ok(views.camera())
}
