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
    let number = |t: f64| number_at(march, t / dt);
    let begin = (number(near * (1.0 - 1e-4)) - 2.0).clamp(0.0, MOST_STEPS) as u32;
    // A ray that goes nowhere stays in its cell.
    let lattice = march.steps() << (march.cascades() - 1);
    let most = f64::from(begin) + lattice as f64 + 1e-3 * MOST_STEPS;
    let end = (number(far * (1.0 + 1e-4)) + 3.0).clamp(0.0, MOST_STEPS.min(most)) as u32;
    begin..end
}

/// In which octave of steps number k is, and how many of its steps away it is from the ray's origin.
fn step_of(march: &March, k: u32) -> (u32, u32) {
    match march.octave() as u32 {
        0 => (0, k),
        octave => {
            let o = (k / octave).min(march.cascades() as u32);
            (o, if o == 0 { k } else { k - (o - 1) * octave })
        }
    }
}

/// The number, with its fraction, of a place that is so many of the shortest steps away.
fn number_at(march: &March, away: f64) -> f64 {
    if march.octave() == 0 || away < march.octave() as f64 {
        return away;
    }
    let octaves = (away / march.octave() as f64).log2().floor() + 1.0;
    let octaves = octaves.clamp(1.0, march.cascades() as f64);
    march.octave() as f64 * (octaves - 1.0) + away / 2_f64.powf(octaves - 1.0)
}

/// The length of steps of octave o.
fn length_of(march: &March, o: u32) -> f32 {
    march.dt() * 2_f32.powi(o.max(1) as i32 - 1)
}

/// The cell in which a place of the unit cube is, and its cascade's before it; `None` outside.
fn cell_of(march: &March, place: [f32; 3]) -> Option<usize> {
    let side = march.resolution();
    if march.cascades() == 1 {
        let scaled = place.map(|x| (x * side as f32).floor());
        let inside = scaled.iter().all(|s| (0.0..side as f32).contains(s));
        let [x, y, z] = scaled.map(|s| s as usize);
        return inside.then_some(x + side * (y + side * z));
    }
    let from_middle = place.map(|x| x - 0.5);
    let last = march.cascades() as i32 - 1;
    let half = |cascade: i32| 0.5 * 2_f32.powi(cascade - last);
    let holds = |cascade: &i32| from_middle.iter().all(|x| x.abs() < half(*cascade));
    let cascade = (0..=last).find(holds)?;
    let cell = |x: f32| {
        let placed = x * 2_f32.powi(last - cascade) + 0.5;
        ((placed * side as f32) as usize).min(side - 1)
    };
    let [x, y, z] = from_middle.map(cell);
    Some(x + side * (y + side * (z + side * cascade as usize)))
}

/// The number k of each sample of a ray: in the cube, in an occupied cell, at most `most_samples`.
pub(crate) fn samples(march: &March, ray: [f32; 6], jitter: f32, bits: &[u32]) -> Vec<u32> {
    let occupied = |k: &u32| {
        let (o, steps) = step_of(march, *k);
        let t = (steps as f32 + jitter) * length_of(march, o);
        let place = [0, 1, 2].map(|axis| ray[axis] + t * ray[axis + 3]);
        let cell = cell_of(march, place);
        cell.is_some_and(|cell| bits[cell / 32] >> (cell % 32) & 1 == 1)
    };
    let all = span(march, ray).filter(occupied);
    all.take(march.most_samples()).collect()
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
    for r in 0..kernel.rays {
        let end = (base[r + 1] as usize).min(kernel.samples);
        let rows = base[r] as usize..end;
        if rows.is_empty() {
            continue;
        }
        for (row, k) in rows.zip(of_ray(&kernel.march, rays, jitter, bits, r)) {
            let (o, steps) = step_of(&kernel.march, k);
            let length = T::from_f64(f64::from(length_of(&kernel.march, o)));
            let t = (T::from_f64(f64::from(steps)) + jitter[r]) * length;
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
