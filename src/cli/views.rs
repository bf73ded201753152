//! A radiance field's figures: how far its views are from pictures that it has not seen.

use serde_json::json;

use super::common::Output;
use super::reading::Given;
use crate::data::scene::pictures;
use crate::error::{Error, Result};
use crate::evaluate::image_metrics::{psnr, ssim};
use crate::evaluate::views::Renderer;
use crate::run::Run;
use crate::session::Device;

/// Figures of one view.
struct Figures {
    name: String,
    psnr: f64,
    ssim: f64,
    /// Of a view of nothing but background.
    background: f64,
}

/// `wgen eval` of a radiance field.
pub(super) fn evaluate(
    output: &Output,
    device: &Device,
    run: &Run,
    given: &Given,
    count: Option<usize>,
) -> Result<()> {
    let model = run.model();
    let no_views = || {
        Error::Usage(format!(
            "{} is no posed pictures, which a {} model is evaluated on",
            given.data.name,
            model.name()
        ))
    };
    let views = given.data.views.as_ref().ok_or_else(no_views)?;
    let all = views.poses.len();
    let count = match count {
        Some(count) if count == 0 || count > all => {
            return Err(Error::Usage(format!(
                "--examples {count}: the data has {all} views, so from 1 to that many can be evaluated"
            )));
        }
        Some(count) => count,
        None => all,
    };
    let camera = views.camera;
    let (name, behind) = model.background();
    let mut renderer = Renderer::new(device, model, run.weights(), &camera)?;
    let mut figures = Vec::new();
    for i in 0..count {
        // Spread evenly, the first and the last among them.
        let view = (i * (all - 1) + (count - 1) / 2) / (count - 1).max(1);
        let seen = renderer.view(&views.poses[view])?;
        let (picture, shape) = pictures(&given.data, &[view], behind).ok_or_else(no_views)?;
        let colour: Vec<f32> = seen.colour.iter().map(|x| x.clamp(0.0, 1.0)).collect();
        let nothing = behind.map(|x| f32::from(x) / 255.0).repeat(camera.pixels());
        let found = Figures {
            name: views.names[view].clone(),
            psnr: psnr(&colour, &picture)?,
            ssim: ssim(&colour, &picture, shape)?,
            background: psnr(&nothing, &picture)?,
        };
        output.say(&format!(
            "{}: PSNR {:.2} dB, SSIM {:.4}",
            found.name, found.psnr, found.ssim
        ));
        figures.push(found);
    }
    let mean = |of: fn(&Figures) -> f64| figures.iter().map(of).sum::<f64>() / count as f64;
    let (peak, likeness, none) = (mean(|f| f.psnr), mean(|f| f.ssim), mean(|f| f.background));
    let worst = figures.iter().min_by(|a, b| a.psnr.total_cmp(&b.psnr));
    let worst = worst.map(|f| (f.name.as_str(), f.psnr)).unwrap_or_default();
    output.say(&format!(
        "{count} of {all} views over {name}, means: PSNR {peak:.3} dB, SSIM {likeness:.4}; worst {} with {:.2} dB; {name} alone {none:.2} dB",
        worst.0, worst.1
    ));
    let each: Vec<_> = figures
        .iter()
        .map(|f| json!({"view": f.name, "psnr": f.psnr, "ssim": f.ssim}))
        .collect();
    output.result(&json!({
        "views": count,
        "of": all,
        "background": name,
        "psnr": peak,
        "ssim": likeness,
        "background_psnr": none,
        "worst": {"view": worst.0, "psnr": worst.1},
        "each": each,
        "part": given.json(),
        "device": device.name(),
    }))
}
