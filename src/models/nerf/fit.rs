//! Whether a radiance field fits its views, its device, and after a while what it has to learn.

use super::ngp::Config;
use crate::data::scene::{Views, cubes};
use crate::error::{Error, Result};
use crate::kernels::Caps;
use crate::kernels::hash_encoding::HashGrid;
use crate::models::model::Figures;
use crate::tensor::DType;

/// Steps after which a field that sees no more than the background will hardly see more.
const FOUND_BY: u64 = 500;

/// By how many dB it must be better than the background alone by then.
const FOUND: f64 = 0.5;

/// What to say of a training whose field is empty after [`FOUND_BY`] steps: `remedies` end the sentence "what helps: ".
pub(super) fn empty(step: u64, figures: &Figures, remedies: &str) -> Option<String> {
    let (seen, background) = (figures.get("psnr")?, figures.get("background_psnr")?);
    (step >= FOUND_BY && *seen < background + FOUND).then(|| {
        format!(
            "after {step} steps the field is hardly more than background: PSNR {seen:.2} dB, of the background alone {background:.2} dB. It may \
             have become empty, which it does not leave by itself; what helps: {remedies}"
        )
    })
}

/// Below this share of rays that meet the box, a training says so.
const FEW: f64 = 0.05;

/// Refuses views of which no ray meets the box of half side `half_side` around the origin, and warns of views of which few do.
pub(super) fn check_box(model: &str, views: &Views, half_side: f64) -> Result<()> {
    let cubes = cubes(views);
    let met = cubes.partition_point(|&c| c < half_side);
    let share = met as f64 / cubes.len().max(1) as f64;
    if share >= FEW || cubes.is_empty() {
        return Ok(());
    }
    // To two digits, upwards.
    let wanted = cubes[cubes.len() * 9 / 10];
    let digit = 10_f64.powf(wanted.max(1e-30).log10().floor() - 1.0);
    let wanted = (wanted / digit).ceil() * digit;
    let [least, _, most] = views.distances();
    let message = format!(
        "{half_side} is half the side of a box around the origin which {met} of {} rays that were tried meet; the cameras are {least:.3} to \
         {most:.3} away from the origin. {wanted:.3} would hold what nine rays in ten look at; or move the scene to the origin",
        cubes.len()
    );
    if met == 0 {
        return Err(Error::field("half_side", message));
    }
    log::warn!("{model}: `half_side` {message}");
    Ok(())
}

/// Refuses a hash table that a device cannot bind, and says how many entries it can.
pub(super) fn check_table(config: &Config, table: &HashGrid, caps: &Caps) -> Result<()> {
    if table.check(caps).is_ok() {
        return Ok(());
    }
    let Config {
        levels,
        features,
        log2_entries,
        base_resolution,
        finest_resolution,
        ..
    } = *config;
    let fits = |log2: &u32| {
        HashGrid::new(levels, features, *log2, base_resolution, finest_resolution)
            .is_ok_and(|grid| grid.check(caps).is_ok())
    };
    let hint = match (3..log2_entries).rev().find(fits) {
        Some(log2) => format!("{log2} fits"),
        None => "no number of entries fits: take fewer levels or features".to_owned(),
    };
    Err(Error::field(
        "log2_entries",
        format!(
            "is {log2_entries}: the table of {levels} levels of {features} features has {} MiB, and this device binds {} MiB at once \
             (max_storage_buffer_binding_size); {hint}",
            DType::F32.bytes(table.elements()) >> 20,
            caps.binding_bytes >> 20
        ),
    ))
}
