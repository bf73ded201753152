//! Sampling from a diffusion model, and what else is drawn of a reverse process.

use std::path::Path;

use serde_json::json;

use super::Output;
use super::pictures::picture;
use super::sampling::SampleArguments;
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::evaluate::{Evaluator, FEWEST, Samples, Start};
use crate::files::folder::write_synced;
use crate::files::weights::{Tensors, read_tensors, write_tensors};
use crate::files::{Config, ModelConfig};
use crate::graph::layout::{Init, Parameter};
use crate::models::diffusion::Diffusion;
use crate::report::grid;
use crate::session::Device;

/// Samples that can be watched while they become: as many as a sampler always has at a time.
const WATCHED: usize = FEWEST;

/// Rows of a picture of chains, and pictures in a row.
const CHAINS: usize = 8;
const MOMENTS: usize = 10;

/// `wgen sample` of a diffusion model.
pub(super) fn sample(
    output: &Output,
    device: &Device,
    config: &Config,
    weights: &[Vec<f32>],
    arguments: &SampleArguments,
    n: usize,
) -> Result<()> {
    let ModelConfig::Diffusion(own) = &config.model else {
        return Err(Error::Usage("no diffusion model".to_owned()));
    };
    if arguments.filters || arguments.traverse || arguments.manifold {
        return Err(Error::Usage(
            "--filters, --traverse and --manifold are for models with codes; a diffusion model has none"
                .to_owned(),
        ));
    }
    let process = &arguments.process;
    let watched = process.chain.is_some() || process.gif.is_some();
    if watched && n > WATCHED {
        return Err(Error::Usage(format!(
            "--n {n}: with --chain or --gif at most {WATCHED} samples"
        )));
    }
    let model = Diffusion::new(own.as_ref().clone())?;
    let mut evaluator = Evaluator::new(device, &model, weights, n, arguments.seed)?;
    let runs = model.steps().len();
    let mut columns = Vec::new();
    let start = match (&process.init_noise, &process.data) {
        (Some(path), _) => Start {
            x: Some(noise_of(path, config, n)?),
            runs_done: 0,
        },
        (None, Some(spec)) => {
            if !(process.strength > 0.0 && process.strength <= 1.0) {
                return Err(Error::Usage(format!(
                    "--strength {} must be above 0 and at most 1",
                    process.strength
                )));
            }
            let examples = examples(spec, config, n)?;
            let done = runs - ((runs as f64 * process.strength).round() as usize).clamp(1, runs);
            columns = forward(&model, &examples, done, arguments.seed)?;
            Start {
                x: Some(model.noised(&examples, done, arguments.seed)?.data.to_f32()),
                runs_done: done,
            }
        }
        (None, None) => Start::default(),
    };
    let side = (n as f64).sqrt().ceil() as usize;
    let mut film = grid::Film::default();
    let steps = runs - start.runs_done;
    let samples = evaluator.samples_from(
        &model,
        n,
        arguments.class,
        &start,
        &mut |left, executable| {
            let at = steps - left;
            // The ends and what lies at equal distances between them.
            let moment = |count: usize| (at * count) / steps != ((at - 1) * count) / steps;
            if (process.gif.is_some() && moment(60)) || (process.chain.is_some() && moment(MOMENTS))
            {
                let images = executable.read("images")?.data.to_f32();
                if process.gif.is_some() && moment(60) {
                    film.push(picture(&images, config, side));
                }
                if process.chain.is_some() && moment(MOMENTS) {
                    columns.push(images);
                }
            }
            Ok(())
        },
    )?;
    let picture = grid::png(&picture(&samples.images, config, side))?;
    write_synced(&arguments.out, &picture)?;
    if let Some(path) = &process.gif {
        write_synced(path, &grid::gif(film.frames(), 60)?)?;
    }
    if let Some(path) = &process.chain {
        write_synced(path, &grid::png(&chain(&columns, config, n))?)?;
    }
    if let Some(path) = &arguments.save_tensor {
        save_tensor(path, samples, config, n)?;
    }
    output.say(&format!(
        "{n} images in {}, {steps} steps",
        arguments.out.display()
    ));
    output.result(&json!({"samples": n, "steps": steps, "file": arguments.out}))
}

/// The samples as they are, and what the process has at its end.
fn save_tensor(path: &Path, samples: Samples, config: &Config, n: usize) -> Result<()> {
    let image = config.image;
    let shape = vec![n, image.channels, image.height, image.width];
    let x = border(&samples.x, config, n, true);
    let images = (vec![n, image.count()], samples.images);
    let tensors = Tensors::from([("images".to_owned(), images), ("x".to_owned(), (shape, x))]);
    write_tensors(path, &tensors)
}

/// Images between the order of files, `[n, channels, height, width]`, and the device's.
fn border(values: &[f32], config: &Config, n: usize, to_file: bool) -> Vec<f32> {
    let image = config.image;
    let shape = [n, image.height, image.width, image.channels];
    let tensor = Parameter::new("x", shape, Init::Constant(0.0)).with_border(&[0, 3, 1, 2]);
    if to_file {
        tensor.to_border(values)
    } else {
        tensor.from_border(values)
    }
}

/// The noise that a caller brings.
fn noise_of(path: &Path, config: &Config, n: usize) -> Result<Vec<f32>> {
    let tensors = read_tensors(path)?;
    let image = config.image;
    let wanted = [n, image.channels, image.height, image.width];
    match tensors.get("noise") {
        None => Err(Error::format(
            path,
            format!(
                "has no tensor 'noise'; it has {}",
                tensors.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        )),
        Some((shape, _)) if *shape != wanted => Err(Error::format(
            path,
            format!("noise is {shape:?}; for --n {n} of this model it must be {wanted:?}"),
        )),
        Some((_, values)) => Ok(border(values, config, n, false)),
    }
}

/// The first held-out examples of a data set, in the range of models.
fn examples(spec: &crate::data::Spec, config: &Config, n: usize) -> Result<Vec<f32>> {
    // A folder's images become what the model has.
    let options = crate::data::images::Options {
        size: Some(config.image.height as u32),
        grey: config.image.channels == 1,
    };
    let dataset = spec.load(Part::Test, &options)?;
    if dataset.shape != config.image || dataset.rows() < n {
        return Err(Error::Usage(format!(
            "--data has {} examples of {:?}; {n} of {:?} are wanted",
            dataset.rows(),
            dataset.shape,
            config.image
        )));
    }
    let dataset = dataset.select(&(0..n).collect::<Vec<_>>());
    let (scale, shift) = dataset.scaling();
    let values = dataset.values.to_f32();
    Ok(values.into_iter().map(|x| x * scale + shift).collect())
}

/// How examples are lost, to the step that the reverse process begins with: columns of a chain.
fn forward(model: &Diffusion, examples: &[f32], last: usize, seed: u64) -> Result<Vec<Vec<f32>>> {
    let runs = model.steps().len();
    let mut columns = vec![examples.to_vec()];
    for i in 1..MOMENTS {
        let step = runs - 1 - (runs - 1 - last) * i / (MOMENTS - 1);
        let x = model.noised(examples, step, seed)?.data.to_f32();
        let pixels = model.config().pixels;
        let shown = |x: f32| if pixels { 0.5 * x + 0.5 } else { x };
        columns.push(x.into_iter().map(shown).collect());
    }
    Ok(columns)
}

/// A row for each of the first samples, or of points a picture for each moment.
fn chain(columns: &[Vec<f32>], config: &Config, n: usize) -> image::RgbImage {
    let width = config.image.count();
    if config.image.height == 1 {
        let each: Vec<_> = columns.iter().map(|c| picture(c, config, 1)).collect();
        return grid::beside(&each);
    }
    let rows = (0..n.min(CHAINS)).flat_map(|i| {
        columns
            .iter()
            .flat_map(move |c| c[i * width..(i + 1) * width].iter().copied())
    });
    picture(&rows.collect::<Vec<f32>>(), config, columns.len())
}
