//! Whether what was timed was also right.

use super::cases::Case;
use crate::error::Result;
use crate::gpu::{BufferSlice, Gpu};
use crate::kernels::matmul::{Layout, Matmul};
use crate::verify::{self, Comparison, cases};

/// Runs a case once and compares its result with its CPU twin's, or a large product by Freivalds' method.
pub(super) fn check(gpu: &Gpu, case: &Case, buffers: &[BufferSlice]) -> Result<Comparison> {
    match &case.product {
        Some(product) => freivalds(gpu, product, case, buffers),
        None => verify::kernel(gpu, case.kernel.as_ref(), &case.inputs),
    }
}

/// C v against A (B v) in f64, for three vectors v of signs (Freivalds 1977): a wrong element escapes one with probability 1/2 at
/// most, and a product of n^3 is checked with n^2 operations.
///
/// An element of C errs by k u |A| |B| at most, u = 2^-24 and the additions in any order (Higham 2002, eq. 3.13), so that the
/// row's tolerance is k u (|A| (|B| 1)), with one k more for the factor (1 + k u).
fn freivalds(
    gpu: &Gpu,
    product: &Matmul,
    case: &Case,
    buffers: &[BufferSlice],
) -> Result<Comparison> {
    let (m, n, k) = (product.m, product.n, product.k);
    let (a, b) = (case.inputs[0].to_f64(), case.inputs[1].to_f64());
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
            let share = (got - expected).abs() / tolerance;
            comparison.elements += n;
            // A NaN is no share at all.
            let share = if share.is_finite() {
                share
            } else {
                f64::INFINITY
            };
            comparison.worst_of_tolerance = comparison.worst_of_tolerance.max(share);
            comparison.require(share <= 1.0, || {
                format!("row {i} of C, times signs, is {got}, expected {expected} within {tolerance:.2e}")
            });
        }
    }
    Ok(comparison)
}
