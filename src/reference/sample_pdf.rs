//! Twin of `shaders/sample_pdf.wgsl`.

use super::twin;
use crate::kernels::sample_pdf::SamplePdf;
use crate::real::Real;
use crate::tensor::Data;

/// What is added to each weight, and the share of the total below which a mass counts as none: both as nerf-pytorch has them.
const LEAST: f64 = 1e-5;

/// The samples of one ray: those of `z`, and one for each number of `uniforms`, ascending. Mildenhall et al. 2020, section 5.2.
fn of_ray<T: Real>(z: &[T], weights: &[T], uniforms: &[T]) -> Vec<T> {
    let c = T::from_f64;
    let last = z.len() - 2;
    let edge = |j: usize| (z[j] + z[j + 1]) * c(0.5);
    let mass = |j: usize| weights[j + 1] + c(LEAST);
    let mut sums = vec![c(0.0)];
    for j in 0..last {
        sums.push(sums[j] + mass(j));
    }
    let total = sums[last];
    let mut samples = z.to_vec();
    for &u in uniforms {
        // All of it is reached: the product is the total itself, and no rounding decides.
        if u.to_f64() >= 1.0 {
            samples.push(edge(last));
            continue;
        }
        let reached = u * total;
        let between = |j: usize| {
            let none = (total * c(LEAST)).greater(mass(j));
            let share = (reached - sums[j]) / none.select(total, mass(j));
            edge(j) + share * (edge(j + 1) - edge(j))
        };
        // From edge to edge for as long as the sum is reached.
        let mut sample = between(0);
        for (j, sum) in sums.iter().enumerate().skip(1) {
            let next = if j < last { between(j) } else { edge(last) };
            sample = sum.greater(reached).select(sample, next);
        }
        samples.push(sample);
    }
    T::sort(&mut samples);
    samples
}

/// Coarse depths `z` and as many fine ones as the kernel says, ascending, `[rays, samples + count]`. Without `uniforms` the fine ones are at
/// even steps of the distribution.
pub(crate) fn sample_pdf<T: Real>(
    kernel: &SamplePdf,
    z: &[T],
    weights: &[T],
    uniforms: Option<&[T]>,
) -> Vec<T> {
    let steps = kernel.count.max(2) - 1;
    let even: Vec<T> = (0..kernel.count)
        .map(|i| T::from_f64(i as f64) / T::from_f64(steps as f64))
        .collect();
    let mut out = Vec::with_capacity(kernel.rays * kernel.merged());
    for ray in 0..kernel.rays {
        let coarse = ray * kernel.samples..(ray + 1) * kernel.samples;
        let uniforms = match uniforms {
            Some(u) => &u[ray * kernel.count..(ray + 1) * kernel.count],
            None => &even,
        };
        out.extend(of_ray(&z[coarse.clone()], &weights[coarse], uniforms));
    }
    out
}

twin!(SamplePdf, run);

fn run<T: Real>(kernel: &SamplePdf, buffers: &mut [Data]) {
    let last = buffers.len() - 1;
    let uniforms = kernel.given.then(|| T::of(&buffers[2]));
    let out = sample_pdf(kernel, T::of(&buffers[0]), T::of(&buffers[1]), uniforms);
    buffers[last] = T::into_data(out);
}
