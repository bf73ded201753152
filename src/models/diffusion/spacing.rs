//! Which noise levels a sampler visits.
//!
//! ```
//! use wgen::models::diffusion::process::{Config, Process};
//! use wgen::models::diffusion::spacing::{Grid, SigmaSpacing, Spacing, Visits};
//!
//! assert_eq!(Spacing::Leading.timesteps(1000, 4, 0)?, [750, 500, 250, 0]);
//! assert_eq!(Spacing::Linspace.timesteps(1000, 4, 0)?, [999, 666, 333, 0]);
//! assert_eq!(Spacing::Trailing.timesteps(1000, 4, 0)?, [999, 749, 499, 249]);
//!
//! // Levels are of the process: the last is the image.
//! let config = Config::default();
//! let process = Process::new(&config)?;
//! let visits = Visits { spacing: Spacing::Trailing, ..Visits::of(4) };
//! let levels = visits.levels(&process, config.beta_schedule, Grid::Integers)?;
//! assert_eq!(levels.len(), 5);
//! assert_eq!((levels[1].timestep, levels[4].a, levels[4].s), (749.0, 1.0, 0.0));
//!
//! // Karras et al. 2022 space a root of sigma evenly, wherever that is in t.
//! let visits = Visits { spacing: Spacing::Linspace, sigmas: Some(SigmaSpacing::Karras), ..Visits::of(4) };
//! let levels = visits.levels(&process, config.beta_schedule, Grid::Reals)?;
//! assert!((levels[1].sigma() - 21.11).abs() < 0.01 && levels[1].timestep.fract() > 0.0);
//! # Ok::<(), wgen::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::process::{BetaSchedule, Edm, Flow, Kind, Level, Process, RHO};
use crate::error::{Error, Result};

/// Which timesteps a sampler visits. The names are diffusers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Every (T / steps)-th from 0 on, plus an offset: diffusers' default. Never reaches T - 1.
    #[default]
    Leading,
    /// Evenly from 0 to T - 1.
    Linspace,
    /// Every (T / steps)-th from T - 1 down: needed where the terminal SNR is zero.
    Trailing,
}

/// Levels spaced by their noise, whatever timesteps those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigmaSpacing {
    /// The seventh root of sigma evenly (Karras et al. 2022, eq. 5).
    Karras,
    /// Its logarithm evenly.
    Exponential,
}

/// What the last step goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum LastSigma {
    /// The image. diffusers' `set_alpha_to_one` of DDIM, `final_sigmas_type` of others.
    #[default]
    Zero,
    /// What t = 0 has: a little noise is left.
    SigmaMin,
}

/// How the samplers of one family read a spacing. diffusers' classes differ in it, and folders that it has saved mean it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Of DDIM and DDPM: integers.
    Integers,
    /// Of Euler and Heun (k-diffusion): t between the integers too.
    Reals,
    /// Of DPM-Solver: as many timesteps and one more at the end, which is not visited.
    DpmSolver,
    /// Of UniPC: the same, t of Karras' levels always rounded.
    UniPc,
    /// Of LCM: some of the timesteps that a model was distilled at.
    Consistency,
}

/// Which levels a sampler visits, in full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visits {
    /// Steps.
    pub steps: usize,
    /// Which timesteps; with [`Visits::sigmas`] the ends, of [`Grid::Reals`].
    pub spacing: Spacing,
    /// Levels by their noise instead.
    pub sigmas: Option<SigmaSpacing>,
    /// Added to leading timesteps.
    pub offset: usize,
    /// The least noise of levels by their noise, in place of the process's.
    pub sigma_min: Option<f64>,
    /// The most.
    pub sigma_max: Option<f64>,
    /// What the last step goes to.
    pub last: LastSigma,
    /// Levels of a smaller lambda are not visited (of [`Grid::DpmSolver`]).
    pub lambda_min: Option<f64>,
    /// The timesteps that a model was distilled at (of [`Grid::Consistency`]); `None`: 50.
    pub original: Option<usize>,
    /// The shift of a flow's levels, in place of the process's.
    pub shift: Option<f64>,
    /// Whether the ends of a flow's levels are shifted before all of them are, as diffusers 0.42.1 has it.
    pub shift_twice: bool,
}

/// Timesteps that a latent consistency model is distilled at where nothing else is said.
const ORIGINAL: usize = 50;

/// `count` numbers evenly from `first` to `last`; one number is the first.
fn evenly(first: f64, last: f64, count: usize) -> impl Iterator<Item = f64> {
    let step = (last - first) / (count.max(2) - 1) as f64;
    (0..count).map(move |i| first + step * i as f64)
}

impl Visits {
    /// So many steps with leading spacing.
    pub fn of(steps: usize) -> Self {
        Self {
            steps,
            spacing: Spacing::Leading,
            sigmas: None,
            offset: 0,
            sigma_min: None,
            sigma_max: None,
            last: LastSigma::Zero,
            lambda_min: None,
            original: None,
            shift: None,
            shift_twice: false,
        }
    }

    /// The levels, the noisiest first; behind the last one that is visited what its step goes to. `schedule` is the process's.
    ///
    /// # Errors
    /// When the process has no such levels, or two of them would be the same.
    pub fn levels(
        &self,
        process: &Process,
        schedule: BetaSchedule,
        grid: Grid,
    ) -> Result<Vec<Level>> {
        let mut levels = match process.kind {
            Kind::VariancePreserving => self.of_timesteps(process, schedule, grid)?,
            Kind::Flow(flow) => self.of_flow(process, flow)?,
            Kind::Edm(edm) => self.of_edm(edm)?,
        };
        levels.push(match self.last {
            LastSigma::Zero => Level::IMAGE,
            LastSigma::SigmaMin => process.level(0),
        });
        // The step from t = 0 to what t = 0 has does nothing, and DDIM of diffusers has it.
        let visited = &levels[..levels.len() - 1];
        if let Some(i) = visited
            .windows(2)
            .position(|pair| pair[1].sigma() >= pair[0].sigma())
        {
            return Err(Error::Usage(format!(
                "diffusion: of {} steps, steps {i} and {} would be at the same noise; take fewer",
                self.steps,
                i + 1
            )));
        }
        Ok(levels)
    }

    /// Levels of a variance-preserving process.
    fn of_timesteps(
        &self,
        process: &Process,
        schedule: BetaSchedule,
        grid: Grid,
    ) -> Result<Vec<Level>> {
        let timesteps = self.timesteps(process, grid)?;
        let mut levels = match self.sigmas {
            None => timesteps.iter().map(|&t| process.level_at(t)).collect(),
            Some(spacing) => self.by_sigma(process, spacing, schedule, grid, &timesteps)?,
        };
        if grid != Grid::Integers {
            levels.iter_mut().for_each(|l| *l = l.finite());
        }
        Ok(levels)
    }

    /// S evenly from 1 to 1 / T, then shifted: `FlowMatchEulerDiscreteScheduler` of diffusers, which shifts the ends 1 and 1 / T before that too.
    fn of_flow(&self, process: &Process, flow: Flow) -> Result<Vec<Level>> {
        let total = process.len();
        check_steps(self.steps, total)?;
        let shifted = |noise: f64| Flow::shifted(self.shift.unwrap_or(flow.shift), noise);
        let least = 1.0 / total as f64;
        let least = if self.shift_twice {
            shifted(least)
        } else {
            least
        };
        let level = |noise: f64| Flow::level(total, shifted(noise));
        Ok(evenly(1.0, least, self.steps).map(level).collect())
    }

    /// Karras' levels between the ends of the process or of these visits, or levels whose logarithms are evenly apart.
    fn of_edm(&self, edm: Edm) -> Result<Vec<Level>> {
        if self.steps == 0 {
            return check_steps(0, usize::MAX).map(|()| Vec::new());
        }
        let ends = Edm {
            sigma_min: self.sigma_min.unwrap_or(edm.sigma_min),
            sigma_max: self.sigma_max.unwrap_or(edm.sigma_max),
            ..edm
        };
        check_ends(ends.sigma_min, ends.sigma_max)?;
        let sigma = |share: f64| match self.sigmas {
            Some(SigmaSpacing::Exponential) => {
                let (most, least) = (ends.sigma_max.ln(), ends.sigma_min.ln());
                (most + share * (least - most)).exp()
            }
            _ => ends.spaced(share),
        };
        Ok(evenly(0.0, 1.0, self.steps)
            .map(|share| edm.level(sigma(share)))
            .collect())
    }

    /// Timesteps, falling.
    fn timesteps(&self, process: &Process, grid: Grid) -> Result<Vec<f64>> {
        let total = process.len();
        let whole = |timesteps: Vec<usize>| timesteps.into_iter().map(|t| t as f64).collect();
        let (steps, spacing) = (self.steps, self.spacing);
        match grid {
            Grid::Integers => Ok(whole(spacing.timesteps(total, steps, self.offset)?)),
            Grid::Reals if spacing == Spacing::Linspace => {
                check_steps(steps, total)?;
                let mut timesteps: Vec<f64> = evenly(0.0, (total - 1) as f64, steps).collect();
                timesteps.reverse();
                Ok(timesteps)
            }
            Grid::Consistency => Ok(whole(self.distilled(total)?)),
            Grid::Reals => Ok(whole(spacing.timesteps(total, steps, self.offset)?)),
            Grid::DpmSolver | Grid::UniPc => {
                let lambda_min = self.lambda_min.unwrap_or(f64::NEG_INFINITY);
                let lambda = |t: &usize| process.level(*t).finite().lambda();
                let clipped = (0..total).filter(|t| lambda(t) < lambda_min).count();
                let total = total - clipped;
                if spacing == Spacing::Trailing {
                    check_steps(steps, total)?;
                    let stride = process.len() as f64 / steps as f64;
                    let count = match clipped {
                        0 => steps,
                        _ => (total as f64 / stride).ceil() as usize,
                    };
                    let at = |i: usize| (total as f64 - i as f64 * stride).round_ties_even() - 1.0;
                    return Ok((0..count).map(at).collect());
                }
                // One more, at the end, is not visited.
                check_steps(steps, total.saturating_sub(1))?;
                let mut falling = spacing.timesteps(total, steps + 1, 0)?;
                falling.pop();
                if spacing == Spacing::Leading {
                    check_last(falling[0] + self.offset, self.offset, steps, process.len())?;
                    falling.iter_mut().for_each(|t| *t += self.offset);
                }
                Ok(whole(falling))
            }
        }
    }

    /// Some of the last of each k timesteps, k = T / (those that a model was distilled at): `LCMScheduler` of diffusers.
    fn distilled(&self, total: usize) -> Result<Vec<usize>> {
        let original = self.original.unwrap_or(ORIGINAL);
        if original == 0 || original > total {
            return Err(Error::Usage(format!(
                "diffusion: `original_steps` {original}; from 1 to {total} are possible"
            )));
        }
        check_steps(self.steps, original)?;
        let stride = total / original;
        let apart = original as f64 / self.steps as f64;
        let at = |i: usize| (original - (i as f64 * apart).floor() as usize) * stride - 1;
        Ok((0..self.steps).map(at).collect())
    }

    /// Levels between the least and the most noise.
    fn by_sigma(
        &self,
        process: &Process,
        spacing: SigmaSpacing,
        schedule: BetaSchedule,
        grid: Grid,
        timesteps: &[f64],
    ) -> Result<Vec<Level>> {
        if self.steps < 2 {
            return Err(Error::Usage(format!(
                "diffusion: {} step spaced by noise; from its most to its least it takes 2 at least",
                self.steps
            )));
        }
        let sigma = |t: f64| process.level_at(t).finite().sigma();
        let (first, last) = match grid {
            Grid::Reals => (timesteps[0], timesteps[timesteps.len() - 1]),
            _ => ((process.len() - 1) as f64, 0.0),
        };
        let most = self.sigma_max.unwrap_or_else(|| sigma(first));
        let least = self.sigma_min.unwrap_or_else(|| sigma(last));
        check_ends(least, most)?;
        let karras = spacing == SigmaSpacing::Karras;
        let sigmas: Vec<f64> = if karras {
            evenly(most.powf(1.0 / RHO), least.powf(1.0 / RHO), self.steps)
                .map(|root| root.powf(RHO))
                .collect()
        } else {
            evenly(most.ln(), least.ln(), self.steps)
                .map(f64::exp)
                .collect()
        };
        // What diffusers' classes do to t; sigma stays what it is.
        let told = |t: f64| match grid {
            Grid::Integers | Grid::Reals | Grid::Consistency => t,
            Grid::DpmSolver if karras && schedule == BetaSchedule::Cosine => t.floor(),
            Grid::DpmSolver | Grid::UniPc if karras => t.round_ties_even(),
            Grid::DpmSolver | Grid::UniPc => t.floor(),
        };
        let level = |sigma: f64| {
            let t = told(process.t_of_sigma(sigma));
            Level::of_sigma(sigma, process.level_at(t).timestep)
        };
        Ok(sigmas.into_iter().map(level).collect())
    }
}

fn check_steps(steps: usize, most: usize) -> Result<()> {
    if steps == 0 || steps > most {
        return Err(Error::Usage(format!(
            "diffusion: {steps} sampling steps; from 1 to {most} are possible"
        )));
    }
    Ok(())
}

fn check_ends(least: f64, most: f64) -> Result<()> {
    if !(least > 0.0 && most > least && most.is_finite()) {
        return Err(Error::Usage(format!(
            "diffusion: sigma_min {least} must be above 0 and below sigma_max {most}"
        )));
    }
    Ok(())
}

fn check_last(last: usize, offset: usize, steps: usize, total: usize) -> Result<()> {
    if last >= total {
        return Err(Error::Usage(format!(
            "diffusion: the offset {offset} moves the last of {steps} timesteps to {last}, the process ends at {}",
            total - 1
        )));
    }
    Ok(())
}

impl Spacing {
    /// The timesteps, falling, as `set_timesteps` of diffusers' DDIM gives them.
    ///
    /// # Errors
    /// When there are more steps than T, or none.
    pub fn timesteps(self, total: usize, steps: usize, offset: usize) -> Result<Vec<usize>> {
        check_steps(steps, total)?;
        // As numpy's round: halves to the even neighbour.
        let mut rising: Vec<usize> = match self {
            Self::Leading => (0..steps).map(|i| i * (total / steps) + offset).collect(),
            Self::Linspace => evenly(0.0, (total - 1) as f64, steps)
                .map(|t| t.round_ties_even() as usize)
                .collect(),
            Self::Trailing => {
                let ratio = total as f64 / steps as f64;
                (0..steps)
                    .map(|i| (total as f64 - i as f64 * ratio).round_ties_even() as usize - 1)
                    .rev()
                    .collect()
            }
        };
        if let Some(&last) = rising.last() {
            check_last(last, offset, steps, total)?;
        }
        rising.reverse();
        Ok(rising)
    }
}
