//! Options of `wgen sample`, those of diffusion models among them.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::common::RunArguments;
use crate::error::{Error, Result};
use crate::models::diffusion::Diffusion;
use crate::models::diffusion::samplers;
use crate::models::diffusion::spacing::Spacing;
use crate::run::Run;

#[derive(Debug, Args)]
pub(super) struct SampleArguments {
    #[command(flatten)]
    pub(super) run: RunArguments,
    #[command(flatten)]
    pub(super) sampling: SamplingArguments,
    #[command(flatten)]
    pub(super) process: ProcessArguments,
    /// How many
    #[arg(long, default_value_t = 64)]
    pub(super) n: usize,
    /// The picture, in the format of its ending: .png (also where there is none), .jpg, .gif, .bmp, .webp; - for standard output
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
    /// Samples of this class alone, by its name or number, of a conditional model; otherwise the classes take turns. Of a diffusion model with a null class, the
    /// one after the last is that
    #[arg(long, value_name = "NAME")]
    pub(super) class: Option<String>,
}

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
    pub(super) init_noise: Option<PathBuf>,
    /// Diffusion: begin with held-out examples of this data, noised as far as --strength says (img2img)
    #[arg(long, value_name = "SPEC", value_parser = super::common::spec)]
    pub(super) data: Option<crate::data::Spec>,
    /// Diffusion, with --data: the share of the steps that are made; 1 leaves nothing of the examples
    #[arg(long, default_value_t = 0.6, requires = "data")]
    pub(super) strength: f64,
    /// Diffusion: also draw how samples become, a row each; with --data first how they are lost
    #[arg(long, value_name = "FILE")]
    pub(super) chain: Option<PathBuf>,
    /// Diffusion: also the whole reverse process as an animation
    #[arg(long, value_name = "FILE.gif")]
    pub(super) gif: Option<PathBuf>,
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
