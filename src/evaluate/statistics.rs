//! Distances between two clouds of features, such as samples' and real images': Fréchet and kernel distance, precision, recall, density and
//! coverage. In f64 on the CPU.
//!
//! ```
//! use wgen::evaluate::statistics::{Features, compare};
//! use wgen::verify::cases::{Values, numbers};
//!
//! let cloud = |seed, shift: f32| {
//!     let values = numbers(Values::Normal, seed, 200 * 4).to_f32();
//!     Features { width: 4, values: values.iter().map(|x| x + shift).collect() }
//! };
//! let same = compare(&cloud(1, 0.0), &cloud(2, 0.0))?;
//! let far = compare(&cloud(1, 0.0), &cloud(2, 9.0))?;
//! assert!(same.precision > 0.8 && far.precision == 0.0);
//! // Of normal clouds the squared distance of their means: 4 x 9^2.
//! assert!(same.frechet_distance < 1.0 && (far.frechet_distance - 324.0).abs() < 20.0);
//! # Ok::<(), wgen::Error>(())
//! ```

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Features of images: `[rows, width]`, row after row.
#[derive(Clone, Debug)]
pub struct Features {
    /// Elements of a row.
    pub width: usize,
    /// Row after row.
    pub values: Vec<f32>,
}

/// How two clouds of the same size compare, the first being what should be met.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Rows of each.
    pub n: usize,
    /// Share of the second inside of the first's k-nearest-neighbour balls (Kynkaanniemi et al. 2019).
    pub precision: f64,
    /// Share of the first inside of the second's.
    pub recall: f64,
    /// Balls of the first that a row of the second lies in, over k (Naeem et al. 2020, eq. 3).
    pub density: f64,
    /// Share of the first whose ball holds a row of the second (eq. 4 there).
    pub coverage: f64,
    /// |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)): the 2-Wasserstein distance of normal distributions (Dowson & Landau 1982).
    pub frechet_distance: f64,
    /// Squared maximum mean discrepancy, kernel (x y / width + 1)^3, unbiased (Gretton et al. 2012, eq. 3; Binkowski et al. 2018).
    pub kernel_distance: f64,
}

/// Neighbours that make a ball.
const NEIGHBOURS: usize = 5;

/// Rows of a block of distances.
const BLOCK: usize = 256;

impl Features {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    fn squares(&self) -> Vec<f32> {
        let square = |i| self.row(i).iter().map(|x| x * x).sum();
        (0..self.rows()).map(square).collect()
    }
}

/// Inner products of rows `first..first + count` of `a` with all of `b`: `[count, rows of b]`.
fn products(a: &Features, first: usize, count: usize, b: &Features) -> Vec<f32> {
    let (width, columns) = (a.width, b.rows());
    let mut out = vec![0.0; count * columns];
    let rows = &a.values[first * width..(first + count) * width];
    // SAFETY: the slices have exactly count * width, columns * width and count * columns elements, which the strides stay inside of.
    unsafe {
        gemm::gemm(
            count,
            columns,
            width,
            out.as_mut_ptr(),
            1,
            columns as isize,
            false,
            rows.as_ptr(),
            1,
            width as isize,
            b.values.as_ptr(),
            width as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
    out
}

/// Each block of rows of `a`: its first row, and its inner products with all of `b`.
fn blocks<R: Send>(a: &Features, b: &Features, each: impl Fn(usize, &[f32]) -> R + Sync) -> Vec<R> {
    let starts: Vec<usize> = (0..a.rows()).step_by(BLOCK).collect();
    starts
        .into_par_iter()
        .map(|first| {
            let count = BLOCK.min(a.rows() - first);
            each(first, &products(a, first, count, b))
        })
        .collect()
}

/// The squared distance of each row to its k-th nearest other one.
fn radii(a: &Features) -> Vec<f32> {
    let (squares, columns) = (a.squares(), a.rows());
    let of_block = |first: usize, products: &[f32]| -> Vec<f32> {
        let one = |(i, line): (usize, &[f32])| {
            let mut distances: Vec<f32> = line
                .iter()
                .enumerate()
                .filter(|(j, _)| *j != first + i)
                .map(|(j, p)| squares[first + i] + squares[j] - 2.0 * p)
                .collect();
            let k = NEIGHBOURS.min(distances.len()) - 1;
            *distances.select_nth_unstable_by(k, f32::total_cmp).1
        };
        products
            .chunks_exact(columns)
            .enumerate()
            .map(one)
            .collect()
    };
    blocks(a, a, of_block).concat()
}

/// The mean of the kernel over pairs of rows of `a` and `b`, a row with itself left out where they are the same cloud.
fn kernel_mean(a: &Features, b: &Features, same: bool) -> f64 {
    let (scale, columns) = (1.0 / a.width as f64, b.rows());
    let kernel = |p: f32| (f64::from(p) * scale + 1.0).powi(3);
    let of_block = |first: usize, products: &[f32]| -> f64 {
        let line = |(i, line): (usize, &[f32])| {
            let all: f64 = line.iter().map(|&p| kernel(p)).sum();
            all - if same { kernel(line[first + i]) } else { 0.0 }
        };
        products.chunks_exact(columns).enumerate().map(line).sum()
    };
    let sum: f64 = blocks(a, b, of_block).into_iter().sum();
    let pairs = a.rows() * (columns - usize::from(same));
    sum / pairs as f64
}

fn moments(a: &Features) -> (DVector<f64>, DMatrix<f64>) {
    let values = a.values.iter().map(|&x| f64::from(x));
    let rows = DMatrix::from_row_iterator(a.rows(), a.width, values);
    let mean = rows.row_mean().transpose();
    let mut centred = rows;
    for mut row in centred.row_iter_mut() {
        row -= mean.transpose();
    }
    let covariance = centred.transpose() * &centred / (a.rows() as f64 - 1.0);
    (mean, covariance)
}

/// The square root of a symmetric matrix without negative eigenvalues; those of rounding count as 0.
fn root(matrix: DMatrix<f64>) -> DMatrix<f64> {
    let eigen = matrix.symmetric_eigen();
    let roots = eigen.eigenvalues.map(|l| l.max(0.0).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

/// |mu1 - mu2|^2 + tr(S1 + S2) - 2 tr((S1^(1/2) S2 S1^(1/2))^(1/2)), whose last term is that of (S1 S2)^(1/2).
pub fn frechet_distance(a: &Features, b: &Features) -> f64 {
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a), moments(b));
    let between = (mean_a - mean_b).norm_squared();
    let half = root(cov_a.clone());
    let inner = &half * &cov_b * &half;
    // Symmetric but for rounding.
    let inner = (&inner + inner.transpose()) * 0.5;
    let shared: f64 = inner
        .symmetric_eigenvalues()
        .iter()
        .map(|l| l.max(0.0).sqrt())
        .sum();
    between + cov_a.trace() + cov_b.trace() - 2.0 * shared
}

/// Compares `found` with `wanted`, at equal n.
///
/// # Errors
/// When they differ in size, or have no more rows than neighbours are asked for.
pub fn compare(wanted: &Features, found: &Features) -> Result<Comparison> {
    let n = wanted.rows();
    if n != found.rows() || wanted.width != found.width || n <= NEIGHBOURS {
        return Err(Error::Usage(format!(
            "features can be compared at equal n above {NEIGHBOURS}; got {n} and {} rows of {} and {}",
            found.rows(),
            wanted.width,
            found.width
        )));
    }
    let (wanted_radii, found_radii) = (radii(wanted), radii(found));
    let (wanted_squares, found_squares) = (wanted.squares(), found.squares());
    // For each wanted row: balls of found ones that it is in; whether its own holds a found one. For each found row: wanted balls.
    struct Block {
        recalled: usize,
        covered: usize,
        balls: Vec<u32>,
    }
    let of_block = |first: usize, products: &[f32]| {
        let mut block = Block {
            recalled: 0,
            covered: 0,
            balls: vec![0; n],
        };
        for (i, line) in products.chunks_exact(n).enumerate() {
            let (mut recalled, mut covered) = (false, false);
            for (j, p) in line.iter().enumerate() {
                let distance = wanted_squares[first + i] + found_squares[j] - 2.0 * p;
                recalled |= distance <= found_radii[j];
                if distance <= wanted_radii[first + i] {
                    covered = true;
                    block.balls[j] += 1;
                }
            }
            block.recalled += usize::from(recalled);
            block.covered += usize::from(covered);
        }
        block
    };
    let mut balls = vec![0_u64; n];
    let (mut recalled, mut covered) = (0, 0);
    for block in blocks(wanted, found, of_block) {
        recalled += block.recalled;
        covered += block.covered;
        balls
            .iter_mut()
            .zip(&block.balls)
            .for_each(|(a, b)| *a += u64::from(*b));
    }
    let share = |count: usize| count as f64 / n as f64;
    let inside = balls.iter().filter(|&&b| b > 0).count();
    let all_balls: u64 = balls.iter().sum();
    Ok(Comparison {
        n,
        precision: share(inside),
        recall: share(recalled),
        density: all_balls as f64 / (NEIGHBOURS * n) as f64,
        coverage: share(covered),
        frechet_distance: frechet_distance(wanted, found),
        kernel_distance: kernel_mean(wanted, wanted, true) + kernel_mean(found, found, true)
            - 2.0 * kernel_mean(wanted, found, false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::init::{generator, normal_pair};

    fn cloud(seed: u64, n: usize, width: usize, shift: f64, scale: f64) -> Features {
        let mut rng = generator(seed, "cloud");
        let draw = |_| {
            let (a, b) = normal_pair(&mut rng);
            [(a * scale + shift) as f32, (b * scale + shift) as f32]
        };
        let values: Vec<f32> = (0..n * width / 2).flat_map(draw).collect();
        Features { width, values }
    }

    /// Two normal clouds: |shift|^2 width + width (scale - 1)^2.
    #[test]
    fn frechet_distance_of_normal_clouds_is_the_formulas() {
        let a = cloud(1, 20_000, 4, 0.0, 1.0);
        let b = cloud(2, 20_000, 4, 0.5, 2.0);
        let distance = frechet_distance(&a, &b);
        assert!((distance - (4.0 * 0.25 + 4.0)).abs() < 0.1, "{distance}");
        assert!(frechet_distance(&a, &a).abs() < 1e-6);
    }

    #[test]
    fn clouds_that_are_alike_meet_and_distant_ones_do_not() {
        let a = cloud(1, 1000, 8, 0.0, 1.0);
        let same = compare(&a, &cloud(2, 1000, 8, 0.0, 1.0)).unwrap();
        assert!(
            same.precision > 0.9 && same.recall > 0.9 && same.coverage > 0.9,
            "{same:?}"
        );
        assert!((same.density - 1.0).abs() < 0.15, "{same:?}");
        assert!(same.kernel_distance.abs() < 0.05, "{same:?}");
        let far = compare(&a, &cloud(2, 1000, 8, 9.0, 1.0)).unwrap();
        assert!(
            far.precision < 0.01 && far.recall < 0.01 && far.coverage < 0.01,
            "{far:?}"
        );
        // One point over and over: precise, and recalls nothing.
        let one = Features {
            width: 8,
            values: a.values[..8].repeat(1000),
        };
        let collapsed = compare(&a, &one).unwrap();
        assert!(
            collapsed.precision > 0.99 && collapsed.recall < 0.01,
            "{collapsed:?}"
        );
        assert!(collapsed.coverage < 0.05, "{collapsed:?}");
        assert!(compare(&a, &cloud(2, 999, 8, 0.0, 1.0)).is_err());
    }
}
