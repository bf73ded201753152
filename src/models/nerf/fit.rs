//! Whether a radiance field fits its views, its device, and after a while what it has to learn.

use super::ngp::Config;
use crate::data::scene::Views;
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

/// Views whose rays are looked at, and rays of each along a picture's side: odd, so that the middle is among them.
const VIEWS_TRIED: usize = 64;
const RAYS_TRIED: usize = 9;

/// Below this share of rays that meet the box, a training says so.
const FEW: f64 = 0.05;

/// Half the side of the least cube around the origin that a ray meets: the least of max(|x|, |y|, |z|) along it, which is convex.
fn least_cube(origin: [f64; 3], direction: [f64; 3]) -> f64 {
    let norm = |v: [f64; 3]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let at = |t: f64| (0..3).fold(0.0_f64, |m, i| m.max((origin[i] + t * direction[i]).abs()));
    // Behind that it is farther from the origin, in each sense, than where it begins.
    let (mut low, mut high) = (0.0, 3.0 * norm(origin) / norm(direction));
    for _ in 0..80 {
        let third = (high - low) / 3.0;
        if at(low + third) < at(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    at(0.5 * (low + high)).min(at(0.0))
}

/// Refuses views of which no ray meets the box of half side `half_side` around the origin, and warns of views of which few do.
pub(super) fn check_box(model: &str, views: &Views, half_side: f64) -> Result<()> {
    let camera = &views.camera;
    let all = views.poses.len();
    let tried = all.min(VIEWS_TRIED);
    let mut cubes = Vec::with_capacity(tried * RAYS_TRIED * RAYS_TRIED);
    for i in 0..tried {
        let pose = &views.poses[i * all / tried];
        let turned =
            |d: [f64; 3]| [0, 1, 2].map(|r| (0..3).map(|c| pose.0[4 * r + c] * d[c]).sum());
        for place in 0..RAYS_TRIED * RAYS_TRIED {
            let along = |n: usize, size: usize| (n as f64 + 0.5) / RAYS_TRIED as f64 * size as f64;
            let x = along(place % RAYS_TRIED, camera.width);
            let y = along(place / RAYS_TRIED, camera.height);
            cubes.push(least_cube(pose.position(), turned(camera.direction(x, y))));
        }
    }
    cubes.sort_unstable_by(f64::total_cmp);
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
