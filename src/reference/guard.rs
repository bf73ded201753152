//! Twin of `shaders/guard.wgsl`.

use super::{take, twin};
use crate::kernels::guard::Guard;
use crate::kernels::schedule::LOSS_SCALE;
use crate::kernels::state::{HALTED, STEP_LOW};
use crate::kernels::{RING_COLUMNS, RING_ROWS};
use crate::real::Real;
use crate::tensor::Data;

twin!(Guard, run);

fn run<T: Real>(kernel: &Guard, buffers: &mut [Data]) {
    let zero = T::from_f64(0.0);
    let total = T::of(&buffers[0]).iter().fold(zero, |sum, &p| sum + p);
    let figures = kernel.buffers().len();
    let metrics: Vec<T> = buffers[1..=figures]
        .iter()
        .flat_map(|buffer| T::of(buffer).to_vec())
        .collect();
    let [state, control, ring] = [1, 2, 3].map(|i| figures + i);

    let mut words = buffers[state].as_u32().to_vec();
    let halted_before = words[HALTED] != 0;
    let refused = halted_before || !metrics[0].is_finite() || !total.is_finite();
    let loss_scale = if kernel.scaled {
        T::of(&buffers[figures + 4])[LOSS_SCALE]
    } else {
        T::from_f64(1.0)
    };
    let norm = total.sqrt() / loss_scale;
    let verdict = T::from_f64(if refused { 1.0 } else { 0.0 });
    let scale = if kernel.max_norm > 0.0 && total.is_finite() {
        T::from_f64(1.0).min(T::from_f64(f64::from(kernel.max_norm)) / (norm + T::from_f64(1e-6)))
    } else {
        T::from_f64(1.0)
    };
    buffers[control] = T::into_data(vec![scale / loss_scale, verdict, norm, zero]);
    if halted_before {
        return;
    }
    let mut rows = take::<T>(&mut buffers[ring]);
    let row = words[STEP_LOW] as usize % RING_ROWS * RING_COLUMNS;
    for column in 0..6 {
        rows[row + column] = metrics.get(column).copied().unwrap_or(zero);
    }
    rows[row + 6] = norm;
    rows[row + 7] = verdict;
    buffers[ring] = T::into_data(rows);
    words[HALTED] = u32::from(refused);
    buffers[state] = Data::U32(words);
}
