//! A process as tables over t, and its posterior.

use super::{Config, Flow, Kind, Level, Rounding, cumulative, with_zero_terminal_snr};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::tensor::{DType, Data, Shape, Value};

/// A table `[rows, columns]` of reals that are known now.
pub(in crate::models::diffusion) fn table<'g>(
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

/// The tables. All have T elements. Those of a process that is continuous in its noise are at T places of it, evenly (flow) or as Karras'
/// levels (EDM); betas and abar are then those of the variance-preserving process with the same ratios of signal to noise.
#[derive(Clone, Debug)]
pub struct Process {
    /// Variances of the forward steps.
    pub betas: Vec<f64>,
    /// abar: products of 1 - beta. q(x_t | x_0) = N(sqrt(abar) x_0, (1 - abar) I) (Ho et al. 2020, eq. 4).
    pub alphas_cumprod: Vec<f64>,
    /// The timestep that the network is told, which respacing leaves as it was in training.
    pub timesteps: Vec<usize>,
    /// What x is made of.
    pub kind: Kind,
    /// S at each t, where the process is continuous in it; else empty.
    noise: Vec<f64>,
    /// T of the whole process.
    whole: usize,
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

impl Process {
    /// The tables of a configuration.
    ///
    /// # Errors
    /// When it is no process.
    pub fn new(config: &Config) -> Result<Self> {
        config.check()?;
        if !config.kind.preserves_variance() {
            return Ok(Self::continuous(config.kind, config.timesteps));
        }
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
            kind: Kind::VariancePreserving,
            noise: Vec::new(),
            whole: betas.len(),
            betas,
        }
    }

    /// At `count` places, S rising.
    fn continuous(kind: Kind, count: usize) -> Self {
        let noise: Vec<f64> = (0..count)
            .map(|t| match kind {
                Kind::Edm(edm) => edm.spaced((count - 1 - t) as f64 / (count.max(2) - 1) as f64),
                Kind::Flow(flow) => Flow::shifted(flow.shift, (t + 1) as f64 / count as f64),
                Kind::VariancePreserving => 0.0,
            })
            .collect();
        let abar = |&noise: &f64| {
            let Level { a, s, .. } = Self::level_of(kind, count, noise);
            a * a / (a * a + s * s)
        };
        let alphas_cumprod: Vec<f64> = noise.iter().map(abar).collect();
        let mut before = 1.0;
        let betas = alphas_cumprod.iter().map(|&abar| {
            let beta = 1.0 - abar / before;
            before = abar;
            beta
        });
        Self {
            betas: betas.collect(),
            alphas_cumprod,
            timesteps: (0..count).collect(),
            kind,
            noise,
            whole: count,
        }
    }

    /// The point where S is `noise`, of a process that is continuous in it.
    fn level_of(kind: Kind, timesteps: usize, noise: f64) -> Level {
        match kind {
            Kind::Edm(edm) => edm.level(noise),
            _ => Flow::level(timesteps, noise),
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
        if let Some(&noise) = self.noise.get(t) {
            return Self::level_of(self.kind, self.whole, noise);
        }
        Level::of_abar(self.alphas_cumprod[t], self.timesteps[t] as f64)
    }

    /// The point at a t between the integers: sigma, of a continuous process its S, is linear there, as diffusers has it.
    pub fn level_at(&self, t: f64) -> Level {
        let low = (t.floor() as usize).min(self.len() - 1);
        let share = t - low as f64;
        let (before, after) = (self.level(low), self.level((low + 1).min(self.len() - 1)));
        if share <= 0.0 {
            return before;
        }
        let between = |a: f64, b: f64| a + share * (b - a);
        if let (Some(&a), Some(&b)) = (self.noise.get(low), self.noise.get(low + 1)) {
            return Self::level_of(self.kind, self.whole, between(a, b));
        }
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
            kind: self.kind,
            noise: timesteps
                .iter()
                .filter_map(|&t| self.noise.get(t).copied())
                .collect(),
            whole: self.whole,
        })
    }
}
