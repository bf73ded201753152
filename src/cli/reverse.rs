//! Sampling from a diffusion model, and what else is drawn of a reverse process.

use serde_json::json;

use super::common::Output;
use super::inpainting;
use super::low_res;
use super::outputs;
use super::reading::{class_of, examples};
use super::sampling::{ProcessArguments, SampleArguments};
use crate::error::{Error, Result};
use crate::evaluate::reverse::{forward, is_moment};
use crate::evaluate::{Evaluator, FEWEST, Start};
use crate::files::weights::{Tensors, images_from_file, images_to_file};
use crate::models::diffusion::Diffusion;
use crate::report::grid;
use crate::run::Run;
use crate::session::{Device, Executable};

/// Samples that can be watched while they become: as many as a sampler always has at a time.
const WATCHED: usize = FEWEST;

/// Rows of a picture of chains, and pictures in a row.
const CHAINS: usize = 8;
const MOMENTS: usize = 10;

/// `wgen sample` of a diffusion model.
pub(super) fn sample(
    output: &Output,
    device: &Device,
    run: &Run,
    arguments: &SampleArguments,
    n: usize,
) -> Result<()> {
    let Some(model) = run.model().as_any().downcast_ref::<Diffusion>() else {
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
    let side = (n as f64).sqrt().ceil() as usize;
    outputs::check_size(arguments.out(), grid::size(n, run.image(), side))?;
    let mut evaluator = Evaluator::of(device, run, n, arguments.seed)?;
    let class = class_of(run, arguments.class.as_deref())?;
    let strength = process.strength()?;
    let mask = process.inpainting.mask(run.image())?;
    let completing = match &mask {
        Some(_) => process.inpainting.apply(model)?,
        None => model.clone(),
    };
    let asked = Asked {
        strength,
        mask: mask.as_deref(),
        n,
        seed: arguments.seed,
    };
    let begun = begin(output, process, run, &completing, &asked)?;
    let (model, mut moments) = (&begun.model, begun.moments);
    let mut film = grid::Film::default();
    let (steps, calls) = (model.step_count(), model.steps().len());
    let mut watch = |left: usize, executable: &dyn Executable| {
        let at = calls - left;
        let in_film = process.gif.is_some() && is_moment(at, calls, 60);
        let in_chain = process.chain.is_some() && is_moment(at, calls, MOMENTS);
        if in_film || in_chain {
            let images = executable.read("images")?.data.to_f32();
            if in_film {
                film.push(grid::picture(&images, run.image(), side));
            }
            if in_chain {
                moments.push(images);
            }
        }
        Ok(())
    };
    let samples = evaluator.samples_from(model, n, class, &begun.start, &mut watch)?;
    let picture = grid::picture(&samples.images, run.image(), side);
    outputs::write_picture(arguments.out(), &picture)?;
    if let Some(path) = &process.gif {
        outputs::write_animation(path, film.frames(), 60)?;
    }
    if let Some(path) = &process.chain {
        let chain = grid::chain(&moments, run.image(), n.min(CHAINS));
        outputs::write_picture(path, &chain)?;
    }
    if let Some(path) = &arguments.save_tensor {
        let images = (vec![n, run.image().count()], samples.images);
        let x = images_to_file(&samples.x, run.image());
        let tensors = Tensors::from([("images".to_owned(), images), ("x".to_owned(), x)]);
        outputs::write_tensors(path, &tensors)?;
    }
    let sampler = &model.config().sampling.sampler;
    let kept = mask.map(|mask| mask.iter().sum::<f32>() / mask.len().max(1) as f32);
    let (made, completed) = match kept {
        Some(kept) => (
            "pictures completed",
            format!(", {:.1} % of each kept", 100.0 * kept),
        ),
        None => ("images", String::new()),
    };
    let jumps = match model.steps_back() {
        0 => String::new(),
        back => format!(", {back} steps back up"),
    };
    output.say(&format!(
        "{n} {made} in {}{completed}, {sampler}: {steps} steps{jumps}, {calls} calls of the network",
        outputs::shown(arguments.out()),
    ));
    let mut result = json!({
        "samples": n, "sampler": sampler, "steps": steps, "calls": calls, "file": arguments.out(),
    });
    if let Some(kept) = kept {
        result["kept"] = json!(kept);
        result["steps_back"] = json!(model.steps_back());
    }
    output.result(&result)
}

/// What is asked of pictures that a process begins with.
struct Asked<'a> {
    strength: f64,
    mask: Option<&'a [f32]>,
    n: usize,
    seed: u64,
}

/// What a process begins with.
struct Begun {
    /// The model, which may be sampled from a later step on.
    model: Diffusion,
    start: Start,
    /// How examples were lost until there.
    moments: Vec<Vec<f32>>,
}

fn begin(
    output: &Output,
    process: &ProcessArguments,
    run: &Run,
    model: &Diffusion,
    asked: &Asked<'_>,
) -> Result<Begun> {
    let (n, seed) = (asked.n, asked.seed);
    let noise = |x| Begun {
        model: model.clone(),
        start: Start {
            x,
            ..Start::default()
        },
        moments: Vec::new(),
    };
    let init_noise = match &process.init_noise {
        Some(path) => {
            let mut x = images_from_file(path, "noise", run.image(), n)?;
            x.iter_mut().for_each(|z| *z *= model.first_noise());
            Some(x)
        }
        None => None,
    };
    if !process.low_res.is_empty() || model.low_res().is_some() {
        if process.data.is_some() || !process.init_image.is_empty() {
            return Err(Error::Usage(
                "--data and --init-image: this model makes large pictures of small ones, which --low-res gives".to_owned(),
            ));
        }
        let small = low_res::read(output, &process.low_res, run, model, n)?;
        let mut begun = noise(init_noise);
        begun.start = begun.start.beside(model, &small.values)?;
        if let Some(data) = &small.data {
            begun.start = begun.start.of_classes(model, data);
        }
        return Ok(begun);
    }
    if init_noise.is_some() {
        return Ok(noise(init_noise));
    }
    let data = match &process.data {
        Some(spec) => Some(examples(output, ("--data", spec), run, n)?),
        None => None,
    };
    let examples = match &data {
        Some(data) => data.scaled(),
        None if process.init_image.is_empty() => return Ok(noise(None)),
        None => inpainting::known(&process.init_image, run, n)?,
    };
    // All steps of pictures that are completed begin with noise alone: nothing is left of what is to be made anew.
    let mut begun = if asked.mask.is_some() && asked.strength == 1.0 {
        noise(None)
    } else {
        let (rest, start) = Start::noised(model, &examples, asked.strength, seed)?;
        let first = model.step_count() - rest.step_count();
        Begun {
            moments: forward(model, &examples, first, MOMENTS, seed)?,
            model: rest,
            start,
        }
    };
    if let Some(mask) = asked.mask {
        begun.start = begun.start.keeping(&begun.model, &examples, mask)?;
        // What is completed is of its own class, where no other is asked for.
        if let Some(data) = &data {
            begun.start = begun.start.of_classes(&begun.model, data);
        }
    }
    Ok(begun)
}
