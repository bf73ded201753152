//! Initial weights: the same on every machine, each parameter's drawn from a random stream of its own, in the order that files have.
//!
//! ```
//! use wgen::graph::layout::{Init, Parameter};
//! use wgen::nn::init::draw;
//!
//! let w = Parameter::new("w", [100, 100], Init::Normal(0.0, 0.02));
//! let values = draw(&w, 7);
//! let squares: f32 = values.iter().map(|x| x * x).sum();
//! assert!(((squares / 1e4).sqrt() - 0.02).abs() < 1e-3);
//! // Another name is another stream, so that one more parameter changes no other.
//! let v = Parameter { name: "v".to_owned(), ..w.clone() };
//! assert_eq!(draw(&w, 7), values);
//! assert_ne!(draw(&v, 7), values);
//! ```

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::graph::layout::{Init, Parameter};

/// FNV-1a, 64 bits: for names and for telling files apart, not against anyone.
pub fn hash(bytes: &[u8]) -> u64 {
    hash_on(0xcbf2_9ce4_8422_2325, bytes.iter().copied())
}

/// The hash of what `state` is the hash of, followed by `bytes`.
pub(crate) fn hash_on(state: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(state, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A generator for `name` under `seed`: ChaCha8, whose output is fixed for all versions and machines.
pub fn generator(seed: u64, name: &str) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    // In the key, so that adding a parameter moves no other.
    key[8..16].copy_from_slice(&hash(name.as_bytes()).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A uniform number in [0, 1) with 24 bits.
pub fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.random::<u32>() >> 8) as f32 / 16_777_216.0
}

/// Two standard normal numbers (Box & Muller 1958), computed in f64.
pub(crate) fn normal_pair(rng: &mut ChaCha8Rng) -> (f64, f64) {
    let u = 1.0 - f64::from(unit(rng));
    let angle = f64::from(unit(rng)) * std::f64::consts::TAU;
    let radius = (-2.0 * u.ln()).sqrt();
    (radius * angle.cos(), radius * angle.sin())
}

/// The initial values of a parameter, in the device's order.
pub fn draw(parameter: &Parameter, seed: u64) -> Vec<f32> {
    let mut rng = generator(seed, &parameter.name);
    let count = parameter.shape.count();
    let border: Vec<f32> = match parameter.init {
        Init::Constant(value) => vec![value; count],
        Init::Uniform(bound) => (0..count)
            .map(|_| bound * (2.0 * unit(&mut rng) - 1.0))
            .collect(),
        Init::Normal(mean, deviation) => (0..count.div_ceil(2))
            .flat_map(|_| <[f64; 2]>::from(normal_pair(&mut rng)))
            .map(|x| mean + deviation * x as f32)
            .take(count)
            .collect(),
    };
    parameter.from_border(&border)
}
