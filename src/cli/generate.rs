//! `wgen sample`, `reconstruct`, `interpolate`, `encode`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::reverse::{ProcessArguments, SamplingArguments};
use super::train::{load, pairs, picture};
use super::{DataArguments, Output, RunArguments, open};
use crate::data::Dataset;
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::files::ModelConfig;
use crate::files::folder::write_synced;
use crate::files::weights::{Tensors, write_tensors};
use crate::gpu::Choice;
use crate::models::{Model, vae};
use crate::report::grid;
use crate::tensor::Value;

#[derive(Debug, Args)]
pub(super) struct SampleArguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    pub(super) process: ProcessArguments,
    /// How many
    #[arg(long, default_value_t = 64)]
    n: usize,
    /// The picture
    #[arg(long)]
    pub(super) out: PathBuf,
    /// Also write the samples as they are and the noise that they were made of, tensors images and z of this safetensors file; of a
    /// diffusion model images and x, what the process has at its end, [n, channels, height, width]
    #[arg(long, value_name = "FILE")]
    pub(super) save_tensor: Option<PathBuf>,
    /// Instead of samples, what single units of the code stand for: the filters of a sparse autoencoder
    #[arg(long, conflicts_with_all = ["manifold", "traverse", "class"])]
    pub(super) filters: bool,
    /// Instead of random codes, a row for each of the first units of the code: it goes from -3 to 3, the others stay 0
    #[arg(long, conflicts_with = "manifold")]
    pub(super) traverse: bool,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Instead of random codes, a grid over a 2-D latent space: equal steps in probability (Kingma & Welling 2013, figure 4)
    #[arg(long)]
    pub(super) manifold: bool,
    /// Samples of this class alone, of a conditional model; otherwise the classes take turns. Of a diffusion model with a null class, the
    /// one after the last is that
    #[arg(long)]
    pub(super) class: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct ReconstructArguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    data: DataArguments,
    /// How many
    #[arg(long, default_value_t = 32)]
    n: usize,
    /// The picture: inputs above, reconstructions below
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct InterpolateArguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    data: DataArguments,
    /// The example to begin at
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// The example to end at
    #[arg(long, default_value_t = 1)]
    to: usize,
    /// Pictures on the way, both ends included
    #[arg(long, default_value_t = 10)]
    n: usize,
    /// The picture
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct EncodeArguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    data: DataArguments,
    /// The training part instead of the held-out one
    #[arg(long)]
    training_part: bool,
    /// Also write what the model decodes from them
    #[arg(long)]
    reconstructions: bool,
    /// The file: the codes (of a VAE mu and log_variance), and labels where there are any
    #[arg(long)]
    out: PathBuf,
}

/// The most pictures in one grid.
const MAX_PICTURES: usize = 10_000;

fn check_count(n: usize) -> Result<usize> {
    if n == 0 || n > MAX_PICTURES {
        return Err(Error::Usage(format!(
            "--n {n} must be from 1 to {MAX_PICTURES}"
        )));
    }
    Ok(n)
}

pub(super) fn sample(output: &Output, choice: &Choice, arguments: &SampleArguments) -> Result<()> {
    let n = check_count(arguments.n)?;
    let device = open(output, choice)?;
    let (mut config, weights) = load(&arguments.run.folder, &device)?;
    arguments.sampling.apply(&mut config.model)?;
    if let ModelConfig::Diffusion(_) = config.model {
        return super::reverse::sample(output, &device, &config, &weights, arguments, n);
    }
    arguments.process.refuse()?;
    let model = config.build()?;
    let mut evaluator = Evaluator::new(&device, model.as_ref(), &weights, n, arguments.seed)?;
    let side = (n as f64).sqrt().ceil() as usize;
    let images = if arguments.filters {
        let filters = model.filters().ok_or_else(|| {
            Error::Usage(format!(
                "--filters: a {} model has no filters to draw",
                model.name()
            ))
        })?;
        let all = evaluator.once(&filters, Vec::new(), "images", 0)?;
        first_filters(&all, n)?
    } else if arguments.traverse {
        let latent = match model.latent() {
            Some(latent) => latent,
            None => return model.decoding(1).map(drop),
        };
        let rows = latent.min(TRAVERSED);
        let mut inputs = model.class_inputs(rows * side, arguments.class, 0)?;
        inputs.push(("z", traversal(latent, rows, side)?));
        evaluator.once(&model.decoding(rows * side)?, inputs, "images", 0)?
    } else if arguments.manifold {
        match model.latent() {
            Some(2) => {}
            Some(latent) => {
                return Err(Error::Usage(format!(
                    "--manifold needs a latent size of 2; this model has {latent}"
                )));
            }
            None => return model.decoding(1).map(drop),
        }
        let mut inputs = model.class_inputs(side * side, arguments.class, 0)?;
        inputs.push(("z", vae::manifold_codes(side)));
        evaluator.once(&model.decoding(side * side)?, inputs, "images", 0)?
    } else {
        let samples = evaluator.samples(model.as_ref(), n, arguments.class)?;
        Value::f32([n, samples.images.len() / n], samples.images)?
    };
    let drawn = picture(&images.data.to_f32(), &config, side);
    write_synced(&arguments.out, &grid::png(&drawn)?)?;
    if let Some(path) = &arguments.save_tensor {
        let tensor = |value: &Value| (value.shape.dims().to_vec(), value.data.to_f32());
        let mut tensors = Tensors::from([("images".to_owned(), tensor(&images))]);
        let from_codes = arguments.filters || arguments.traverse || arguments.manifold;
        if !from_codes && model.latent().is_some() {
            let inputs = model.class_inputs(n, arguments.class, 0)?;
            let z = evaluator.once(&model.sampler(n)?, inputs, "z", 0)?;
            tensors.insert("z".to_owned(), tensor(&z));
        }
        write_tensors(path, &tensors)?;
    }
    output.say(&format!(
        "{} images in {}",
        images.shape.dims()[0],
        arguments.out.display()
    ));
    output.result(&json!({"samples": images.shape.dims()[0], "file": arguments.out}))
}

/// The most rows of a traversal.
const TRAVERSED: usize = 16;

/// Codes of `rows` lines of `steps`: line i moves unit i from -3 to 3.
fn traversal(latent: usize, rows: usize, steps: usize) -> Result<Value> {
    let mut codes = vec![0.0; rows * steps * latent];
    for row in 0..rows {
        for step in 0..steps {
            let place = step as f32 / (steps.max(2) - 1) as f32;
            codes[(row * steps + step) * latent + row] = 6.0 * place - 3.0;
        }
    }
    Value::f32([rows * steps, latent], codes)
}

/// The first `n` filters, each stretched so that 0 is grey and the largest of its pixels black or white.
fn first_filters(all: &Value, n: usize) -> Result<Value> {
    let width = all.shape.dims()[1];
    let values = all.data.to_f32();
    let n = n.min(all.shape.dims()[0]);
    let stretch = |filter: &[f32]| -> Vec<f32> {
        let largest = filter.iter().fold(1e-12_f32, |m, x| m.max(x.abs()));
        filter.iter().map(|x| 0.5 + 0.5 * x / largest).collect()
    };
    let stretched = values.chunks_exact(width).take(n).flat_map(stretch);
    Value::f32([n, width], stretched.collect())
}

/// Outputs of the model's encoding graph for a data set: the size of a row, and the rows.
pub(super) fn encoded(
    evaluator: &mut Evaluator,
    model: &dyn Model,
    dataset: &Dataset,
    names: &[&str],
) -> Result<Vec<(usize, Vec<f32>)>> {
    let mut all = vec![(0, Vec::new()); names.len()];
    evaluator.over(
        dataset,
        1,
        |data, batch| model.encoding(data, batch),
        names,
        |_, real, values| {
            for ((size, taken), value) in all.iter_mut().zip(values) {
                *size = value.shape.dims()[1];
                taken.extend_from_slice(&value.data.to_f32()[..real * *size]);
            }
        },
    )?;
    Ok(all)
}

pub(super) fn reconstruct(
    output: &Output,
    choice: &Choice,
    arguments: &ReconstructArguments,
) -> Result<()> {
    let n = check_count(arguments.n)?;
    let dataset = arguments.data.load(Part::Test)?;
    let device = open(output, choice)?;
    let (config, weights) = load(&arguments.run.folder, &device)?;
    let model = config.build()?;
    let n = n.min(dataset.rows());
    let dataset = dataset.select(&(0..n).collect::<Vec<_>>());
    let mut evaluator = Evaluator::new(&device, model.as_ref(), &weights, n, 0)?;
    let columns = 16.min(n);
    let rows = pairs(&mut evaluator, model.as_ref(), &dataset, columns)?;
    let drawn = picture(&rows, &config, columns);
    write_synced(&arguments.out, &grid::png(&drawn)?)?;
    output.say(&format!(
        "{n} inputs and their reconstructions in {}",
        arguments.out.display()
    ));
    output.result(&json!({"images": n, "file": arguments.out}))
}

pub(super) fn interpolate(
    output: &Output,
    choice: &Choice,
    arguments: &InterpolateArguments,
) -> Result<()> {
    let n = check_count(arguments.n)?.max(2);
    let dataset = arguments.data.load(Part::Test)?;
    for (name, example) in [("--from", arguments.from), ("--to", arguments.to)] {
        if example >= dataset.rows() {
            return Err(Error::Usage(format!(
                "{name} {example}: the data has {} examples",
                dataset.rows()
            )));
        }
    }
    let device = open(output, choice)?;
    let (config, weights) = load(&arguments.run.folder, &device)?;
    let model = config.build()?;
    let ends = dataset.select(&[arguments.from, arguments.to]);
    let mut evaluator = Evaluator::new(&device, model.as_ref(), &weights, 2, 0)?;
    let codes = model.codes();
    let first = codes.first().copied().unwrap_or("code");
    let (_, code) = encoded(&mut evaluator, model.as_ref(), &ends, &[first])?.remove(0);
    let inputs = vec![("z", vae::codes_between(&code, n))];
    let images = evaluator.once(&model.decoding(n)?, inputs, "images", 0)?;
    let drawn = picture(&images.data.to_f32(), &config, n);
    write_synced(&arguments.out, &grid::png(&drawn)?)?;
    output.say(&format!(
        "{n} steps from {} to {} in {}",
        arguments.from,
        arguments.to,
        arguments.out.display()
    ));
    output.result(&json!({"images": n, "file": arguments.out}))
}

pub(super) fn encode(output: &Output, choice: &Choice, arguments: &EncodeArguments) -> Result<()> {
    let part = if arguments.training_part {
        Part::Training
    } else {
        Part::Test
    };
    let dataset = arguments.data.load(part)?;
    let device = open(output, choice)?;
    let (config, weights) = load(&arguments.run.folder, &device)?;
    let model = config.build()?;
    let mut evaluator = Evaluator::new(&device, model.as_ref(), &weights, 128, 0)?;
    let mut names = model.codes();
    if arguments.reconstructions {
        names.push("images");
    }
    let all = encoded(&mut evaluator, model.as_ref(), &dataset, &names)?;
    let rows = dataset.rows();
    let sizes: Vec<usize> = all.iter().map(|(size, _)| *size).collect();
    let mut tensors = Tensors::new();
    for (name, (size, values)) in names.into_iter().zip(all) {
        let name = if name == "images" {
            "reconstructions"
        } else {
            name
        };
        tensors.insert(name.to_owned(), (vec![rows, size], values));
    }
    if let Some(labels) = &dataset.labels {
        tensors.insert(
            "labels".to_owned(),
            (vec![rows], labels.iter().map(|&l| l as f32).collect()),
        );
    }
    write_tensors(&arguments.out, &tensors)?;
    output.say(&format!(
        "codes of {rows} examples in {}",
        arguments.out.display()
    ));
    let latent = sizes.first();
    output.result(&json!({"examples": rows, "latent": latent, "file": arguments.out}))
}
