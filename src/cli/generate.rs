//! `wgen sample`, `reconstruct`, `interpolate`, `encode`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::train::{load, picture};
use super::{DataArguments, Output, RunArguments, open};
use crate::data::Dataset;
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::gpu::Choice;
use crate::models::vae;
use crate::report::grid;
use crate::train::evaluate::Evaluator;
use crate::train::weights::{Tensors, write_tensors};

#[derive(Debug, Args)]
pub(super) struct SampleArguments {
    #[command(flatten)]
    run: RunArguments,
    /// How many
    #[arg(long, default_value_t = 64)]
    n: usize,
    /// The picture
    #[arg(long)]
    out: PathBuf,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Instead of random codes, a grid over a 2-D latent space: equal steps in probability (Kingma & Welling 2013, figure 4)
    #[arg(long)]
    manifold: bool,
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
    /// Also write what the model decodes from mu
    #[arg(long)]
    reconstructions: bool,
    /// The file: tensors mu and log_variance, and labels where there are any
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
    let (config, weights) = load(&arguments.run.folder, &device)?;
    let model = config.build()?;
    let mut evaluator = Evaluator::new(&device, &model, &weights, n, arguments.seed)?;
    let side = (n as f64).sqrt().ceil() as usize;
    let images = if arguments.manifold {
        if model.config().latent != 2 {
            let latent = model.config().latent;
            return Err(Error::Usage(format!(
                "--manifold needs a latent size of 2; this model has {latent}"
            )));
        }
        let z = vae::manifold_codes(side);
        evaluator.once(&model.decoding(side * side), vec![("z", z)], "images", 0)?
    } else {
        evaluator.once(&model.sampler(n), Vec::new(), "images", 0)?
    };
    grid::save(
        &picture(&images.data.to_f32(), &config, side),
        &arguments.out,
    )?;
    output.say(&format!(
        "{} samples in {}",
        images.shape.dims()[0],
        arguments.out.display()
    ));
    output.result(&json!({"samples": images.shape.dims()[0], "file": arguments.out}))
}

/// Inputs, reconstructions and codes of a data set.
struct Encoded {
    inputs: Vec<f32>,
    images: Vec<f32>,
    mu: Vec<f32>,
    log_variance: Vec<f32>,
}

fn encoded(evaluator: &mut Evaluator, model: &vae::Vae, dataset: &Dataset) -> Result<Encoded> {
    let mut all = Encoded {
        inputs: Vec::new(),
        images: Vec::new(),
        mu: Vec::new(),
        log_variance: Vec::new(),
    };
    let names = ["inputs", "images", "mu", "log_variance"];
    evaluator.over(
        dataset,
        1,
        |data, batch| model.encoding(data, batch),
        &names,
        |_, real, values| {
            let targets = [
                &mut all.inputs,
                &mut all.images,
                &mut all.mu,
                &mut all.log_variance,
            ];
            for (target, value) in targets.into_iter().zip(values) {
                let width = value.shape.dims()[1];
                target.extend(&value.data.to_f32()[..real * width]);
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
    let mut evaluator = Evaluator::new(&device, &model, &weights, n, 0)?;
    let all = encoded(&mut evaluator, &model, &dataset)?;
    let (columns, width) = (16.min(n), config.image.count());
    let mut rows = Vec::new();
    for first in (0..n).step_by(columns) {
        let range = first * width..(first + columns).min(n) * width;
        for values in [&all.inputs, &all.images] {
            rows.extend_from_slice(&values[range.clone()]);
            rows.resize(rows.len().next_multiple_of(columns * width), 0.0);
        }
    }
    grid::save(&picture(&rows, &config, columns), &arguments.out)?;
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
    let mut evaluator = Evaluator::new(&device, &model, &weights, 2, 0)?;
    let mu = encoded(&mut evaluator, &model, &ends)?.mu;
    let z = vae::codes_between(&mu, n);
    let images = evaluator.once(&model.decoding(n), vec![("z", z)], "images", 0)?;
    grid::save(&picture(&images.data.to_f32(), &config, n), &arguments.out)?;
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
    let mut evaluator = Evaluator::new(&device, &model, &weights, 128, 0)?;
    let all = encoded(&mut evaluator, &model, &dataset)?;
    let (rows, latent) = (dataset.rows(), model.config().latent);
    let mut tensors = Tensors::new();
    tensors.insert("mu".to_owned(), (vec![rows, latent], all.mu));
    tensors.insert(
        "log_variance".to_owned(),
        (vec![rows, latent], all.log_variance),
    );
    if let Some(labels) = &dataset.labels {
        tensors.insert(
            "labels".to_owned(),
            (vec![rows], labels.iter().map(|&l| l as f32).collect()),
        );
    }
    if arguments.reconstructions {
        tensors.insert(
            "reconstructions".to_owned(),
            (vec![rows, config.image.count()], all.images),
        );
    }
    write_tensors(&arguments.out, &tensors)?;
    output.say(&format!(
        "codes of {rows} examples in {}",
        arguments.out.display()
    ));
    output.result(&json!({"examples": rows, "latent": latent, "file": arguments.out}))
}
