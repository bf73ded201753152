//! What is verified and timed of it.

use super::{Classifier, Config};
use crate::error::Result;
use crate::kernels::Caps;
use crate::models::registry::{CLASSES, Case, IMAGE, Usual};

pub(super) fn cases(_caps: &Caps, _quick: bool) -> Result<Vec<Case>> {
    let config = Config {
        channels: [4, 8],
        features: 14,
        ..Config::mnist(IMAGE, CLASSES)
    };
    Ok(vec![Case::new(
        "4-8-14, batch 6",
        Classifier::new(config)?,
        6,
    )])
}

pub(super) fn usual() -> Result<Vec<Usual>> {
    let model = Classifier::new(Config::mnist(IMAGE, CLASSES))?;
    Ok(vec![Usual::new("classifier", model, 64)])
}
