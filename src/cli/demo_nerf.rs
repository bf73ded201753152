//! `wgen demo --nerf`: a radiance field of the scene that the program draws, and how far it is from what is known of that.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::common::{Output, open};
use super::train::drive;
use crate::data::scene::{analytic, path, picture};
use crate::error::{Error, Result};
use crate::evaluate::image_metrics::psnr;
use crate::evaluate::views::Renderer;
use crate::files::{Config, Training, write_synced};
use crate::gpu::Choice;
use crate::models::Model;
use crate::models::nerf::ngp::{self, Ngp};
use crate::report::grid;
use crate::tensor::ImageShape;
use crate::train::Trainer;

/// What its run says that it was trained on.
const NAME: &str = "analytic:100";

/// Steps where none are asked for: about a minute on two cores.
pub(super) const STEPS: u64 = 500;

/// Views that training does not see.
const HELD_OUT: usize = 4;

/// Rays of a step at most.
const BATCH: usize = 4096;

pub(super) fn run(
    output: &Output,
    choice: &Choice,
    out: &Path,
    seed: u64,
    steps: u64,
) -> Result<()> {
    let begin = Instant::now();
    let device = open(output, choice)?;
    if out.join("config.json").exists() {
        let config = crate::files::folder::read_config(out)?;
        if config.data != NAME {
            return Err(Error::format(
                out,
                "has a run that is no demo; choose another --out",
            ));
        }
        std::fs::remove_dir_all(out).map_err(|e| Error::io(out, e))?;
    }
    let scene = analytic::dataset(100, 1);
    output.say(&format!(
        "100 views of spheres and boxes to train on, {HELD_OUT} held out, drawn in {:.1} s",
        begin.elapsed().as_secs_f64()
    ));
    let camera = analytic::camera();
    let model = Arc::new(Ngp::new(ngp::Config {
        log2_entries: 15,
        finest_resolution: 256,
        ..ngp::Config::blender(camera)
    })?);
    let config = Config::new(
        model.clone(),
        scene.shape,
        NAME,
        Training {
            seed,
            ..Training::hash_grid(steps, BATCH)
        },
    );
    let mut trainer = Trainer::new(&device, config, scene, out, false)?;
    let summary = drive(output, &device, &mut trainer, true, None)?;
    if summary.ended == "interrupted" {
        return output.result(&json!({"training": summary}));
    }
    let mut renderer = Renderer::new(&device, model.as_ref(), &trainer.weights()?, &camera)?;
    let held_out = held_out(&mut renderer, model.as_ref())?;
    let shape = ImageShape {
        height: camera.height,
        width: camera.width,
        channels: 3,
    };
    let frames = path::orbit(path::ORBIT_FRAMES, -30.0, analytic::RADIUS)
        .iter()
        .map(|pose| Ok(grid::plain(&renderer.view(pose)?.colour, shape)))
        .collect::<Result<Vec<_>>>()?;
    let orbit = out.join("orbit.gif");
    write_synced(&orbit, &grid::gif(&frames, 80)?)?;
    let seconds = begin.elapsed().as_secs_f64();
    output.say(&format!(
        "held-out views: PSNR {:.2} dB; the depth of what is opaque is {:.2} % off in the median; {:.1} % of the rays that hit something are opaque; {seconds:.0} s in all",
        held_out.psnr,
        100.0 * held_out.depth_error,
        100.0 * held_out.opaque,
    ));
    output.say(&format!("look at {}: once round it", orbit.display()));
    output.result(&json!({
        "psnr": held_out.psnr, "depth_error": held_out.depth_error, "opaque": held_out.opaque, "seconds": seconds,
        "animation": orbit, "training": summary,
    }))
}

/// Figures of views that training did not see.
struct HeldOut {
    psnr: f64,
    /// The median of |depth / true depth - 1| where opacity is above 0.9.
    depth_error: f64,
    /// The share of that among the rays that hit something.
    opaque: f64,
}

fn held_out(renderer: &mut Renderer, model: &dyn Model) -> Result<HeldOut> {
    let camera = *renderer.camera();
    let scene = analytic::dataset(HELD_OUT, 2);
    let poses = scene.views.as_ref().map(|v| v.poses.clone());
    let poses = poses.unwrap_or_default();
    let (mut peak, mut errors, mut hits) = (0.0, Vec::new(), 0_usize);
    for (i, pose) in poses.iter().enumerate() {
        let view = renderer.view(pose)?;
        let colour: Vec<f32> = view.colour.iter().map(|x| x.clamp(0.0, 1.0)).collect();
        if let Some((picture, _)) = picture(&scene, i, model.background().1) {
            peak += psnr(&colour, &picture)? / poses.len() as f64;
        }
        let exact = analytic::depths(&camera, pose);
        for (exact, (depth, opacity)) in exact.iter().zip(view.depth.iter().zip(&view.opacity)) {
            let Some(exact) = exact else { continue };
            hits += 1;
            if *opacity > 0.9 {
                errors.push((f64::from(*depth) / exact.z - 1.0).abs());
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    Ok(HeldOut {
        psnr: peak,
        depth_error: errors.get(errors.len() / 2).copied().unwrap_or(1.0),
        opaque: errors.len() as f64 / hits.max(1) as f64,
    })
}
