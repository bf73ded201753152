//! Whether what was timed was also right.

use super::cases::Case;
use crate::error::Result;
use crate::gpu::{BufferSlice, Gpu};
use crate::kernels::conv2d::{Conv2d, Direction, Geometry};
use crate::kernels::matmul::{Layout, Matmul};
use crate::reference::conv2d;
use crate::tensor::Data;
use crate::verify::{self, Comparison, cases};

/// Runs a case once and compares its result with its CPU twin's, or a large product or convolution by Freivalds' method.
pub(super) fn check(
    gpu: &Gpu,
    case: &Case,
    inputs: &[Data],
    buffers: &[BufferSlice],
) -> Result<Comparison> {
    match (&case.product, &case.convolution) {
        (Some(product), _) => freivalds(gpu, product, inputs, buffers),
        (_, Some(convolution)) => freivalds_of_channels(gpu, convolution, inputs, buffers),
        _ => verify::kernel(gpu, case.kernel.as_ref(), inputs),
    }
}

/// C v against A (B v) in f64, for three vectors v of signs (Freivalds 1977): a wrong element escapes one with probability 1/2 at
/// most, and a product of n^3 is checked with n^2 operations.
///
/// An element of C errs by k u |A| |B| at most, u = 2^-24 and the additions in any order (Higham 2002, eq. 3.13), so that the
/// row's tolerance is k u (|A| (|B| 1)), with one k more for the factor (1 + k u). Matrix units cut where others round, 2 u an addition; their operands are ones that f16
/// holds.
fn freivalds(
    gpu: &Gpu,
    product: &Matmul,
    inputs: &[Data],
    buffers: &[BufferSlice],
) -> Result<Comparison> {
    let (m, n, k) = (product.m, product.n, product.k);
    let (a, b) = (inputs[0].to_f64(), inputs[1].to_f64());
    let c = gpu.read(&buffers[2..3])?.remove(0);
    let c: Vec<f64> = c[..4 * m * n]
        .chunks_exact(4)
        .map(|w| f64::from(f32::from_le_bytes([w[0], w[1], w[2], w[3]])))
        .collect();
    let a_at = |i: usize, l: usize| match product.layout {
        Layout::Tn => a[l * m + i],
        _ => a[i * k + l],
    };
    let b_at = |l: usize, j: usize| match product.layout {
        Layout::Nt => b[j * k + l],
        _ => b[l * n + j],
    };
    let u = 2.0_f64.powi(-24);
    let mut comparison = Comparison::default();
    for seed in 0..3 {
        let signs: Vec<f64> = cases::integers(100 + seed, 2, n)
            .as_u32()
            .iter()
            .map(|&s| f64::from(s) * 2.0 - 1.0)
            .collect();
        let (mut bv, mut b_abs) = (vec![0.0; k], vec![0.0; k]);
        for l in 0..k {
            for (j, sign) in signs.iter().enumerate() {
                bv[l] += b_at(l, j) * sign;
                b_abs[l] += b_at(l, j).abs();
            }
        }
        for i in 0..m {
            let (mut expected, mut scale) = (0.0, 0.0);
            for l in 0..k {
                expected += a_at(i, l) * bv[l];
                scale += a_at(i, l).abs() * b_abs[l];
            }
            let got: f64 = c[i * n..(i + 1) * n]
                .iter()
                .zip(&signs)
                .map(|(c, s)| c * s)
                .sum();
            let tolerance = 2.0 * k as f64 * u * scale;
            comparison.elements += n;
            share_of(&mut comparison, i, got, expected, tolerance);
        }
    }
    Ok(comparison)
}

/// The same for a convolution, which is a product too: its result's channels (of a gradient by weights, its rows), each times a sign and
/// added, against the convolution of one channel whose weights (or gradient) were added so.
fn freivalds_of_channels(
    gpu: &Gpu,
    kernel: &Conv2d,
    inputs: &[Data],
    buffers: &[BufferSlice],
) -> Result<Comparison> {
    let g = &kernel.geometry;
    let (a, b) = (inputs[0].to_f64(), inputs[1].to_f64());
    let (_, _, count) = kernel.counts();
    let c = gpu.read(&buffers[2..3])?.remove(0);
    let c: Vec<f64> = c[..4 * count]
        .chunks_exact(4)
        .map(|w| f64::from(f32::from_le_bytes([w[0], w[1], w[2], w[3]])))
        .collect();
    // The axis that signs run along, in the operand that has it and in the result: (sizes outside, along, inside).
    let [height, width] = g.out_image();
    let pixels = |side: [usize; 2]| g.batch * side[0] * side[1];
    let taps = g.kernel[0] * g.kernel[1];
    let (small, operand, result, terms) = match kernel.direction {
        Direction::Forward => (
            Geometry {
                out_channels: 1,
                ..*g
            },
            [1, g.out_channels, taps * g.channels],
            [pixels([height, width]), g.out_channels, 1],
            taps * g.channels,
        ),
        Direction::Input => (
            Geometry { channels: 1, ..*g },
            [g.out_channels * taps, g.channels, 1],
            [pixels(g.image), g.channels, 1],
            taps * g.out_channels,
        ),
        Direction::Weight => (
            Geometry {
                out_channels: 1,
                ..*g
            },
            [pixels([height, width]), g.out_channels, 1],
            [1, g.out_channels, taps * g.channels],
            pixels([height, width]),
        ),
    };
    let added =
        |values: &[f64], [outer, along, inner]: [usize; 3], signs: &dyn Fn(usize) -> f64| {
            let mut sums = vec![0.0; outer * inner];
            for (i, value) in values.iter().enumerate() {
                let at = i / (along * inner) * inner + i % inner;
                sums[at] += signs(i / inner % along) * value;
            }
            sums
        };
    let product = |a: &[f64], b: &[f64]| match kernel.direction {
        Direction::Forward => conv2d::forward(&small, a, b),
        Direction::Input => conv2d::input(&small, a, b),
        Direction::Weight => conv2d::weight(&small, 0..g.batch * height, a, b),
    };
    let of = |x: &[f64], y: &[f64], signs: &dyn Fn(usize) -> f64| match kernel.direction {
        Direction::Weight => product(&added(x, operand, signs), y),
        _ => product(x, &added(y, operand, signs)),
    };
    let abs = |values: &[f64]| values.iter().map(|v| v.abs()).collect::<Vec<_>>();
    let scale = of(&abs(&a), &abs(&b), &|_| 1.0);
    let mut comparison = Comparison::default();
    for seed in 0..3 {
        let words = cases::integers(100 + seed, 2, result[1]);
        let signs = |i: usize| f64::from(words.as_u32()[i]) * 2.0 - 1.0;
        let expected = of(&a, &b, &signs);
        let got = added(&c, result, &signs);
        comparison.elements += c.len();
        for (i, ((got, expected), scale)) in got.iter().zip(&expected).zip(&scale).enumerate() {
            let tolerance = 2.0 * terms as f64 * 2.0_f64.powi(-24) * scale;
            share_of(&mut comparison, i, *got, *expected, tolerance);
        }
    }
    Ok(comparison)
}

/// Notes how much of its tolerance a sum of signed elements takes.
fn share_of(comparison: &mut Comparison, at: usize, got: f64, expected: f64, tolerance: f64) {
    let share = (got - expected).abs() / tolerance;
    // A NaN is no share at all.
    let share = if share.is_finite() {
        share
    } else {
        f64::INFINITY
    };
    comparison.worst_of_tolerance = comparison.worst_of_tolerance.max(share);
    comparison.require(share <= 1.0, || {
        format!(
            "signed sum {at} of the result is {got}, expected {expected} within {tolerance:.2e}"
        )
    });
}
