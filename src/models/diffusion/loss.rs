//! What a prediction is compared with: the squared error and the terms of the variational bound.

use super::noised::{At, Noised};
use super::process::{Kind, Prediction, Variance, table};
use super::{Conditions, Diffusion, Loss, samplers};
use crate::graph::{Graph, Var};
use crate::models::model::Model;
use crate::nn::Pass;

/// Columns of the table of what the loss needs of each t.
mod entry {
    pub(super) const WEIGHT: usize = 0;
    pub(super) const TARGET_X0: usize = 1;
    pub(super) const TARGET_NOISE: usize = 2;
    pub(super) const X0_X: usize = 3;
    pub(super) const X0_P: usize = 4;
    pub(super) const POSTERIOR_X0: usize = 5;
    pub(super) const POSTERIOR_XT: usize = 6;
    pub(super) const LOG_SMALL: usize = 7;
    pub(super) const LOG_LARGE: usize = 8;
    pub(super) const IS_FIRST: usize = 9;
    pub(super) const COLUMNS: usize = 10;
}

/// A prediction and all that a loss compares it with.
pub(super) struct Predicted<'g> {
    x0: Var<'g>,
    xt: Var<'g>,
    noise: Var<'g>,
    at: At<'g>,
    /// `[batch, width]`.
    mean: Var<'g>,
    /// `[batch, width]`, of a learned variance.
    variance: Option<Var<'g>>,
}

impl Diffusion {
    /// A column of what the loss needs, for each of `t`: `[batch, 1]`.
    fn entries<'g>(&self, graph: &'g Graph, t: Var<'g>) -> impl Fn(usize) -> Var<'g> {
        let config = &self.config;
        let row = |t: usize| {
            let abar = self.process.alphas_cumprod[t];
            let (signal, deviation) = (abar.sqrt(), (1.0 - abar).sqrt());
            let [target_x0, target_noise] = match config.prediction {
                Prediction::Epsilon => [0.0, 1.0],
                Prediction::Sample => [1.0, 0.0],
                Prediction::Velocity => [-deviation, signal],
                // Of other processes, which have no table.
                Prediction::Flow | Prediction::Edm => [-1.0, 1.0],
            };
            let [x0_x, x0_p] = samplers::x0_of(config.prediction, self.process.level(t));
            let posterior = self.process.posterior(t);
            let mut row = [0.0; entry::COLUMNS];
            row[entry::WEIGHT] = self.weight(t);
            row[entry::TARGET_X0] = target_x0;
            row[entry::TARGET_NOISE] = target_noise;
            row[entry::X0_X] = x0_x;
            row[entry::X0_P] = x0_p;
            row[entry::POSTERIOR_X0] = posterior.x0;
            row[entry::POSTERIOR_XT] = posterior.xt;
            row[entry::LOG_SMALL] = posterior.log_variance;
            row[entry::LOG_LARGE] = self.process.betas[t].ln();
            row[entry::IS_FIRST] = if t == 0 { 1.0 } else { 0.0 };
            row
        };
        let rows = (0..self.process.len()).flat_map(row);
        let rows = table(graph, "process.loss", self.process.len(), rows).gather(t);
        move |column: usize| rows.slice(1, column, column + 1)
    }

    /// The weight of the squared error at t.
    fn weight(&self, t: usize) -> f64 {
        let Loss::MinSnr(gamma) = self.config.loss else {
            return 1.0;
        };
        let snr = self.process.snr(t);
        match self.config.prediction {
            Prediction::Epsilon => snr.min(gamma) / snr,
            Prediction::Sample => snr.min(gamma),
            Prediction::Velocity => snr.min(gamma) / (snr + 1.0),
            Prediction::Flow | Prediction::Edm => 1.0,
        }
    }

    pub(super) fn predicted<'g>(
        &self,
        pass: &Pass<'g>,
        noised: Noised<'g>,
        told: Conditions<'g>,
    ) -> Predicted<'g> {
        let Noised { x0, xt, noise, at } = noised;
        let rows = x0.shape().dims()[0];
        let [_, channels] = self.pixels();
        let prediction = self.predict(pass, xt, at.told(), told);
        let flat = |v: Var<'g>| v.reshape([rows, self.width()]);
        let learned = self.config.variance == Variance::LearnedRange;
        Predicted {
            x0,
            xt,
            noise,
            at,
            mean: if learned {
                flat(prediction.slice(2, 0, channels))
            } else {
                flat(prediction)
            },
            variance: learned.then(|| flat(prediction.slice(2, channels, 2 * channels))),
        }
    }

    /// The weighted squared error an element of each example: `[batch]`.
    pub(super) fn squared_error<'g>(&self, p: &Predicted<'g>) -> Var<'g> {
        let t = match p.at {
            At::Timestep(t) => t,
            // Unweighted: of EDM that is 1 / c_out^2 times the error of x_0 (Karras et al. 2022, table 1).
            At::Noise { a, s, .. } => {
                return p.mean.squared_error(self.target(p, a, s)).mean(&[1]);
            }
        };
        let of_t = self.entries(p.mean.graph(), t);
        let target = match self.config.prediction {
            Prediction::Epsilon => p.noise,
            Prediction::Sample => p.x0,
            _ => p.x0 * of_t(entry::TARGET_X0) + p.noise * of_t(entry::TARGET_NOISE),
        };
        let error = p.mean.squared_error(target).mean(&[1]);
        match self.config.loss {
            Loss::MinSnr(_) => error * of_t(entry::WEIGHT).reshape(error.shape()),
            _ => error,
        }
    }

    /// What the network should have said where x = a x_0 + s epsilon, of a process that is continuous in its noise.
    fn target<'g>(&self, p: &Predicted<'g>, a: Var<'g>, s: Var<'g>) -> Var<'g> {
        match (self.config.prediction, self.process.kind) {
            (Prediction::Sample, _) => p.x0,
            // (x_0 - c_skip x / c_in) / c_out.
            (Prediction::Edm, Kind::Edm(edm)) => {
                p.x0 * (s * (1.0 / edm.sigma_data)) - p.noise * (a * edm.sigma_data)
            }
            // A flow's velocity.
            _ => p.noise - p.x0,
        }
    }

    /// The term of the variational bound at each example's t, a dimension: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), and at t = 0
    /// -ln p(x_0 | x_1) (Nichol & Dhariwal 2021, eqs. 4 to 7). In bits for pixels, whose likelihood is that of 256 levels, in nats for points.
    /// With `clip`, predictions of x_0 are clipped as sampling does. `[batch]`.
    pub(super) fn bound_term<'g>(&self, p: &Predicted<'g>, clip: bool) -> Var<'g> {
        let At::Timestep(t) = p.at else {
            // Refused before.
            return p.mean.mean(&[1]);
        };
        let of_t = self.entries(p.mean.graph(), t);
        let mut x0 = of_t(entry::X0_X) * p.xt + of_t(entry::X0_P) * p.mean;
        if let Some(range) = self.config.clip.filter(|_| clip) {
            x0 = x0.clamp(-range, range);
        }
        let (a, b) = (of_t(entry::POSTERIOR_X0), of_t(entry::POSTERIOR_XT));
        let (low, high) = (of_t(entry::LOG_SMALL), of_t(entry::LOG_LARGE));
        let mean = a * x0 + b * p.xt;
        let log_variance = match (self.config.variance, p.variance) {
            (Variance::LearnedRange, Some(v)) => low + (v + 1.0) * 0.5 * (high - low),
            (Variance::FixedLarge, _) => high.broadcast_to(mean.shape()),
            _ => low.broadcast_to(mean.shape()),
        };
        let true_mean = a * p.x0 + b * p.xt;
        let kl = true_mean.gaussian_kl(low, mean, log_variance).mean(&[1]);
        let first = if self.config.pixels {
            -p.x0
                .discretized_gaussian_log_likelihood(mean, log_variance * 0.5)
        } else {
            mean.gaussian_nll(log_variance, p.x0)
        };
        let is_first = of_t(entry::IS_FIRST).reshape(kl.shape());
        is_first.select(first.mean(&[1]), kl) * self.unit()
    }

    /// What nats are multiplied by: pixels are reported in bits.
    pub(super) fn unit(&self) -> f64 {
        if self.config.pixels {
            1.0 / std::f64::consts::LN_2
        } else {
            1.0
        }
    }

    /// What is minimised and what is reported: sums over the batch.
    pub(super) fn losses<'g>(
        &self,
        predicted: Predicted<'g>,
    ) -> (Var<'g>, Vec<(&'static str, Var<'g>)>) {
        let squared = self.squared_error(&predicted).sum_all();
        // The mean over t, times as many: the whole bound.
        let terms = self.process.len() as f64;
        match self.config.loss {
            Loss::Simple | Loss::MinSnr(_) => (squared, vec![("loss", squared)]),
            Loss::Vlb => {
                let bound = self.bound_term(&predicted, false).sum_all() * terms;
                (bound, vec![("loss", bound), ("squared_error", squared)])
            }
            Loss::Hybrid => {
                let frozen = Predicted {
                    mean: predicted.mean.stop_gradient(),
                    ..predicted
                };
                let bound = self.bound_term(&frozen, false).sum_all() * terms;
                let loss = squared + bound * 1e-3;
                let metrics = vec![("loss", loss), ("squared_error", squared), ("bound", bound)];
                (loss, metrics)
            }
        }
    }
}
