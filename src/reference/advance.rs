//! Twin of `shaders/advance.wgsl`.

use super::{take, twin};
use crate::kernels::advance::Advance;
use crate::kernels::state::{CURSOR, HALTED, STEP_HIGH, STEP_LOW};
use crate::kernels::{SCHEDULE_COLUMNS, TABLE_ROWS};
use crate::real::Real;
use crate::tensor::Data;

twin!(Advance, run);

fn run<T: Real>(kernel: &Advance, buffers: &mut [Data]) {
    let mut state = buffers[2].as_u32().to_vec();
    if state[HALTED] != 0 {
        return;
    }
    let step = (u64::from(state[STEP_LOW]) | u64::from(state[STEP_HIGH]) << 32) + 1;
    state[STEP_LOW] = step as u32;
    state[STEP_HIGH] = (step >> 32) as u32;
    state[CURSOR] = state[CURSOR].wrapping_add(kernel.batch as u32);
    buffers[2] = Data::U32(state);
    let row = step as u32 as usize % TABLE_ROWS * SCHEDULE_COLUMNS;
    let mut schedule = take::<T>(&mut buffers[1]);
    schedule.copy_from_slice(&T::of(&buffers[0])[row..row + SCHEDULE_COLUMNS]);
    buffers[1] = T::into_data(schedule);
}
