//! Twin of `shaders/commit.wgsl`.

use super::{take, twin};
use crate::kernels::commit::Commit;
use crate::real::Real;
use crate::tensor::Data;

twin!(Commit, run);

fn run<T: Real>(kernel: &Commit, buffers: &mut [Data]) {
    let mut values = take::<T>(&mut buffers[0]);
    let (next, control) = (T::of(&buffers[1]), T::of(&buffers[2]));
    if control[1].to_f64() == 0.0 {
        values.copy_from_slice(&next[..kernel.count]);
    }
    buffers[0] = T::into_data(values);
}
