//! Twin of `shaders/concat.wgsl`.

use super::Twin;
use crate::kernels::concat::Concat;
use crate::real::{Precision, Real, Tracked};
use crate::reference::precision_of;
use crate::tensor::{DType, Data};

/// The parts one after another along the axis.
pub(crate) fn concat<E: Copy>(kernel: &Concat, parts: &[&[E]]) -> Vec<E> {
    let mut out = Vec::new();
    for outer in 0..kernel.outer {
        for (part, length) in parts.iter().zip(&kernel.lengths) {
            let run = length * kernel.inner;
            out.extend_from_slice(&part[outer * run..(outer + 1) * run]);
        }
    }
    out
}

impl Twin for Concat {
    fn reference(&self, buffers: &mut [Data]) {
        fn reals<T: Real>(kernel: &Concat, parts: &[Data]) -> Data {
            T::into_data(concat(kernel, &parts.iter().map(T::of).collect::<Vec<_>>()))
        }
        let parts = &buffers[..self.lengths.len()];
        let out = match (self.dtype, precision_of(parts)) {
            (DType::F32, Precision::F32) => reals::<f32>(self, parts),
            (DType::F32, Precision::F64) => reals::<f64>(self, parts),
            (DType::F32, Precision::Tracked) => reals::<Tracked>(self, parts),
            _ => Data::U32(concat(
                self,
                &parts.iter().map(Data::as_u32).collect::<Vec<_>>(),
            )),
        };
        buffers[self.lengths.len()] = out;
    }
}
