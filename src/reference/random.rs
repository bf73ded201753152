//! Uniform, normal and Bernoulli numbers from Philox's words: twins of `shaders/shared/noise.wgsl` and `normal.wgsl`.
//!
//! Error of a normal: the polynomials (Cephes logf, sinf, cosf) are within 1e-7 relative of ln and 1e-7 absolute of sine and cosine.
//! With at most fifteen f32 roundings in the radius' square and eight in the angle's functions, contracted or not, the f32
//! result is within 1.2e-6 of the exact Box-Muller transform of the same words (radius at most 5.8). A test measures it over a
//! million words.

use crate::kernels::functions::Distribution;
use crate::kernels::philox::{Key, RandomState};
use crate::real::Real;

/// Element `index` of a random tensor.
pub(crate) fn draw<T: Real>(
    distribution: Distribution,
    state: &RandomState,
    key: Key,
    stream: u32,
    index: usize,
) -> T {
    match distribution {
        Distribution::Uniform => uniform(state.word(key, stream, index)),
        Distribution::Normal => {
            let (first, second, odd) = state.pair(key, stream, index);
            let (even_value, odd_value) = box_muller(first, second);
            if odd { odd_value } else { even_value }
        }
        Distribution::Bernoulli(p) => {
            // The comparison is of exact f32 numbers, on the device as here.
            let u = f64::from(state.word(key, stream, index) >> 8) * 2_f64.powi(-24);
            T::from_f64(if u < f64::from(p) { 1.0 } else { 0.0 })
        }
    }
}

/// A multiple of 2^-24 in [0, 1).
pub(crate) fn uniform<T: Real>(word: u32) -> T {
    T::from_f64(f64::from(word >> 8) * 2_f64.powi(-24))
}

/// Two standard normals (Box & Muller 1958).
pub(crate) fn box_muller<T: Real>(first: u32, second: u32) -> (T, T) {
    let radius = minus_two_log::<T>(first >> 8).sqrt();
    let (cosine, sine) = unit_circle::<T>(second >> 8);
    (radius * cosine, radius * sine)
}

/// -2 ln((n + 1) 2^-24), by the kernel's polynomial.
fn minus_two_log<T: Real>(n: u32) -> T {
    let bits = ((n + 1) as f32).to_bits();
    let mut exponent = (bits >> 23) as i32 - 151;
    let mut mantissa = f64::from(f32::from_bits((bits & 0x7f_ffff) | 0x3f80_0000));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let c = T::from_f64;
    let f = c(mantissa - 1.0);
    let square = f * f;
    let coefficients = [
        7.037_683_629_2e-2,
        -1.151_461_031_0e-1,
        1.167_699_874_0e-1,
        -1.242_014_084_6e-1,
        1.424_932_278_7e-1,
        -1.666_805_766_5e-1,
        2.000_071_476_5e-1,
        -2.499_999_399_3e-1,
        3.333_333_117_4e-1,
    ];
    let p = coefficients[1..]
        .iter()
        .fold(c(coefficients[0]), |p, &a| p * f + c(a));
    let e = c(f64::from(exponent));
    let log =
        (p * f * square + e * c(-2.121_944_40e-4)) - c(0.5) * square + f + e * c(0.693_359_375);
    c(-2.0) * log
}

/// Cosine and sine of 2 pi w / 2^24, by the kernel's polynomials, the octant taken from the integer.
pub(super) fn unit_circle<T: Real>(w: u32) -> (T, T) {
    let quadrant = (w + 0x20_0000) >> 22;
    let rest = w.wrapping_sub(quadrant << 22) as i32;
    let c = T::from_f64;
    let x = c(f64::from(rest)) * c(std::f64::consts::TAU / 16_777_216.0);
    let z = x * x;
    let sine =
        ((c(-1.951_529_589_1e-4) * z + c(8.332_160_873_6e-3)) * z - c(1.666_665_461_1e-1)) * z * x
            + x;
    let cosine = ((c(2.443_315_711_809_948e-5) * z - c(1.388_731_625_493_765e-3)) * z
        + c(4.166_664_568_298_827e-2))
        * z
        * z
        - c(0.5) * z
        + c(1.0);
    match quadrant & 3 {
        0 => (cosine, sine),
        1 => (-sine, cosine),
        2 => (-cosine, -sine),
        _ => (sine, -cosine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::Tracked;

    #[test]
    fn normals_stay_within_the_stated_bound() {
        let state = RandomState {
            seed: 1,
            step: 2,
            cursor: 0,
        };
        let mut worst: f64 = 0.0;
        let edges = [
            (0, 0),
            (!0, !0),
            (!0, 0),
            (0, 0x2000_0000),
            (0xffff_fe00, 0x8000_0000),
        ];
        let random = (0..250_000).map(|i| {
            let (a, b, _) = state.pair(Key::Step, 9, 2 * i);
            (a, b)
        });
        for (a, b) in edges.into_iter().chain(random) {
            let u = (f64::from(a >> 8) + 1.0) * 2_f64.powi(-24);
            let angle = f64::from(b >> 8) * std::f64::consts::TAU * 2_f64.powi(-24);
            let exact = (-2.0 * u.ln()).max(0.0).sqrt();
            let (x, y) = box_muller::<f32>(a, b);
            let (tracked, _) = box_muller::<Tracked>(a, b);
            worst = worst.max((f64::from(x) - exact * angle.cos()).abs());
            worst = worst.max((f64::from(y) - exact * angle.sin()).abs());
            assert!((f64::from(x) - tracked.to_f64()).abs() <= tracked.tolerance());
        }
        assert!(worst < 1.2e-6, "{worst}");
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let state = RandomState {
            seed: 3,
            step: 0,
            cursor: 0,
        };
        let n = 200_000;
        for (distribution, mean, variance) in [
            (Distribution::Normal, 0.0, 1.0),
            (Distribution::Uniform, 0.5, 1.0 / 12.0),
            (Distribution::Bernoulli(0.3), 0.3, 0.21),
        ] {
            let x: Vec<f64> = (0..n)
                .map(|i| draw(distribution, &state, Key::Step, 4, i))
                .collect();
            let m = x.iter().sum::<f64>() / n as f64;
            let v = x.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / n as f64;
            assert!((m - mean).abs() < 5.0 * (variance / n as f64).sqrt());
            assert!((v - variance).abs() < 0.02 * variance);
        }
    }
}
