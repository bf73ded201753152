//! The variational bound of a diffusion model's negative log-likelihood on a data set, term by term of the process: which timesteps cost
//! how much.
//!
//! ```
//! use wgen::data::toy::{Toy, points};
//! use wgen::evaluate::Evaluator;
//! use wgen::models::Model;
//! use wgen::models::diffusion::{Config, Diffusion, Network, mlp};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! let data = points(Toy::Ring8, 20, 0);
//! let network = Network::Mlp(mlp::Config { width: 2, hidden: 16, blocks: 1, outputs: 2, classes: 0 });
//! let model = Diffusion::new(Config::of(data.shape, false, network))?;
//! let weights: Vec<_> = model.parameters().iter().map(|p| draw(p, 0)).collect();
//! let mut evaluator = Evaluator::new(&Device::Cpu, &model, &weights, 20, 0)?;
//!
//! // Five of the thousand timesteps; each stands for those around it.
//! let bound = evaluator.bound(&model, &data, 5, 0)?;
//! assert_eq!(bound.terms.iter().map(|term| term.of).sum::<usize>(), 1000);
//! // Next to nothing of an example is left at the last timestep.
//! assert!(bound.prior < 1e-3 && bound.total > bound.prior, "{bound:?} {}", bound.unit);
//! # Ok::<(), wgen::Error>(())
//! ```

use rand::RngExt;
use serde::Serialize;

use super::Evaluator;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::models::DataType;
use crate::models::diffusion::Diffusion;
use crate::nn::init::generator;
use crate::tensor::Value;

/// A bound of -ln p(x_0) a dimension, and what it is made of (Ho et al. 2020, eq. 5).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// `bits a dimension` of pixels, `nats a dimension` of points.
    pub unit: &'static str,
    /// The sum of the terms and the prior's.
    pub total: f64,
    /// KL(q(x_T | x_0) || N(0, I)).
    pub prior: f64,
    /// Means over the examples at the timesteps that were evaluated.
    pub terms: Vec<Term>,
}

/// The term of one timestep, for those around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Term {
    /// t
    pub timestep: usize,
    /// How many terms it stands for.
    pub of: usize,
    /// Its mean over the examples.
    pub mean: f64,
    /// The mean squared error of the network's prediction there.
    pub squared_error: f64,
}

/// Timesteps to evaluate of a process of `total`: 0 always, and a random one of each of `count` - 1 runs of the others, with the length of
/// its run. All where `count` is `total`.
fn strata(total: usize, count: usize, seed: u64) -> Vec<(usize, usize)> {
    let mut rng = generator(seed, "bound");
    let runs = count.saturating_sub(1);
    let mut all = vec![(0, 1)];
    for i in 0..runs {
        let edge = |i: usize| 1 + i * (total - 1) / runs;
        let (first, end) = (edge(i), edge(i + 1));
        all.push((rng.random_range(first..end), end - first));
    }
    all
}

impl Evaluator {
    /// The bound by `count` of the process's timesteps: an unbiased estimate, exact but for the noise of q where `count` is T.
    ///
    /// # Errors
    /// When there are not so many timesteps, or the data does not fit.
    pub fn bound(
        &mut self,
        model: &Diffusion,
        dataset: &Dataset,
        count: usize,
        seed: u64,
    ) -> Result<Bound> {
        let total = model.process().len();
        if count < 2.min(total) || count > total {
            return Err(Error::field(
                "bound",
                format!("{count}: from 2 to {total} timesteps can be evaluated"),
            ));
        }
        let strata = strata(total, count, seed);
        let mut sums = vec![[0.0; 2]; strata.len()];
        let mut prior = 0.0;
        let at = |repeat: u64| strata[repeat as usize].0 as f32;
        self.over_with(
            dataset,
            strata.len() as u64,
            |data: &DataType, batch| model.bound(data, batch),
            &["term", "squared_error", "prior"],
            |repeat| match Value::f32([1], vec![at(repeat)]) {
                Ok(t) => vec![("t", t)],
                Err(_) => Vec::new(),
            },
            |_, real, repeat, values| {
                let sum = |i: usize| values[i].data.to_f64()[..real].iter().sum::<f64>();
                let slot = &mut sums[repeat as usize];
                slot[0] += sum(0);
                slot[1] += sum(1);
                if repeat == 0 {
                    prior += sum(2);
                }
            },
        )?;
        let rows = dataset.rows() as f64;
        let terms: Vec<Term> = strata
            .iter()
            .zip(&sums)
            .map(|(&(timestep, of), sums)| Term {
                timestep,
                of,
                mean: sums[0] / rows,
                squared_error: sums[1] / rows,
            })
            .collect();
        let prior = prior / rows;
        Ok(Bound {
            unit: if model.config().pixels {
                "bits a dimension"
            } else {
                "nats a dimension"
            },
            total: prior + terms.iter().map(|t| t.of as f64 * t.mean).sum::<f64>(),
            prior,
            terms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_cover_every_timestep_once() {
        for (total, count) in [(1000, 20), (1000, 1000), (7, 3), (2, 2), (1, 1)] {
            let strata = strata(total, count, 4);
            assert_eq!(strata.len(), count);
            assert_eq!(strata.iter().map(|s| s.1).sum::<usize>(), total);
            assert!(strata.windows(2).all(|w| w[0].0 < w[1].0));
        }
    }
}
