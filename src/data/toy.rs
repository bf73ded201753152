//! Points in the plane from simple distributions, on which a model trains in seconds and its samples are judged by eye: a ring of eight
//! modes, two moons, a swiss roll.
//!
//! ```
//! use wgen::data::toy::{Toy, points};
//!
//! let ring = points(Toy::Ring8, 1000, 0);
//! assert_eq!((ring.rows(), ring.classes()), (1000, 8));
//! for point in ring.values.to_f32().chunks_exact(2) {
//!     let radius = point[0].hypot(point[1]);
//!     assert!((radius - 2.0).abs() < 0.3, "{point:?}");
//! }
//! ```

use super::{Dataset, ImageShape};
use crate::nn::init::{generator, normal_pair, unit};
use crate::tensor::Data;

/// Which toy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toy {
    /// Eight modes on a circle of radius 2, sigma 0.05.
    Ring8,
    /// scikit-learn's two moons, noise 0.1.
    Moons,
    /// The spiral of scikit-learn's swiss roll in two dimensions, scaled to unit variance, noise 0.05.
    SwissRoll,
}

/// `count` points, the same for the same seed.
pub fn points(toy: Toy, count: usize, seed: u64) -> Dataset {
    let mut rng = generator(seed, "toy");
    let mut values = Vec::with_capacity(2 * count);
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count {
        let u = f64::from(unit(&mut rng));
        let (n1, n2) = normal_pair(&mut rng);
        let (x, y, label) = match toy {
            Toy::Ring8 => {
                let mode = (u * 8.0).floor();
                let angle = mode * std::f64::consts::TAU / 8.0;
                (
                    2.0 * angle.cos() + 0.05 * n1,
                    2.0 * angle.sin() + 0.05 * n2,
                    mode as u32,
                )
            }
            Toy::Moons => {
                let angle = std::f64::consts::PI * f64::from(unit(&mut rng));
                let (x, y, moon) = if u < 0.5 {
                    (angle.cos(), angle.sin(), 0)
                } else {
                    (1.0 - angle.cos(), 0.5 - angle.sin(), 1)
                };
                (x + 0.1 * n1, y + 0.1 * n2, moon)
            }
            Toy::SwissRoll => {
                let t = 1.5 * std::f64::consts::PI * (1.0 + 2.0 * u);
                // Variances of t cos t and t sin t over that range.
                let (x, y) = (
                    (t * t.cos() - SWISS_MEAN[0]) / SWISS_SCALE,
                    (t * t.sin() - SWISS_MEAN[1]) / SWISS_SCALE,
                );
                (x + 0.05 * n1, y + 0.05 * n2, 0)
            }
        };
        values.extend([x as f32, y as f32]);
        labels.push(label);
    }
    let classes = labels.iter().max().map_or(0, |&m| m + 1);
    Dataset {
        name: format!("toy:{}", toy.name()),
        shape: ImageShape {
            height: 1,
            width: 2,
            channels: 1,
        },
        values: Data::F32(values),
        labels: Some(labels),
        classes: (0..classes).map(|c| c.to_string()).collect(),
        views: None,
    }
}

/// Means of t cos t and t sin t for t uniform on [1.5 pi, 4.5 pi].
const SWISS_MEAN: [f64; 2] = [2.0, 0.212_206_590_789_193_8];

/// Root of the mean of the two variances.
const SWISS_SCALE: f64 = 6.789_094_610_971_4;

impl Toy {
    /// The name in a SPEC.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring8 => "ring8",
            Self::Moons => "moons",
            Self::SwissRoll => "swissroll",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toys_have_the_moments_they_claim() {
        let moments = |toy: Toy| {
            let v = points(toy, 100_000, 1).values.to_f64();
            let n = v.len() as f64 / 2.0;
            let mean = [0, 1].map(|c| v.iter().skip(c).step_by(2).sum::<f64>() / n);
            let variance = [0, 1].map(|c| {
                v.iter()
                    .skip(c)
                    .step_by(2)
                    .map(|x| (x - mean[c]).powi(2))
                    .sum::<f64>()
                    / n
            });
            (mean, variance)
        };
        let (mean, variance) = moments(Toy::SwissRoll);
        assert!(mean.iter().all(|m| m.abs() < 0.02), "{mean:?}");
        assert!(
            (variance[0] + variance[1] - 2.005).abs() < 0.02,
            "{variance:?}"
        );
        let (_, variance) = moments(Toy::Ring8);
        assert!(
            variance.iter().all(|v| (v - 2.0025).abs() < 0.03),
            "{variance:?}"
        );
    }
}
