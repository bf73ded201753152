//! What is verified and timed of it.

use super::{Classifier, Config};
use crate::error::Result;
use crate::kernels::Caps;
use crate::models::registry::{CLASSES, Case, IMAGE, Usual};
use crate::program::PlanOptions;

pub(super) fn cases(caps: &Caps, _quick: bool) -> Result<Vec<Case>> {
    let model = |channels: [usize; 2], features| {
        Classifier::new(Config {
            channels,
            features,
            ..Config::mnist(IMAGE, CLASSES)
        })
    };
    let mut cases = vec![Case::new("4-8-14, batch 6", model([4, 8], 14)?, 6)];
    if caps.matrix_units > 0 {
        // Products and convolutions that a block of either size fits into.
        cases.push(Case {
            options: PlanOptions {
                half_products: true,
                ..PlanOptions::default()
            },
            ..Case::new("16-20-24, batch 16, matrix units", model([16, 20], 24)?, 16)
        });
    }
    Ok(cases)
}

pub(super) fn usual() -> Result<Vec<Usual>> {
    let model = Classifier::new(Config::mnist(IMAGE, CLASSES))?;
    Ok(vec![Usual::new("classifier", model, 64)])
}
