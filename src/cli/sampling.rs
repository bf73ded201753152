//! Options of `wgen sample`, those of diffusion models among them.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::inpainting::InpaintingArguments;
use crate::error::{Error, Result};
use crate::models::diffusion::Diffusion;
use crate::models::diffusion::samplers::{self, SamplerSettings, SolverType};
use crate::models::diffusion::spacing::{Grid, LastSigma, SigmaSpacing, Spacing};
use crate::run::Run;

#[derive(Debug, Args)]
pub(super) struct SampleArguments {
    /// The run folder
    #[arg(required_unless_present = "list_samplers")]
    folder: Option<PathBuf>,
    /// Say which samplers of diffusion models there are, and nothing else
    #[arg(long)]
    pub(super) list_samplers: bool,
    /// Diffusion: draw one noise by every sampler instead, a row for each, in it --n samples of each of these numbers of steps
    #[arg(long, value_name = "STEPS", value_delimiter = ',', conflicts_with_all = ["sampler", "steps", "eta", "solver_type", "stride", "last_sigma", "use_clipped_model_output", "init_noise", "data", "init_image", "mask", "low_res", "chain", "gif", "save_tensor", "filters", "traverse", "manifold"])]
    pub(super) every_sampler: Vec<usize>,
    #[command(flatten)]
    pub(super) sampling: SamplingArguments,
    #[command(flatten)]
    pub(super) process: ProcessArguments,
    /// How many
    #[arg(long, default_value_t = 64)]
    pub(super) n: usize,
    /// The picture, in the format of its ending: .png (also where there is none), .jpg, .gif, .bmp, .webp; - for standard output
    #[arg(long, required_unless_present = "list_samplers")]
    out: Option<PathBuf>,
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

impl SampleArguments {
    /// The run folder; empty where samplers are listed.
    pub(super) fn folder(&self) -> &Path {
        self.folder.as_deref().unwrap_or(Path::new(""))
    }

    /// The picture; likewise.
    pub(super) fn out(&self) -> &Path {
        self.out.as_deref().unwrap_or(Path::new(""))
    }
}

/// How a diffusion model is sampled; what is not given is as its folder says, or with --sampler as that sampler's scheduler in diffusers has it.
#[derive(Debug, Args)]
pub(super) struct SamplingArguments {
    /// Diffusion: how a step is made; --list-samplers says what they are
    #[arg(long, value_parser = PossibleValuesParser::new(sampler_names()))]
    sampler: Option<String>,
    /// Diffusion: steps
    #[arg(long)]
    steps: Option<usize>,
    /// Diffusion, ddim: 0 for no noise, 1 for as much as ancestral steps have
    #[arg(long)]
    eta: Option<f64>,
    /// Diffusion: which timesteps the steps are at, or which levels of noise
    #[arg(long, value_enum)]
    spacing: Option<SpacingArgument>,
    /// Diffusion, with --spacing karras or exponential: the least noise, s / a, in place of the process's
    #[arg(long)]
    sigma_min: Option<f64>,
    /// Diffusion, with --spacing karras or exponential: the most
    #[arg(long)]
    sigma_max: Option<f64>,
    /// Diffusion, lcm: the timesteps that the model was distilled at [default: 50]
    #[arg(long)]
    original_steps: Option<usize>,
    /// Diffusion: instead of clipping x_0, divide each sample's by this quantile of its magnitudes where that is above 1, 0.995 say (dynamic
    /// thresholding, Saharia et al. 2022)
    #[arg(long, value_name = "RATIO")]
    threshold: Option<f64>,
    /// Diffusion, with a threshold: the most that is divided by [default: any]
    #[arg(long, value_name = "X")]
    threshold_max: Option<f64>,
    /// Diffusion, of a flow: the shift of the levels, in place of the process's
    #[arg(long)]
    shift: Option<f64>,
    /// Diffusion: what the last step goes to, the image or the noise of t = 0
    #[arg(long, value_enum)]
    last_sigma: Option<LastSigma>,
    /// Diffusion, dpmpp-2m and dpmpp-2m-sde: how the second order comes in
    #[arg(long, value_enum)]
    solver_type: Option<SolverType>,
    /// Diffusion, ddim: each step goes T / steps timesteps down, wherever the next one visited is, as diffusers has it; for agreement with it
    #[arg(long)]
    stride: bool,
    /// Diffusion: scale of classifier-free guidance; 1 for none
    #[arg(long)]
    guidance: Option<f64>,
    /// Diffusion: guide by this noised classifier, a run folder of wgen train classifier --noised, towards the class of each sample
    #[arg(long, value_name = "FOLDER")]
    classifier: Option<PathBuf>,
    /// Diffusion: scale of the classifier's guidance
    #[arg(
        long,
        default_value_t = 1.0,
        requires = "classifier",
        allow_negative_numbers = true
    )]
    classifier_scale: f64,
    /// Diffusion, with --classifier: whether x_0 is clipped again after the classifier has moved it; false as guided-diffusion has it [default: true]
    #[arg(long, value_name = "BOOL", requires = "classifier")]
    clip_guided: Option<bool>,
    /// Diffusion, ddim: the noise is the one that takes the clipped x_0 to x (true), or the prediction's (false, as pipelines of diffusers
    /// have it) [default: true with guidance, else false]
    #[arg(long, value_name = "BOOL")]
    use_clipped_model_output: Option<bool>,
}

/// Timesteps or levels of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SpacingArgument {
    /// Every (T / steps)-th timestep from 0 on
    Leading,
    /// Timesteps evenly from 0 to T - 1
    Linspace,
    /// Every (T / steps)-th from T - 1 down
    Trailing,
    /// The seventh root of the noise evenly (Karras et al. 2022)
    Karras,
    /// Its logarithm evenly
    Exponential,
}

fn sampler_names() -> impl Iterator<Item = PossibleValue> {
    let value = |e: &samplers::Entry| PossibleValue::new(e.name).aliases(e.aliases.iter().copied());
    samplers::ALL.iter().map(value)
}

impl SpacingArgument {
    fn apply(self, settings: &mut SamplerSettings) {
        settings.sigmas = match self {
            Self::Karras => Some(SigmaSpacing::Karras),
            Self::Exponential => Some(SigmaSpacing::Exponential),
            _ => None,
        };
        settings.spacing = match self {
            Self::Leading => Spacing::Leading,
            Self::Linspace => Spacing::Linspace,
            Self::Trailing => Spacing::Trailing,
            Self::Karras | Self::Exponential => settings.spacing,
        };
    }
}

impl SamplingArguments {
    fn is_empty(&self) -> bool {
        let given = [
            self.sampler.is_some(),
            self.steps.is_some(),
            self.eta.is_some(),
            self.spacing.is_some(),
            self.sigma_min.is_some(),
            self.sigma_max.is_some(),
            self.shift.is_some(),
            self.original_steps.is_some(),
            self.threshold.is_some(),
            self.threshold_max.is_some(),
            self.last_sigma.is_some(),
            self.solver_type.is_some(),
            self.stride,
            self.guidance.is_some(),
            self.classifier.is_some(),
            self.use_clipped_model_output.is_some(),
        ];
        !given.contains(&true)
    }

    /// The folder of the classifier that guides.
    pub(super) fn classifier(&self) -> Option<&PathBuf> {
        self.classifier.as_ref()
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
                "--sampler, --steps, --eta, --spacing, --guidance and their like are for diffusion models"
                    .to_owned(),
            ));
        };
        let process = &model.config().process;
        let mut settings = model.config().sampling.clone();
        if let Some(name) = &self.sampler {
            let entry = samplers::find(name)?;
            if entry.name != settings.sampler {
                settings = model.sampling_by(name)?;
            } else if self.steps.is_none() && entry.every_timestep {
                settings.steps = process.timesteps;
            }
        }
        if self.spacing.is_some() && samplers::find(&settings.sampler)?.grid == Grid::Consistency {
            return Err(Error::Usage(format!(
                "--spacing: {} visits some of the timesteps that its model was distilled at, and no others",
                settings.sampler
            )));
        }
        if let Some(spacing) = self.spacing {
            spacing.apply(&mut settings);
        }
        settings.sigma_min = self.sigma_min.or(settings.sigma_min);
        settings.sigma_max = self.sigma_max.or(settings.sigma_max);
        settings.shift = self.shift.or(settings.shift);
        settings.original_steps = self.original_steps.or(settings.original_steps);
        settings.threshold = self.threshold.or(settings.threshold);
        settings.threshold_max = self.threshold_max.or(settings.threshold_max);
        settings.last_sigma = self.last_sigma.unwrap_or(settings.last_sigma);
        settings.solver_type = self.solver_type.unwrap_or(settings.solver_type);
        settings.stride |= self.stride;
        settings.steps = self.steps.unwrap_or(settings.steps);
        settings.eta = self.eta.unwrap_or(settings.eta);
        settings.guidance = self.guidance.unwrap_or(settings.guidance);
        settings.use_clipped_model_output = self
            .use_clipped_model_output
            .or(settings.use_clipped_model_output);
        settings.clip_guided = self.clip_guided.or(settings.clip_guided);
        let run = run.with_sampler_settings(&settings)?;
        match &self.classifier {
            Some(folder) => run.guided_by(&Run::open(folder)?, self.classifier_scale),
            None => Ok(run),
        }
    }
}

/// What else may be made of a reverse process.
#[derive(Debug, Args)]
pub(super) struct ProcessArguments {
    /// Diffusion: begin with the tensor noise [n, channels, height, width] of this safetensors file, and not with --seed's
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(super) init_noise: Option<PathBuf>,
    /// Diffusion: begin with held-out examples of this data, noised as far as --strength says (img2img); with --mask complete them
    #[arg(long, value_name = "SPEC", value_parser = super::common::spec)]
    pub(super) data: Option<crate::data::Spec>,
    /// Diffusion: the same with these pictures, in turn for --n samples
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["data", "init_noise"])]
    pub(super) init_image: Vec<PathBuf>,
    /// Diffusion, with --data or --init-image: the share of the steps that are made; 1 leaves nothing of the examples but what --mask keeps
    /// [default: 0.6, with --mask 1]
    #[arg(long)]
    strength: Option<f64>,
    /// Diffusion, of super-resolution: make large pictures of these, of the small size or of the large one, whose means are taken, in turn
    /// for --n samples; or of held-out examples of this data
    #[arg(long, value_name = "FILE|SPEC", num_args = 1.., conflicts_with_all = ["data", "init_image"])]
    pub(super) low_res: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) inpainting: InpaintingArguments,
    /// Diffusion: also draw how samples become, a row each; with --data first how they are lost
    #[arg(long, value_name = "FILE")]
    pub(super) chain: Option<PathBuf>,
    /// Diffusion: also the whole reverse process as an animation
    #[arg(long, value_name = "FILE.gif")]
    pub(super) gif: Option<PathBuf>,
}

impl ProcessArguments {
    /// The share of the steps that are made of what begins with pictures.
    ///
    /// # Errors
    /// When something is asked of pictures and there are none.
    pub(super) fn strength(&self) -> Result<f64> {
        let none = self.data.is_none() && self.init_image.is_empty();
        let given = [
            ("--mask", self.inpainting.given()),
            ("--strength", self.strength.is_some()),
        ];
        if let Some((name, _)) = given.into_iter().find(|(_, given)| none && *given) {
            return Err(Error::Usage(format!(
                "{name} is of pictures to begin with: give them with --data or --init-image"
            )));
        }
        let completing = self.inpainting.given();
        Ok(self.strength.unwrap_or(if completing { 1.0 } else { 0.6 }))
    }

    /// The error of these options with a model that has no process.
    ///
    /// # Errors
    /// When one of them is given.
    pub(super) fn refuse(&self) -> Result<()> {
        let given = [
            ("--init-noise", self.init_noise.is_some()),
            ("--data", self.data.is_some()),
            ("--init-image", !self.init_image.is_empty()),
            ("--mask", self.inpainting.given()),
            ("--low-res", !self.low_res.is_empty()),
            ("--strength", self.strength.is_some()),
            ("--chain", self.chain.is_some()),
            ("--gif", self.gif.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Error::Usage(format!("{name} is for diffusion models"))),
            None => Ok(()),
        }
    }
}
