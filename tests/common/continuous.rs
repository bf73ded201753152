//! Small models of processes that are continuous in their noise.

use wgen::models::DataType;
use wgen::models::diffusion::process::{self, Density, Edm, Flow, Kind, Prediction};
use wgen::models::diffusion::samplers::SamplerSettings;
use wgen::models::diffusion::spacing::{SigmaSpacing, Spacing};
use wgen::models::diffusion::{Config, Network, mlp};
use wgen::tensor::{DType, ImageShape};

use super::sampled::named;

pub(crate) fn of(kind: Kind) -> process::Config {
    process::Config {
        kind,
        ..process::Config::default()
    }
}

pub(crate) fn flow(shift: f64) -> Kind {
    Kind::Flow(Flow {
        shift,
        ..Flow::default()
    })
}

pub(crate) fn edm() -> Kind {
    Kind::Edm(Edm::default())
}

pub(crate) fn settings(sampler: &str, steps: usize) -> SamplerSettings {
    SamplerSettings {
        spacing: Spacing::Linspace,
        ..named(sampler, steps)
    }
}

pub(crate) const SHAPE: ImageShape = ImageShape {
    height: 1,
    width: 2,
    channels: 1,
};

pub(crate) fn points(kind: Kind) -> Config {
    let network = mlp::Config {
        width: 2,
        hidden: 16,
        blocks: 1,
        outputs: 2,
        classes: 0,
    };
    let (prediction, sigmas) = match kind {
        Kind::VariancePreserving => (Prediction::Epsilon, None),
        Kind::Flow(_) => (Prediction::Flow, None),
        Kind::Edm(_) => (Prediction::Edm, Some(SigmaSpacing::Karras)),
    };
    Config {
        process: of(kind),
        prediction,
        sampling: SamplerSettings {
            sigmas,
            ..settings("euler", 6)
        },
        ..Config::of(SHAPE, false, Network::Mlp(network))
    }
}

pub(crate) const BATCH: usize = 5;

pub(crate) fn data() -> DataType {
    DataType {
        rows: BATCH,
        width: 2,
        dtype: DType::F32,
        indices: BATCH,
        scale: 1.0,
        shift: 0.0,
        classes: 0,
        cameras: None,
    }
}

pub(crate) fn kinds() -> [Kind; 4] {
    let often = Kind::Flow(Flow {
        shift: 3.0,
        density: Density::LogitNormal,
    });
    let other = Kind::Edm(Edm {
        sigma_data: 0.8,
        ..Edm::default()
    });
    [flow(1.0), often, edm(), other]
}
