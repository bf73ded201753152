//! Codes to be decoded: grids, lines and traversals of latent space, for pictures of what a decoder has learned.
//!
//! ```
//! use wgen::evaluate::Evaluator;
//! use wgen::models::vae::{Config, Vae};
//! use wgen::models::{Model, codes};
//! use wgen::nn::init::draw;
//! use wgen::session::Device;
//!
//! // Five codes on the straight line from (0, 2) to (1, -2).
//! let line = codes::between(&[0.0, 2.0, 1.0, -2.0], 5);
//! assert_eq!(line.shape, [5, 2].into());
//! assert_eq!(line.data.to_f32()[..4], [0.0, 2.0, 0.25, 1.0]);
//!
//! let vae = Vae::new(Config { hidden: vec![16], latent: 2, ..Config::mnist() })?;
//! let weights: Vec<_> = vae.parameters().iter().map(|p| draw(p, 0)).collect();
//! let mut evaluator = Evaluator::new(&Device::Cpu, &vae, &weights, 1, 0)?;
//! let images = evaluator.once(&vae.decoding(5)?, vec![("z", line)], "images", 0)?;
//! assert_eq!(images.shape, [5, 784].into());
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::tensor::{Data, Value};

/// Codes at equal steps of the standard normal's distribution function, `side` in each direction: `[side * side, 2]` (Kingma & Welling
/// 2013, figure 4).
pub fn manifold(side: usize) -> Value {
    let quantiles: Vec<f32> = (0..side)
        .map(|i| standard_normal_quantile((i as f64 + 0.5) / side as f64) as f32)
        .collect();
    let codes = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let values = codes
        .flat_map(|(x, y)| [quantiles[x], quantiles[side - 1 - y]])
        .collect();
    Value {
        shape: [side * side, 2].into(),
        data: Data::F32(values),
    }
}

/// `steps` codes on the straight line between the two of `ends` `[2, latent]`, both included: `[steps, latent]`.
pub fn between(ends: &[f32], steps: usize) -> Value {
    let latent = ends.len() / 2;
    let (from, to) = ends.split_at(latent);
    let values = (0..steps)
        .flat_map(|i| {
            let t = i as f32 / (steps.max(2) - 1) as f32;
            (0..latent).map(move |d| from[d] * (1.0 - t) + to[d] * t)
        })
        .collect();
    Value {
        shape: [steps, latent].into(),
        data: Data::F32(values),
    }
}

/// Codes of `rows` lines of `steps`: line i moves unit i from -3 to 3, the others stay 0: `[rows * steps, latent]`.
pub fn traversal(latent: usize, rows: usize, steps: usize) -> Value {
    let mut codes = vec![0.0; rows * steps * latent];
    for row in 0..rows.min(latent) {
        for step in 0..steps {
            let place = step as f32 / (steps.max(2) - 1) as f32;
            codes[(row * steps + step) * latent + row] = 6.0 * place - 3.0;
        }
    }
    Value {
        shape: [rows * steps, latent].into(),
        data: Data::F32(codes),
    }
}

/// The standard normal's quantile, by bisection of erf.
fn standard_normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-9.0, 9.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if 0.5 * (1.0 + libm::erf(middle / std::f64::consts::SQRT_2)) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_ends_and_quantiles() {
        let line = between(&[0.0, 2.0, 1.0, -2.0], 5);
        assert_eq!(line.data.to_f32()[..4], [0.0, 2.0, 0.25, 1.0]);
        assert_eq!(line.data.to_f32()[8..], [1.0, -2.0]);
        assert!((standard_normal_quantile(0.975) - 1.959_963_985).abs() < 1e-8);
        let square = manifold(3).data.to_f32();
        assert!(square[8].abs() < 1e-6 && square[0] < -0.9 && square[1] > 0.9);
        let moved = traversal(3, 2, 3).data.to_f32();
        assert_eq!(moved[..9], [-3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0]);
        assert_eq!(moved[9..12], [0.0, -3.0, 0.0]);
    }
}
