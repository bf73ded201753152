//! Twin of `shaders/composite.wgsl`.

use std::ops::Range;

use super::twin;
use crate::kernels::composite::{COLUMNS, Composite, Samples, Wanted};
use crate::real::Real;
use crate::tensor::Data;

/// The samples of each ray.
fn rays<'a>(kernel: &Composite, base: &'a [u32]) -> impl Iterator<Item = Range<usize>> + 'a {
    let (samples, count) = (kernel.samples, kernel.count());
    let first = move |ray: usize| match samples {
        Samples::Dense { each, .. } => ray * each,
        Samples::Packed { .. } => (base[ray] as usize).min(count),
    };
    (0..kernel.rays).map(move |ray| first(ray)..first(ray + 1))
}

/// What a sample does to the light.
struct Met<T> {
    /// Its weight.
    weight: T,
    /// The light behind it, of 1 in front of the first.
    left: T,
    /// What a little more tau takes of the light behind it, of 1 where nothing is added to it.
    share: T,
}

/// `w_k = T_k (1 - exp(-tau_k))`, and the light `T_{k+1}`: the shader's header has it.
fn light<T: Real>(kernel: &Composite, tau: &[T]) -> Vec<Met<T>> {
    let one = T::from_f64(1.0);
    let epsilon = T::from_f64(f64::from(kernel.epsilon()));
    let (mut left, mut thickness) = (one, T::from_f64(0.0));
    let mut met = Vec::with_capacity(tau.len());
    for &tau in tau {
        let weight = -(-tau).exp_m1() * left;
        let mut share = one;
        if kernel.epsilon() == 0.0 {
            thickness = thickness + tau;
            left = (-thickness).exp();
        } else {
            let through = (-tau).exp();
            left = left * (through + epsilon);
            share = through / (through + epsilon);
        }
        met.push(Met {
            weight,
            left,
            share,
        });
    }
    met
}

/// What is summed with the weights of samples: red, green, blue, 1, t.
fn summed<T: Real>(colour: &[T], t: &[T], sample: usize) -> [T; COLUMNS] {
    let c = &colour[3 * sample..];
    [c[0], c[1], c[2], T::from_f64(1.0), t[sample]]
}

/// Red, green, blue, opacity and depth of each ray, `[rays, 5]`.
pub(crate) fn value<T: Real>(
    kernel: &Composite,
    tau: &[T],
    colour: &[T],
    t: &[T],
    base: &[u32],
) -> Vec<T> {
    let mut out = Vec::with_capacity(kernel.rays * COLUMNS);
    for ray in rays(kernel, base) {
        let mut sums = [T::from_f64(0.0); COLUMNS];
        for (sample, met) in ray.clone().zip(light(kernel, &tau[ray])) {
            for (sum, x) in sums.iter_mut().zip(summed(colour, t, sample)) {
                *sum = *sum + met.weight * x;
            }
        }
        out.extend(sums);
    }
    out
}

/// `w_k g` for each of the numbers g that `factors` of a ray's upstream gradient are: the gradient by colour, by t, and the weights alone.
pub(crate) fn weighted<T: Real>(
    kernel: &Composite,
    tau: &[T],
    factors: impl Fn(usize) -> Vec<T>,
    base: &[u32],
) -> Vec<T> {
    let width = factors(0).len();
    // Samples that belong to no ray stay 0.
    let mut out = vec![T::from_f64(0.0); kernel.count() * width];
    for (number, ray) in rays(kernel, base).enumerate() {
        let factors = factors(number);
        for (sample, met) in ray.clone().zip(light(kernel, &tau[ray])) {
            for (column, &factor) in factors.iter().enumerate() {
                out[sample * width + column] = met.weight * factor;
            }
        }
    }
    out
}

/// The gradient by tau: `T_{k+1} v_k - sum_{j > k} w_j v_j`, `v_k` what the upstream gradient makes of a sample.
pub(crate) fn by_tau<T: Real>(
    kernel: &Composite,
    [tau, colour, t, value, upstream]: [&[T]; 5],
    base: &[u32],
) -> Vec<T> {
    let zero = T::from_f64(0.0);
    let mut out = vec![zero; kernel.count()];
    for (number, ray) in rays(kernel, base).enumerate() {
        let of_ray = COLUMNS * number..COLUMNS * (number + 1);
        let (value, upstream) = (&value[of_ray.clone()], &upstream[of_ray]);
        let mut sums = [zero; COLUMNS];
        for (sample, met) in ray.clone().zip(light(kernel, &tau[ray])) {
            let (mut here, mut behind) = (zero, zero);
            for (column, x) in summed(colour, t, sample).into_iter().enumerate() {
                sums[column] = sums[column] + met.weight * x;
                here = here + upstream[column] * x;
                behind = behind + upstream[column] * (value[column] - sums[column]);
            }
            out[sample] = met.share * (met.left * here - behind);
        }
    }
    out
}

/// What the kernel computes from its operands in the order of its bindings, `base` being empty where samples lie dense.
pub(crate) fn composite<T: Real>(kernel: &Composite, operands: &[&[T]], base: &[u32]) -> Vec<T> {
    let of_ray = |upstream: &[T], number: usize, columns: Range<usize>| {
        upstream[COLUMNS * number..COLUMNS * (number + 1)][columns].to_vec()
    };
    match (kernel.wanted, operands) {
        (Wanted::Value, &[tau, colour, t]) => value(kernel, tau, colour, t, base),
        (Wanted::GradientByTau, &[tau, colour, t, value, upstream]) => {
            by_tau(kernel, [tau, colour, t, value, upstream], base)
        }
        (Wanted::GradientByColour, &[tau, upstream]) => {
            weighted(kernel, tau, |ray| of_ray(upstream, ray, 0..3), base)
        }
        (Wanted::GradientByT, &[tau, upstream]) => {
            weighted(kernel, tau, |ray| of_ray(upstream, ray, 4..5), base)
        }
        (_, operands) => weighted(kernel, operands[0], |_| vec![T::from_f64(1.0)], base),
    }
}

twin!(Composite, run);

fn run<T: Real>(kernel: &Composite, buffers: &mut [Data]) {
    let Some((out, read)) = buffers.split_last_mut() else {
        return;
    };
    let (reals, base) = match read.split_last() {
        Some((base, reals)) if kernel.packed() => (reals, base.as_u32()),
        _ => (&*read, &[][..]),
    };
    let operands: Vec<&[T]> = reals.iter().map(|data| T::of(data)).collect();
    *out = T::into_data(composite(kernel, &operands, base));
}
