//! Numbers that change with the step: learning rate, KL weight, EMA decay. Computed in f64 on the host, read from a table on the GPU.
//!
//! ```
//! use wgen::nn::schedule::{LearningRate, Shape, warm_up};
//!
//! let rate = LearningRate { peak: 1e-3, shape: Shape::Cosine, warmup: 10 };
//! let at = |step| rate.at(step, 110);
//! assert!((at(0) - 1e-4).abs() < 1e-12); // a tenth of the way up
//! assert!((at(10) - 1e-3).abs() < 1e-12);
//! assert!((at(60) - 5e-4).abs() < 1e-12); // half of the way down
//! assert_eq!(warm_up(2.0, 4, 1), 1.0); // the weight of a VAE's KL
//! ```

use serde::{Deserialize, Serialize};

/// How the learning rate moves after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Shape {
    /// It stays.
    #[default]
    Constant,
    /// It falls to zero along half a cosine (Loshchilov & Hutter 2017, without restarts).
    Cosine,
    /// It falls to a tenth, by the same factor each step (Mildenhall et al. 2020).
    Exponential,
    /// It falls to 0.33 of itself at 1/2, 3/4 and 9/10 of the steps (nerfacc's for hash grids).
    Stairs,
}

/// The learning rate by step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// After the warm-up.
    pub peak: f64,
    /// How it moves then.
    pub shape: Shape,
    /// Steps over which it rises linearly from 0.
    pub warmup: u64,
}

impl LearningRate {
    /// The rate at `step` (from 0) of `total`.
    pub fn at(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        match self.shape {
            Shape::Constant => self.peak,
            Shape::Cosine => {
                let length = total.saturating_sub(self.warmup).max(1) as f64;
                let progress = ((step - self.warmup) as f64 / length).min(1.0);
                self.peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Shape::Exponential => self.peak * 0.1_f64.powf(step as f64 / total.max(1) as f64),
            Shape::Stairs => {
                let passed = [(1, 2), (3, 4), (9, 10)]
                    .iter()
                    .filter(|(of, all)| step * all >= total * of);
                self.peak * 0.33_f64.powi(passed.count() as i32)
            }
        }
    }
}

/// A linear rise from 0 to `value` over `steps` steps; 0 steps for no rise.
pub fn warm_up(value: f64, steps: u64, step: u64) -> f64 {
    if step < steps {
        value * (step + 1) as f64 / steps as f64
    } else {
        value
    }
}

/// The decay of a moving average with the usual warm-up: min(decay, (1 + step) / (10 + step)).
pub fn ema_decay(decay: f64, step: u64) -> f64 {
    decay.min((1.0 + step as f64) / (10.0 + step as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_begin_and_end_where_they_should() {
        let rate = LearningRate {
            peak: 1e-3,
            shape: Shape::Cosine,
            warmup: 10,
        };
        assert!((rate.at(0, 110) - 1e-4).abs() < 1e-12);
        assert!((rate.at(10, 110) - 1e-3).abs() < 1e-12);
        assert!((rate.at(60, 110) - 5e-4).abs() < 1e-12);
        assert!(rate.at(110, 110) < 1e-12);
        let exponential = LearningRate {
            shape: Shape::Exponential,
            warmup: 0,
            ..rate
        };
        assert_eq!(exponential.at(0, 200), 1e-3);
        assert!((exponential.at(100, 200) - 1e-3 * 0.1_f64.sqrt()).abs() < 1e-12);
        let stairs = LearningRate {
            shape: Shape::Stairs,
            ..rate
        };
        // Of 3,500 steps: 1,750, 2,625 and 3,150.
        let at = |step| (stairs.at(step, 3500) * 1e6).round();
        assert_eq!([at(4), at(10), at(1749)], [500.0, 1000.0, 1000.0]);
        assert_eq!([at(1750), at(2624), at(2625)], [330.0, 330.0, 109.0]);
        assert_eq!([at(3149), at(3150), at(3499)], [109.0, 36.0, 36.0]);
        assert_eq!(warm_up(2.0, 0, 0), 2.0);
        assert_eq!(warm_up(2.0, 4, 1), 1.0);
        assert!((ema_decay(0.999, 0) - 0.1).abs() < 1e-12);
        assert_eq!(ema_decay(0.999, 1_000_000), 0.999);
    }
}
