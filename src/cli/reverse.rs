//! Sampling from a diffusion model: its options, and what else is drawn of a reverse process.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::Output;
use super::sample::Arguments;
use crate::data::idx::Part;
use crate::error::{Error, Result};
use crate::evaluate::reverse::{forward, is_moment};
use crate::evaluate::{Evaluator, FEWEST, Start};
use crate::files::weights::{Tensors, images_from_file, images_to_file, write_tensors};
use crate::models::diffusion::Diffusion;
use crate::models::diffusion::process::Spacing;
use crate::models::diffusion::samplers;
use crate::report::grid;
use crate::run::Run;
use crate::session::{Device, Executable};
use crate::tensor::ImageShape;

/// How a diffusion model is sampled; what is not given is as its folder says.
#[derive(Debug, Args)]
pub(super) struct SamplingArguments {
    /// Diffusion: ancestral steps, or DDIM
    #[arg(long, value_parser = PossibleValuesParser::new(samplers::ALL.iter().map(|s| s.name)))]
    sampler: Option<String>,
    /// Diffusion: steps
    #[arg(long)]
    steps: Option<usize>,
    /// Diffusion, ddim: 0 for no noise, 1 for as much as ancestral steps have
    #[arg(long)]
    eta: Option<f64>,
    /// Diffusion: which timesteps the steps are at
    #[arg(long, value_enum)]
    spacing: Option<Spacing>,
    /// Diffusion: scale of classifier-free guidance; 1 for none
    #[arg(long)]
    guidance: Option<f64>,
    /// Diffusion, ddim: the noise is the one that takes the clipped x_0 to x (true), or the prediction's (false, as pipelines of diffusers
    /// have it) [default: true with guidance, else false]
    #[arg(long, value_name = "BOOL")]
    use_clipped_model_output: Option<bool>,
}

impl SamplingArguments {
    fn is_empty(&self) -> bool {
        self.sampler.is_none()
            && self.steps.is_none()
            && self.eta.is_none()
            && self.spacing.is_none()
            && self.guidance.is_none()
            && self.use_clipped_model_output.is_none()
    }

    /// The run, sampled as was asked for.
    ///
    /// # Errors
    /// When it is no diffusion model, or has no such way of sampling.
    pub(super) fn apply(&self, run: Run) -> Result<Run> {
        if self.is_empty() {
            return Ok(run);
        }
        let Some(model) = run.model().as_any().downcast_ref::<Diffusion>() else {
            return Err(Error::Usage(
                "--sampler, --steps, --eta, --spacing, --guidance and --use-clipped-model-output are for diffusion models"
                    .to_owned(),
            ));
        };
        let mut settings = model.config().sampling.clone();
        if let Some(name) = &self.sampler {
            settings.sampler.clone_from(name);
            let timesteps = model.config().process.timesteps;
            if self.steps.is_none() && samplers::find(name)?.every_timestep {
                settings.steps = timesteps;
            }
        }
        let own = samplers::find(&settings.sampler)?.own;
        if self.eta.is_some() && !own.contains(&"eta") {
            return Err(Error::Usage(
                "--eta is of ddim; ancestral steps have the noise of the posterior".to_owned(),
            ));
        }
        if self.use_clipped_model_output.is_some() && !own.contains(&"use_clipped_model_output") {
            return Err(Error::Usage(
                "--use-clipped-model-output is of ddim; ancestral steps always go on from the clipped x_0"
                    .to_owned(),
            ));
        }
        settings.spacing = self.spacing.unwrap_or(settings.spacing);
        settings.steps = self.steps.unwrap_or(settings.steps);
        settings.eta = self.eta.unwrap_or(settings.eta);
        settings.guidance = self.guidance.unwrap_or(settings.guidance);
        settings.use_clipped_model_output = self
            .use_clipped_model_output
            .or(settings.use_clipped_model_output);
        run.with_sampler_settings(&settings)
    }
}

/// What else may be made of a reverse process.
#[derive(Debug, Args)]
pub(super) struct ProcessArguments {
    /// Diffusion: begin with the tensor noise [n, channels, height, width] of this safetensors file, and not with --seed's
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    init_noise: Option<PathBuf>,
    /// Diffusion: begin with held-out examples of this data, noised as far as --strength says (img2img)
    #[arg(long, value_name = "SPEC")]
    data: Option<crate::data::Spec>,
    /// Diffusion, with --data: the share of the steps that are made; 1 leaves nothing of the examples
    #[arg(long, default_value_t = 0.6)]
    strength: f64,
    /// Diffusion: also draw how samples become, a row each; with --data first how they are lost
    #[arg(long, value_name = "PNG")]
    chain: Option<PathBuf>,
    /// Diffusion: also the whole reverse process as an animation
    #[arg(long, value_name = "GIF")]
    gif: Option<PathBuf>,
}

impl ProcessArguments {
    /// The error of these options with a model that has no process.
    ///
    /// # Errors
    /// When one of them is given.
    pub(super) fn refuse(&self) -> Result<()> {
        let given = [
            ("--init-noise", self.init_noise.is_some()),
            ("--data", self.data.is_some()),
            ("--chain", self.chain.is_some()),
            ("--gif", self.gif.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::Usage(format!("{name} is for diffusion models"))),
            None => Ok(()),
        }
    }
}

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
    arguments: &Arguments,
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
    let mut evaluator = Evaluator::of(device, run, n, arguments.seed)?;
    let (start, mut moments) = process.start(run, model, n, arguments.seed)?;
    let side = (n as f64).sqrt().ceil() as usize;
    let mut film = grid::Film::default();
    let steps = model.steps().len() - start.runs_done;
    let mut watch = |left: usize, executable: &Executable| {
        let at = steps - left;
        let in_film = process.gif.is_some() && is_moment(at, steps, 60);
        let in_chain = process.chain.is_some() && is_moment(at, steps, MOMENTS);
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
    let samples = evaluator.samples_from(model, n, arguments.class, &start, &mut watch)?;
    let picture = grid::picture(&samples.images, run.image(), side);
    grid::save(&picture, &arguments.out)?;
    if let Some(path) = &process.gif {
        grid::save_animation(film.frames(), 60, path)?;
    }
    if let Some(path) = &process.chain {
        grid::save(&grid::chain(&moments, run.image(), n.min(CHAINS)), path)?;
    }
    if let Some(path) = &arguments.save_tensor {
        let images = (vec![n, run.image().count()], samples.images);
        let x = images_to_file(&samples.x, run.image());
        let tensors = Tensors::from([("images".to_owned(), images), ("x".to_owned(), x)]);
        write_tensors(path, &tensors)?;
    }
    output.say(&format!(
        "{n} images in {}, {steps} steps",
        arguments.out.display()
    ));
    output.result(&json!({"samples": n, "steps": steps, "file": arguments.out}))
}

impl ProcessArguments {
    /// What the process begins with, and how examples were lost until there.
    fn start(
        &self,
        run: &Run,
        model: &Diffusion,
        n: usize,
        seed: u64,
    ) -> Result<(Start, Vec<Vec<f32>>)> {
        match (&self.init_noise, &self.data) {
            (Some(path), _) => {
                let x = images_from_file(path, "noise", run.image(), n)?;
                let start = Start {
                    x: Some(x),
                    runs_done: 0,
                };
                Ok((start, Vec::new()))
            }
            (None, Some(spec)) => {
                let examples = examples(spec, run.image(), n)?;
                let start = Start::noised(model, &examples, self.strength, seed)?;
                let lost = forward(model, &examples, start.runs_done, MOMENTS, seed)?;
                Ok((start, lost))
            }
            (None, None) => Ok((Start::default(), Vec::new())),
        }
    }
}

/// The first held-out examples of a data set, in the range of models.
fn examples(spec: &crate::data::Spec, image: ImageShape, n: usize) -> Result<Vec<f32>> {
    // A folder's images become what the model has.
    let options = crate::data::images::Options {
        size: Some(image.height as u32),
        grey: image.channels == 1,
    };
    let dataset = spec.load(Part::Test, &options)?;
    if dataset.shape != image || dataset.rows() < n {
        return Err(Error::Usage(format!(
            "--data has {} examples of {:?}; {n} of {image:?} are wanted",
            dataset.rows(),
            dataset.shape,
        )));
    }
    Ok(dataset.select(&(0..n).collect::<Vec<_>>()).scaled())
}
