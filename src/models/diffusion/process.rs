//! The forward process, by which examples become noise, and its posterior as tables over t (Ho et al. 2020, "Denoising diffusion
//! probabilistic models"; Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models").
//!
//! t runs from 0 to T - 1, as in the codes of both papers and in diffusers: x at t has passed t + 1 steps of noise.
//!
//! ```
//! use wgen::models::diffusion::process::{Config, Process};
//! use wgen::models::diffusion::spacing::Spacing;
//!
//! let process = Process::new(&Config::default())?;
//! assert_eq!(process.len(), 1000);
//! // The ratio of signal to noise: at first next to no noise, at last next to nothing else.
//! assert!(process.snr(0) > 9998.0 && process.snr(999) < 1e-4);
//!
//! // A sampler visits some of the timesteps, and the process that visits only those is one too.
//! let mut visited = Spacing::Trailing.timesteps(process.len(), 4, 0)?;
//! assert_eq!(visited, [999, 749, 499, 249]);
//! visited.reverse();
//! let short = process.respaced(&visited)?;
//! assert_eq!(short.alphas_cumprod[3], process.alphas_cumprod[999]);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::tensor::{DType, Data, Shape, Value};

/// How the variances of the forward steps grow with t. The names are diffusers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum BetaSchedule {
    /// Evenly from the first to the last (Ho et al. 2020, section 4).
    #[default]
    #[serde(rename = "linear")]
    Linear,
    /// Their square roots evenly (Rombach et al. 2022).
    #[serde(rename = "scaled_linear")]
    ScaledLinear,
    /// Such that abar is cos^2((u + 0.008) / 1.008 pi / 2), u = t / T; at most 0.999 (Nichol & Dhariwal 2021, eq. 17). Takes no first and last.
    #[serde(rename = "squaredcos_cap_v2")]
    Cosine,
    /// Along a sigmoid from -6 to 6: diffusers' schedule of betas, not denoising-diffusion-pytorch's of abar.
    #[serde(rename = "sigmoid")]
    Sigmoid,
}

/// What the network predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Prediction {
    /// The noise (Ho et al. 2020, section 3.2).
    #[default]
    #[serde(rename = "epsilon")]
    Epsilon,
    /// The image.
    #[serde(rename = "sample")]
    Sample,
    /// v = sqrt(abar) epsilon - sqrt(1 - abar) x_0 (Salimans & Ho 2022).
    #[serde(rename = "v_prediction")]
    #[cfg_attr(feature = "cli", value(name = "v"))]
    Velocity,
}

/// The variance of a reverse step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Variance {
    /// The posterior's, beta~ (Ho et al. 2020, eq. 7).
    #[default]
    FixedSmall,
    /// beta.
    FixedLarge,
    /// Between the two in the logarithm, as the network's further channels say (Nichol & Dhariwal 2021, eq. 15).
    LearnedRange,
}

/// How the tables are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// In f64, as guided-diffusion does.
    #[default]
    F64,
    /// betas and abar rounded to f32, as diffusers keeps them: for agreement with it step by step. 1 - abar loses digits at small t.
    F32,
}

/// What a process is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// T.
    pub timesteps: usize,
    /// How betas grow.
    pub beta_schedule: BetaSchedule,
    /// The first beta.
    pub beta_start: f64,
    /// The last.
    pub beta_end: f64,
    /// Betas changed so that nothing of the image is left at T - 1 (Lin et al. 2024, algorithm 1).
    pub zero_terminal_snr: bool,
    /// How tables are kept.
    pub rounding: Rounding,
}

impl Default for Config {
    /// Ho et al. 2020: T = 1000, betas from 1e-4 to 0.02.
    fn default() -> Self {
        Self {
            timesteps: 1000,
            beta_schedule: BetaSchedule::Linear,
            beta_start: 1e-4,
            beta_end: 0.02,
            zero_terminal_snr: false,
            rounding: Rounding::F64,
        }
    }
}

/// The largest T that is taken: a table of it is a few megabytes.
const MAX_TIMESTEPS: usize = 100_000;

impl Config {
    /// Refuses what is no process.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("diffusion: {why}")));
        if self.timesteps == 0 || self.timesteps > MAX_TIMESTEPS {
            return wrong(format!(
                "timesteps {} must be from 1 to {MAX_TIMESTEPS}",
                self.timesteps
            ));
        }
        for (name, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return wrong(format!("{name} {beta} must be between 0 and 1"));
            }
        }
        if self.zero_terminal_snr && self.timesteps < 2 {
            return wrong("zero_terminal_snr needs two timesteps at least".to_owned());
        }
        Ok(())
    }

    fn betas(&self) -> Vec<f64> {
        let count = self.timesteps;
        // `count` numbers evenly from `first` to `last`; one number is the first.
        let evenly = |first: f64, last: f64| {
            let step = (last - first) / (count.max(2) - 1) as f64;
            (0..count).map(move |i| first + step * i as f64)
        };
        let (first, last) = (self.beta_start, self.beta_end);
        match self.beta_schedule {
            BetaSchedule::Linear => evenly(first, last).collect(),
            BetaSchedule::ScaledLinear => evenly(first.sqrt(), last.sqrt())
                .map(|root| root * root)
                .collect(),
            BetaSchedule::Cosine => {
                let abar = |u: f64| ((u + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
                let at = |i: usize| abar(i as f64 / count as f64);
                (0..count)
                    .map(|i| (1.0 - at(i + 1) / at(i)).min(0.999))
                    .collect()
            }
            BetaSchedule::Sigmoid => evenly(-6.0, 6.0)
                .map(|u| first + (last - first) / (1.0 + (-u).exp()))
                .collect(),
        }
    }
}

/// Betas whose last abar is 0, the first unchanged (Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed").
fn with_zero_terminal_snr(betas: &[f64]) -> Vec<f64> {
    let roots: Vec<f64> = cumulative(betas).iter().map(|a| a.sqrt()).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let moved = |root: f64| (root - last) * first / (first - last);
    let mut before = 1.0;
    roots
        .iter()
        .map(|&root| {
            let abar = moved(root).powi(2);
            let beta = 1.0 - abar / before;
            before = abar;
            beta
        })
        .collect()
}

/// Products of 1 - beta from the first on.
fn cumulative(betas: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    betas
        .iter()
        .map(|beta| {
            product *= 1.0 - beta;
            product
        })
        .collect()
}

/// A table `[rows, columns]` of reals that are known now.
pub(super) fn table<'g>(
    graph: &'g Graph,
    name: &str,
    rows: usize,
    values: impl Iterator<Item = f64>,
) -> Var<'g> {
    let values: Vec<f32> = values.map(|x| x as f32).collect();
    let shape = Shape::from([rows, values.len() / rows.max(1)]);
    graph.table(
        name,
        Value {
            shape,
            data: Data::F32(values),
        },
    )
}

/// The tables. All have T elements.
#[derive(Clone, Debug)]
pub struct Process {
    /// Variances of the forward steps.
    pub betas: Vec<f64>,
    /// abar: products of 1 - beta. q(x_t | x_0) = N(sqrt(abar) x_0, (1 - abar) I) (Ho et al. 2020, eq. 4).
    pub alphas_cumprod: Vec<f64>,
    /// The timestep that the network is told, which respacing leaves as it was in training.
    pub timesteps: Vec<usize>,
}

/// The posterior q(x_{t-1} | x_t, x_0): mean x0 * x_0 + xt * x_t, and its variance (Ho et al. 2020, eq. 7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// Coefficient of x_0.
    pub x0: f64,
    /// Coefficient of x_t.
    pub xt: f64,
    /// beta~; 0 at t = 0.
    pub variance: f64,
    /// Its logarithm; at t = 0, where it is minus infinity, that of t = 1 (as guided-diffusion: the variational bound needs a finite one).
    pub log_variance: f64,
}

/// A point of a process: x = `a` x_0 + `s` epsilon, and what the network is told there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Of the image.
    pub a: f64,
    /// Of the noise.
    pub s: f64,
    /// The network's t; where there is no network to ask, 0.
    pub timestep: f64,
}

/// What diffusers takes as abar at T - 1 where the terminal SNR is zero and a sampler divides by it: the smallest number of f16.
const LEAST_ABAR: f64 = 1.0 / (1 << 24) as f64;

impl Level {
    /// The image itself.
    pub const IMAGE: Self = Self {
        a: 1.0,
        s: 0.0,
        timestep: 0.0,
    };

    fn of_abar(abar: f64, timestep: f64) -> Self {
        Self {
            a: abar.sqrt(),
            s: (1.0 - abar).sqrt(),
            timestep,
        }
    }

    /// The point of a variance-preserving process where s / a is `sigma`.
    pub fn of_sigma(sigma: f64, timestep: f64) -> Self {
        let a = 1.0 / sigma.hypot(1.0);
        Self {
            a,
            s: sigma * a,
            timestep,
        }
    }

    /// s / a: diffusers' sigma. Infinite where nothing of the image is left.
    pub fn sigma(&self) -> f64 {
        self.s / self.a
    }

    /// -ln sigma: half the logarithm of the ratio of signal to noise (Lu et al. 2022, "DPM-Solver").
    pub fn lambda(&self) -> f64 {
        (self.a / self.s).ln()
    }

    /// The same, a little of the image left where there is nothing: samplers of second order divide by it.
    #[must_use]
    pub fn finite(self) -> Self {
        if self.a > 0.0 {
            self
        } else {
            Self::of_abar(LEAST_ABAR, self.timestep)
        }
    }
}

impl Process {
    /// The tables of a configuration.
    ///
    /// # Errors
    /// When it is no process.
    pub fn new(config: &Config) -> Result<Self> {
        config.check()?;
        let mut betas = config.betas();
        if config.zero_terminal_snr {
            betas = with_zero_terminal_snr(&betas);
        }
        if config.rounding == Rounding::F32 {
            betas.iter_mut().for_each(|b| *b = f64::from(*b as f32));
        }
        let mut process = Self::from_betas(betas);
        if config.rounding == Rounding::F32 {
            let round = |a: &mut f64| *a = f64::from(*a as f32);
            process.alphas_cumprod.iter_mut().for_each(round);
        }
        Ok(process)
    }

    fn from_betas(betas: Vec<f64>) -> Self {
        Self {
            alphas_cumprod: cumulative(&betas),
            timesteps: (0..betas.len()).collect(),
            betas,
        }
    }

    /// T.
    pub fn len(&self) -> usize {
        self.betas.len()
    }

    /// Whether there are no steps: never.
    pub fn is_empty(&self) -> bool {
        self.betas.is_empty()
    }

    /// The point at t.
    pub fn level(&self, t: usize) -> Level {
        Level::of_abar(self.alphas_cumprod[t], self.timesteps[t] as f64)
    }

    /// The point at a t between the integers: sigma is linear there, as diffusers has it.
    pub fn level_at(&self, t: f64) -> Level {
        let low = (t.floor() as usize).min(self.len() - 1);
        let share = t - low as f64;
        let (before, after) = (self.level(low), self.level((low + 1).min(self.len() - 1)));
        if share <= 0.0 {
            return before;
        }
        let between = |a: f64, b: f64| a + share * (b - a);
        let (low, high) = (before.finite().sigma(), after.finite().sigma());
        Level::of_sigma(between(low, high), between(before.timestep, after.timestep))
    }

    /// The t, between integers too, where ln sigma is that of `sigma`; the ends outside of the process.
    pub fn t_of_sigma(&self, sigma: f64) -> f64 {
        let of = |abar: f64| Level::of_abar(abar, 0.0).finite().sigma().ln();
        let wanted = sigma.max(1e-10).ln();
        // abar falls with t.
        let next = self.alphas_cumprod.partition_point(|&a| of(a) <= wanted);
        if next == 0 || next == self.len() {
            return next.min(self.len() - 1) as f64;
        }
        let low = of(self.alphas_cumprod[next - 1]);
        let high = of(self.alphas_cumprod[next]);
        (next - 1) as f64 + (wanted - low) / (high - low)
    }

    /// sqrt(abar), sqrt(1 - abar) of each t, by which [`Var::q_sample`] goes: `[T, 2]`.
    pub(in crate::models) fn jumps<'g>(&self, graph: &'g Graph) -> Var<'g> {
        let abar = &self.alphas_cumprod;
        let rows = abar.iter().flat_map(|a| [a.sqrt(), (1.0 - a).sqrt()]);
        table(graph, "process.jumps", abar.len(), rows)
    }

    /// Timesteps (u32) from numbers uniform on [0, 1).
    pub(in crate::models) fn drawn<'g>(&self, uniform: Var<'g>) -> Var<'g> {
        // The product may round up to T.
        let last = uniform.graph().constant((self.len() - 1) as f64);
        (uniform * self.len() as f64).min(last).cast(DType::U32)
    }

    /// abar of the step before t: 1 before the first.
    pub fn previous(&self, t: usize) -> f64 {
        t.checked_sub(1).map_or(1.0, |t| self.alphas_cumprod[t])
    }

    /// The posterior at t.
    pub fn posterior(&self, t: usize) -> Posterior {
        let variance =
            |t: usize| self.betas[t] * (1.0 - self.previous(t)) / (1.0 - self.alphas_cumprod[t]);
        let (abar, before) = (self.alphas_cumprod[t], self.previous(t));
        Posterior {
            x0: self.betas[t] * before.sqrt() / (1.0 - abar),
            xt: (1.0 - before) * (1.0 - self.betas[t]).sqrt() / (1.0 - abar),
            variance: variance(t),
            log_variance: match (t, self.len()) {
                (0, 1) => self.betas[0].ln(),
                (t, _) => variance(t.max(1)).ln(),
            },
        }
    }

    /// The ratio abar / (1 - abar) of signal to noise.
    pub fn snr(&self, t: usize) -> f64 {
        self.alphas_cumprod[t] / (1.0 - self.alphas_cumprod[t])
    }

    /// The process that visits only these timesteps, rising: beta becomes 1 - abar_t / abar_before (Nichol & Dhariwal 2021, eq. 19), and the
    /// network is told the t that it was trained with.
    ///
    /// # Errors
    /// When they do not rise, or leave the process.
    pub fn respaced(&self, timesteps: &[usize]) -> Result<Self> {
        let rises = timesteps.windows(2).all(|w| w[0] < w[1]);
        if timesteps.is_empty() || !rises || timesteps[timesteps.len() - 1] >= self.len() {
            return Err(Error::Usage(format!(
                "diffusion: timesteps to visit must rise and be below {}",
                self.len()
            )));
        }
        let mut before = 1.0;
        let beta = |&t: &usize| {
            let beta = 1.0 - self.alphas_cumprod[t] / before;
            before = self.alphas_cumprod[t];
            beta
        };
        Ok(Self {
            betas: timesteps.iter().map(beta).collect(),
            alphas_cumprod: timesteps.iter().map(|&t| self.alphas_cumprod[t]).collect(),
            timesteps: timesteps.iter().map(|&t| self.timesteps[t]).collect(),
        })
    }
}
