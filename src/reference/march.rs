//! Twins of `shaders/march.wgsl`.
//!
//! Which samples a ray has is decided in f32, operation for operation as on the device, whatever the precision is: all of them are rounded once there,
//! and none is contracted. Where they are is computed in the caller's precision.

use super::twin;
use crate::kernels::march::{March, MarchCount, MarchWrite};
use crate::real::Real;
use crate::tensor::Data;

/// Beyond it a ray has no samples: `k + jitter` has no fraction in f32.
const MOST_STEPS: f64 = 8_388_608.0;

/// Where a ray comes into the unit cube and leaves it, as multiples of a step, with more room than rounding takes.
fn span(march: &March, ray: [f32; 6]) -> std::ops::Range<u32> {
    let (mut near, mut far) = (0_f64, f64::INFINITY);
    for axis in 0..3 {
        let (origin, direction) = (f64::from(ray[axis]), f64::from(ray[axis + 3]));
        // Along such an axis a ray meets no wall.
        if direction.abs() >= 1e-9 {
            let (low, high) = (-origin / direction, (1.0 - origin) / direction);
            near = near.max(low.min(high));
            far = far.min(low.max(high));
        }
    }
    let dt = f64::from(march.dt());
    let begin = (near * (1.0 - 1e-4) / dt - 2.0).clamp(0.0, MOST_STEPS) as u32;
    // A ray that goes nowhere stays in its cell.
    let most = f64::from(begin) + march.steps() as f64 + 1e-3 * MOST_STEPS;
    let end = (far * (1.0 + 1e-4) / dt + 3.0).clamp(0.0, MOST_STEPS.min(most)) as u32;
    begin..end
}

/// The number k of each sample of a ray: in the cube, in an occupied cell, at most `steps`.
pub(crate) fn samples(march: &March, ray: [f32; 6], jitter: f32, bits: &[u32]) -> Vec<u32> {
    let resolution = march.resolution() as f32;
    let occupied = |k: &u32| {
        let t = (*k as f32 + jitter) * march.dt();
        let mut cell = [0_usize; 3];
        for (axis, cell) in cell.iter_mut().enumerate() {
            let scaled = ((ray[axis] + t * ray[axis + 3]) * resolution).floor();
            if !(0.0..resolution).contains(&scaled) {
                return false;
            }
            *cell = scaled as usize;
        }
        let index = cell[0] + march.resolution() * (cell[1] + march.resolution() * cell[2]);
        bits[index / 32] >> (index % 32) & 1 == 1
    };
    let all = span(march, ray).filter(occupied);
    all.take(march.steps()).collect()
}

/// Ray number `r`, and its samples.
fn of_ray<T: Real>(march: &March, rays: &[T], jitter: &[T], bits: &[u32], r: usize) -> Vec<u32> {
    let single = |x: T| x.to_f64() as f32;
    let ray = std::array::from_fn(|i| single(rays[6 * r + i]));
    samples(march, ray, single(jitter[r]), bits)
}

/// How many samples each ray has, from ray `active` on 0.
pub(crate) fn count<T: Real>(
    kernel: &MarchCount,
    rays: &[T],
    jitter: &[T],
    active: T,
    bits: &[u32],
) -> Vec<u32> {
    let one = |r: usize| {
        if (r as f64) < active.to_f64() {
            of_ray(&kernel.march, rays, jitter, bits, r).len() as u32
        } else {
            0
        }
    };
    (0..kernel.rays).map(one).collect()
}

/// x, y, z and t of each sample, those of ray r from row `base[r]` on; rows without a sample are zero.
pub(crate) fn write<T: Real>(
    kernel: &MarchWrite,
    rays: &[T],
    jitter: &[T],
    bits: &[u32],
    base: &[u32],
) -> Vec<T> {
    let mut out = vec![T::from_f64(0.0); 4 * kernel.samples];
    let dt = T::from_f64(f64::from(kernel.march.dt()));
    for r in 0..kernel.rays {
        let end = (base[r + 1] as usize).min(kernel.samples);
        let rows = base[r] as usize..end;
        if rows.is_empty() {
            continue;
        }
        for (row, k) in rows.zip(of_ray(&kernel.march, rays, jitter, bits, r)) {
            let t = (T::from_f64(f64::from(k)) + jitter[r]) * dt;
            for axis in 0..3 {
                out[4 * row + axis] = rays[6 * r + axis] + t * rays[6 * r + 3 + axis];
            }
            out[4 * row + 3] = t;
        }
    }
    out
}

twin!(MarchCount, run_count);

fn run_count<T: Real>(kernel: &MarchCount, buffers: &mut [Data]) {
    let [rays, jitter, active] = [0, 1, 2].map(|i| T::of(&buffers[i]));
    let counts = count(kernel, rays, jitter, active[0], buffers[3].as_u32());
    buffers[4] = Data::U32(counts);
}

twin!(MarchWrite, run_write);

fn run_write<T: Real>(kernel: &MarchWrite, buffers: &mut [Data]) {
    let [rays, jitter] = [0, 1].map(|i| T::of(&buffers[i]));
    let [bits, base] = [2, 3].map(|i| buffers[i].as_u32());
    let samples = write(kernel, rays, jitter, bits, base);
    buffers[4] = T::into_data(samples);
}
