//! What is verified and timed of the autoencoders.

use super::contractive::{self, Contractive};
use super::sparse::{self, Sparse, Sparsity};
use super::{Autoencoder, Config, Corruption};
use crate::error::Result;
use crate::kernels::Caps;
use crate::models::registry::{Case, IMAGE, Usual};
use crate::nn::Activation;

pub(super) fn ae(_caps: &Caps, quick: bool) -> Result<Vec<Case>> {
    let dense = Config {
        hidden: vec![30, 18],
        latent: 7,
        ..Config::deep(IMAGE)
    };
    let convolutional = Config {
        hidden: Vec::new(),
        channels: vec![4, 6],
        ..dense.clone()
    };
    let mut steps = vec![
        Case::new(
            "30-18-7, Gaussian corruption, batch 11",
            Autoencoder::new(Config {
                corruption: Corruption::Gaussian(0.3),
                ..dense.clone()
            })?,
            11,
        ),
        Case::new(
            "convolutional 4-6, batch 6",
            Autoencoder::new(convolutional)?,
            6,
        ),
    ];
    if !quick {
        for corruption in [Corruption::Masking(0.4), Corruption::SaltAndPepper(0.4)] {
            let config = Config {
                corruption,
                activation: Activation::Silu,
                output: Activation::Identity,
                ..dense.clone()
            };
            let name = format!("30-18-7, {corruption:?}, batch 8");
            steps.push(Case::new(name, Autoencoder::new(config)?, 8));
        }
    }
    Ok(steps)
}

pub(super) fn sparse(_caps: &Caps, _quick: bool) -> Result<Vec<Case>> {
    let kinds = [
        Sparsity::L1 { penalty: 0.1 },
        Sparsity::Kl {
            rho: 0.1,
            penalty: 0.5,
        },
        Sparsity::TopK { k: 9 },
    ];
    let step = |sparsity: Sparsity| {
        let config = sparse::Config {
            image: IMAGE,
            latent: 70,
            sparsity,
            revival: 0.2,
            corruption: Corruption::None,
        };
        Ok(Case::new(
            format!("70 units, {sparsity:?}, batch 9"),
            Sparse::new(config)?,
            9,
        ))
    };
    kinds.into_iter().map(step).collect()
}

pub(super) fn contractive(_caps: &Caps, _quick: bool) -> Result<Vec<Case>> {
    let config = |layers: &[usize], norm| contractive::Config {
        layers: layers.to_vec(),
        norm,
        ..contractive::Config::single(IMAGE, 0.1)
    };
    use contractive::Norm::{Exact, Hutchinson};
    let kinds = [
        (&[21][..], Exact),
        (&[18, 10][..], Exact),
        (&[18, 10][..], Hutchinson),
    ];
    let step = |(layers, norm): (&[usize], contractive::Norm)| {
        Ok(Case::new(
            format!("{layers:?}, {norm:?}, batch 7"),
            Contractive::new(config(layers, norm))?,
            7,
        ))
    };
    kinds.into_iter().map(step).collect()
}

pub(super) fn usual_ae() -> Result<Vec<Usual>> {
    let model = Autoencoder::new(Config::deep(IMAGE))?;
    Ok(vec![Usual::new("ae", model, 128)])
}

pub(super) fn usual_sparse() -> Result<Vec<Usual>> {
    let model = Sparse::new(sparse::Config {
        image: IMAGE,
        latent: 1024,
        sparsity: Sparsity::TopK { k: 32 },
        revival: 0.1,
        corruption: Corruption::None,
    })?;
    Ok(vec![Usual::new("sparse-ae", model, 128)])
}

pub(super) fn usual_contractive() -> Result<Vec<Usual>> {
    let model = Contractive::new(contractive::Config::single(IMAGE, 0.03))?;
    Ok(vec![Usual::new("contractive-ae", model, 128)])
}
