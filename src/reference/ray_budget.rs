//! Twin of `shaders/ray_budget.wgsl`.

use super::{random_state, twin};
use crate::kernels::ray_budget::{RayBudget, STEPS};
use crate::real::Real;
use crate::tensor::Data;

/// Rays that fit, their samples, and how many rays the next step should have.
pub(crate) fn ray_budget<T: Real>(
    kernel: &RayBudget,
    base: &[u32],
    active: T,
    step: u64,
) -> Vec<T> {
    let (samples, fit) = (base[kernel.rays], base[kernel.rays + 1]);
    // As the device converts it: towards 0.
    let kept = fit.min(active.to_f64() as u32);
    let next = if step.is_multiple_of(u64::from(STEPS)) {
        let wanted = u64::from(kept) * u64::from(kernel.aim) / u64::from(samples.max(1));
        let next = wanted.clamp(u64::from(kernel.least), u64::from(kernel.most));
        T::from_f64(next as f64)
    } else {
        active
    };
    let whole = |n: u32| T::from_f64(f64::from(n));
    vec![whole(kept), whole(samples), next]
}

twin!(RayBudget, run);

fn run<T: Real>(kernel: &RayBudget, buffers: &mut [Data]) {
    let (base, active) = (buffers[0].as_u32(), T::of(&buffers[1])[0]);
    let step = random_state(buffers[2].as_u32()).step;
    buffers[3] = T::into_data(ray_budget(kernel, base, active, step));
}
