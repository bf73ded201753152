//! Processes of a diffusion model that are continuous in their noise.

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::models::diffusion::process::{Config, Density, Edm, Flow, Kind};
use crate::models::diffusion::samplers::SamplerSettings;
use crate::models::diffusion::spacing::{SigmaSpacing, Spacing};

/// Kinds of process, as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProcessName {
    /// Variance-preserving, at T timesteps (Ho et al. 2020)
    Vp,
    /// Flow matching: a straight way from the image to noise (Lipman et al. 2023, Liu et al. 2023)
    Flow,
    /// The preconditioning of Karras et al. 2022
    Edm,
}

/// What takes examples to noise, where it has no betas.
#[derive(Debug, Args)]
pub(super) struct ContinuousArguments {
    /// What examples become on the way to noise
    #[arg(long = "process", value_enum, default_value_t = ProcessName::Vp)]
    kind: ProcessName,
    /// flow: above 1 more of training's and sampling's steps are in much noise [default: 1]
    #[arg(long)]
    shift: Option<f64>,
    /// flow: how training draws the share of noise [default: uniform]
    #[arg(long, value_enum)]
    timestep_density: Option<Density>,
    /// edm: the deviation of the data, as the process sees it (pixels in [-1, 1]) [default: 0.5]
    #[arg(long)]
    sigma_data: Option<f64>,
}

impl ContinuousArguments {
    /// A process of this kind.
    ///
    /// # Errors
    /// When an option is of another kind.
    pub(super) fn apply(&self, process: Config) -> Result<Config> {
        let is_flow = self.kind == ProcessName::Flow;
        let is_edm = self.kind == ProcessName::Edm;
        let given = [
            ("--shift", "flow", self.shift.is_some() && !is_flow),
            (
                "--timestep-density",
                "flow",
                self.timestep_density.is_some() && !is_flow,
            ),
            ("--sigma-data", "edm", self.sigma_data.is_some() && !is_edm),
        ];
        if let Some((flag, kind, _)) = given.into_iter().find(|(_, _, wrong)| *wrong) {
            return Err(Error::Usage(format!("{flag} is of --process {kind}")));
        }
        let (flow, edm) = (Flow::default(), Edm::default());
        let kind = match self.kind {
            ProcessName::Vp => Kind::VariancePreserving,
            ProcessName::Flow => Kind::Flow(Flow {
                shift: self.shift.unwrap_or(flow.shift),
                density: self.timestep_density.unwrap_or(flow.density),
            }),
            ProcessName::Edm => Kind::Edm(Edm {
                sigma_data: self.sigma_data.unwrap_or(edm.sigma_data),
                ..edm
            }),
        };
        Ok(Config { kind, ..process })
    }

    /// How such a process is sampled where nothing else is asked for: a flow by 50 steps of Euler, EDM by the 18 of its paper's Heun; `None` of
    /// the variance-preserving.
    pub(super) fn sampling(kind: &Kind) -> Option<SamplerSettings> {
        let (sampler, steps, sigmas) = match kind {
            Kind::VariancePreserving => return None,
            Kind::Flow(_) => ("euler", 50, None),
            Kind::Edm(_) => ("heun", 18, Some(SigmaSpacing::Karras)),
        };
        Some(SamplerSettings {
            sampler: sampler.to_owned(),
            steps,
            spacing: Spacing::Linspace,
            sigmas,
            ..SamplerSettings::default()
        })
    }
}
