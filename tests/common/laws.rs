//! Laws of one dimension whose probability flow is known.

use wgen::models::diffusion::process::Level;

/// Something that knows E[x_0 | x] at a level.
pub(crate) trait Law {
    fn denoise(&self, x: f64, level: Level) -> f64;
}

/// N(0.3, 0.5^2).
pub(crate) struct Normal;

impl Law for Normal {
    fn denoise(&self, x: f64, Level { a, s, .. }: Level) -> f64 {
        let (mean, deviation) = (0.3, 0.5_f64);
        let variance = (a * deviation).powi(2) + s * s;
        mean + a * deviation * deviation * (x - a * mean) / variance
    }
}

impl Normal {
    /// Where the flow goes from x at a level.
    pub(crate) fn exact(&self, x: f64, Level { a, s, .. }: Level) -> f64 {
        0.3 + 0.5 * (x - a * 0.3) / ((a * 0.5).powi(2) + s * s).sqrt()
    }
}

/// 0.3 N(-0.8, 0.2^2) + 0.7 N(0.6, 0.3^2).
pub(crate) struct Mixture;

/// Weight, mean, deviation.
pub(crate) const PARTS: [[f64; 3]; 2] = [[0.3, -0.8, 0.2], [0.7, 0.6, 0.3]];

impl Law for Mixture {
    fn denoise(&self, x: f64, Level { a, s, .. }: Level) -> f64 {
        let parts = PARTS.map(|[weight, mean, deviation]| {
            let variance = (a * deviation).powi(2) + s * s;
            let off = x - a * mean;
            let density = weight * (-0.5 * off * off / variance).exp() / variance.sqrt();
            [density, mean + a * deviation * deviation * off / variance]
        });
        parts.iter().map(|[p, m]| p * m).sum::<f64>() / parts.iter().map(|[p, _]| p).sum::<f64>()
    }
}

/// The error function, to the last digits of f64: its series, and beyond 3 its continued fraction.
pub(crate) fn error_function(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 3.0 {
        let mut term = z;
        let mut sum = z;
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut tail = z;
        for n in (1..100).rev() {
            tail = z + f64::from(n) / 2.0 / tail;
        }
        1.0 - (-z * z).exp() / (tail * std::f64::consts::PI.sqrt())
    };
    value * x.signum()
}

impl Mixture {
    fn distribution(&self, x: f64, Level { a, s, .. }: Level) -> f64 {
        let part = |[weight, mean, deviation]: [f64; 3]| {
            let scale = (2.0 * ((a * deviation).powi(2) + s * s)).sqrt();
            weight * 0.5 * (1.0 + error_function((x - a * mean) / scale))
        };
        PARTS.into_iter().map(part).sum()
    }

    /// Where the flow goes from x at a level to another: it keeps the distribution function.
    pub(crate) fn exact(&self, x: f64, from: Level, to: Level) -> f64 {
        let share = self.distribution(x, from);
        let (mut low, mut high) = (-9.0, 9.0);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if self.distribution(middle, to) < share {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }
}

/// The starts of the oracles.
pub(crate) const STARTS: [f64; 4] = [-2.0, -0.7, 0.4, 1.5];
