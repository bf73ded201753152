//! A radiance field's figures: how far its views are from pictures that it has not seen.

use serde_json::json;

use super::common::Output;
use super::reading::Given;
use crate::data::scene::{self, Camera, picture};
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
    /// Of a view that has the picture's mean colour everywhere: what a field must be better than where nothing is transparent.
    mean_colour: f64,
}

/// What of a view's picture counts: a mask's pixels do neither for nor against.
struct Counted<'a> {
    picture: &'a [f32],
    learned: &'a [bool],
    /// Pixels that count.
    pixels: usize,
}

impl Counted<'_> {
    /// A view as it is compared: in [0, 1], and as the picture where nothing counts.
    fn masked(&self, view: impl IntoIterator<Item = f32>) -> Vec<f32> {
        let values = view.into_iter().zip(self.picture).enumerate();
        let value = |(i, (x, truth)): (usize, (f32, &f32))| match self.learned[i / 3] {
            true => x.clamp(0.0, 1.0),
            false => *truth,
        };
        values.map(value).collect()
    }

    /// Of a masked view; the mean of squares is of the pixels that count.
    fn psnr(&self, view: &[f32]) -> Result<f64> {
        let fewer = 10.0 * (self.pixels as f64 / self.learned.len() as f64).log10();
        Ok(psnr(view, self.picture)? + fewer)
    }

    /// Of one colour everywhere.
    fn psnr_of(&self, colour: [f32; 3]) -> Result<f64> {
        self.psnr(&self.masked(colour.repeat(self.learned.len())))
    }

    fn mean_colour(&self) -> [f32; 3] {
        let pixels = self.picture.chunks_exact(3).zip(self.learned);
        let mut sums = [0.0; 3];
        for (pixel, _) in pixels.filter(|(_, counts)| **counts) {
            for (sum, x) in sums.iter_mut().zip(pixel) {
                *sum += f64::from(*x);
            }
        }
        sums.map(|sum| (sum / self.pixels as f64) as f32)
    }
}

/// What draws the views of any camera, those of one size one after another: there may be as many sizes as views.
#[derive(Default)]
struct Renderers(Option<Renderer>);

impl Renderers {
    fn of(&mut self, device: &Device, run: &Run, camera: &Camera) -> Result<&mut Renderer> {
        let size = |c: &Camera| (c.width, c.height);
        let there = self.0.take();
        let renderer = match there.filter(|r| size(r.camera()) == size(camera)) {
            Some(renderer) => renderer,
            None => Renderer::new(device, run.model(), run.weights(), camera)?,
        };
        let renderer = self.0.insert(renderer);
        renderer.set_camera(camera)?;
        Ok(renderer)
    }
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
    let (name, behind) = model.background();
    let mut renderers = Renderers::default();
    let mut figures = Vec::new();
    // Spread evenly, the first and the last among them.
    let chosen = (0..count).map(|i| (i * (all - 1) + (count - 1) / 2) / (count - 1).max(1));
    let mut chosen: Vec<usize> = chosen.collect();
    chosen.sort_by_key(|&view| (views.cameras[view].width, views.cameras[view].height));
    for view in chosen {
        let camera = &views.cameras[view];
        let renderer = renderers.of(device, run, camera)?;
        let seen = renderer.view(&views.poses[view])?;
        let (picture, shape) = picture(&given.data, view, behind).ok_or_else(no_views)?;
        let learned = scene::seen(&given.data, view).ok_or_else(no_views)?;
        let counted = Counted {
            picture: &picture,
            pixels: learned.iter().filter(|seen| **seen).count().max(1),
            learned: &learned,
        };
        let colour = counted.masked(seen.colour.iter().copied());
        let found = Figures {
            name: views.names[view].clone(),
            psnr: counted.psnr(&colour)?,
            ssim: ssim(&colour, &picture, shape)?,
            background: counted.psnr_of(behind.map(|x| f32::from(x) / 255.0))?,
            mean_colour: counted.psnr_of(counted.mean_colour())?,
        };
        output.say(&format!(
            "{}: PSNR {:.2} dB, SSIM {:.4}",
            found.name, found.psnr, found.ssim
        ));
        figures.push(found);
    }
    let mean = |of: fn(&Figures) -> f64| figures.iter().map(of).sum::<f64>() / count as f64;
    let (peak, likeness, none) = (mean(|f| f.psnr), mean(|f| f.ssim), mean(|f| f.background));
    let flat = mean(|f| f.mean_colour);
    let worst = figures.iter().min_by(|a, b| a.psnr.total_cmp(&b.psnr));
    let worst = worst.map(|f| (f.name.as_str(), f.psnr)).unwrap_or_default();
    output.say(&format!(
        "{count} of {all} views over {name}, means: PSNR {peak:.3} dB, SSIM {likeness:.4}; worst {} with {:.2} dB; {name} alone {none:.2} dB, each view's mean colour {flat:.2} dB",
        worst.0, worst.1
    ));
    let each: Vec<_> = figures
        .iter()
        .map(|f| json!({"view": f.name, "psnr": f.psnr, "ssim": f.ssim, "mean_colour_psnr": f.mean_colour}))
        .collect();
    output.result(&json!({
        "views": count,
        "of": all,
        "background": name,
        "psnr": peak,
        "ssim": likeness,
        "background_psnr": none,
        "mean_colour_psnr": flat,
        "worst": {"view": worst.0, "psnr": worst.1},
        "each": each,
        "part": given.json(),
        "device": device.name(),
    }))
}
