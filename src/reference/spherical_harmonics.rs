//! Twin of `shaders/spherical_harmonics.wgsl`.

use super::twin;
use crate::kernels::spherical_harmonics::factor::{A, B, C, D, E, F, G, H};
use crate::kernels::spherical_harmonics::{Mode, SphericalHarmonics, VALUES};
use crate::real::Real;
use crate::tensor::Data;

/// The 16 of a direction.
fn of_direction<T: Real>([x, y, z]: [T; 3]) -> [T; VALUES] {
    let c = T::from_f64;
    let (xx, yy, zz) = (x * x, y * y, z * z);
    [
        c(A),
        c(-B) * y,
        c(B) * z,
        c(-B) * x,
        c(C) * x * y,
        c(-C) * y * z,
        c(D) * (c(3.0) * zz - c(1.0)),
        c(-C) * x * z,
        c(0.5 * C) * (xx - yy),
        c(E) * y * (yy - c(3.0) * xx),
        c(F) * x * y * z,
        c(G) * y * (c(1.0) - c(5.0) * zz),
        c(H) * z * (c(5.0) * zz - c(3.0)),
        c(G) * x * (c(1.0) - c(5.0) * zz),
        c(0.5 * F) * z * (xx - yy),
        c(E) * x * (c(3.0) * yy - xx),
    ]
}

/// The gradient of each of the 16 by the direction.
fn gradients<T: Real>([x, y, z]: [T; 3]) -> [[T; 3]; VALUES] {
    let c = T::from_f64;
    let zero = c(0.0);
    let (xx, yy, zz) = (x * x, y * y, z * z);
    [
        [zero, zero, zero],
        [zero, c(-B), zero],
        [zero, zero, c(B)],
        [c(-B), zero, zero],
        [c(C) * y, c(C) * x, zero],
        [zero, c(-C) * z, c(-C) * y],
        [zero, zero, c(6.0 * D) * z],
        [c(-C) * z, zero, c(-C) * x],
        [c(C) * x, c(-C) * y, zero],
        [c(-6.0 * E) * x * y, c(3.0 * E) * (yy - xx), zero],
        [c(F) * y * z, c(F) * x * z, c(F) * x * y],
        [zero, c(G) * (c(1.0) - c(5.0) * zz), c(-10.0 * G) * y * z],
        [zero, zero, c(H) * (c(15.0) * zz - c(3.0))],
        [c(G) * (c(1.0) - c(5.0) * zz), zero, c(-10.0 * G) * x * z],
        [c(F) * x * z, c(-F) * y * z, c(0.5 * F) * (xx - yy)],
        [c(3.0 * E) * (yy - xx), c(6.0 * E) * x * y, zero],
    ]
}

fn rows<T: Real>(direction: &[T]) -> impl Iterator<Item = [T; 3]> {
    direction.chunks_exact(3).map(|d| [d[0], d[1], d[2]])
}

/// The harmonics of directions `[rows, 3]`: `[rows, 16]`.
pub(crate) fn spherical_harmonics<T: Real>(direction: &[T]) -> Vec<T> {
    rows(direction).flat_map(of_direction).collect()
}

/// The gradient by directions `[rows, 3]`, that by their harmonics `[rows, 16]` given.
pub(crate) fn gradient<T: Real>(direction: &[T], upstream: &[T]) -> Vec<T> {
    let mut out = Vec::with_capacity(direction.len());
    for (direction, upstream) in rows(direction).zip(upstream.chunks_exact(VALUES)) {
        let gradients = gradients(direction);
        for axis in 0..3 {
            let zero = T::from_f64(0.0);
            let terms = upstream.iter().zip(&gradients);
            out.push(terms.fold(zero, |sum, (&u, g)| sum + u * g[axis]));
        }
    }
    out
}

twin!(SphericalHarmonics, run);

fn run<T: Real>(kernel: &SphericalHarmonics, buffers: &mut [Data]) {
    let direction = T::of(&buffers[0]);
    match kernel.mode {
        Mode::Value => buffers[1] = T::into_data(spherical_harmonics(direction)),
        Mode::Gradient => {
            buffers[2] = T::into_data(gradient(direction, T::of(&buffers[1])));
        }
    }
}
