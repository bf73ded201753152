//! `wgen sample`

use serde_json::json;

use super::pictures::{check_count, load, picture};
use super::sampling::SampleArguments;
use super::{Output, open, reverse};
use crate::error::{Error, Result};
use crate::evaluate::Evaluator;
use crate::files::ModelConfig;
use crate::files::folder::write_synced;
use crate::files::weights::{Tensors, write_tensors};
use crate::gpu::Choice;
use crate::models::vae;
use crate::report::grid;
use crate::tensor::Value;

pub(super) fn run(output: &Output, choice: &Choice, arguments: &SampleArguments) -> Result<()> {
    let n = check_count(arguments.n)?;
    let device = open(output, choice)?;
    let (mut config, weights) = load(&arguments.run.folder, &device)?;
    arguments.sampling.apply(&mut config.model)?;
    if let ModelConfig::Diffusion(_) = config.model {
        return reverse::sample(output, &device, &config, &weights, arguments, n);
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
