//! A closure as the CPU twin of a kernel in plain WGSL.

use std::fmt;
use std::sync::Arc;

use super::Twin;
use crate::kernels::wgsl::Wgsl;
use crate::kernels::{Binding, Cost, Kernel, Launch};
use crate::real::{Precision, Real, Tracked};
use crate::tensor::{DType, Data};

/// What the closure of a twin is: one array a binding, in order, results written into those that the kernel writes.
type Reference = dyn Fn(&mut [Vec<Tracked>]) + Send + Sync;

/// A kernel in plain WGSL with a closure as its twin.
#[derive(Clone)]
pub struct WithTwin {
    kernel: Wgsl,
    reference: Arc<Reference>,
}

impl fmt::Debug for WithTwin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WithTwin").field(&self.kernel).finish()
    }
}

impl Wgsl {
    /// The kernel with a closure as its twin: it is given one array a binding, in order, and writes results into those that the kernel
    /// writes. Its numbers are [`Tracked`]: they compute in f64 and carry what f32 may err by, from which each element's tolerance comes.
    pub fn twin(self, reference: impl Fn(&mut [Vec<Tracked>]) + Send + Sync + 'static) -> WithTwin {
        WithTwin {
            kernel: self,
            reference: Arc::new(reference),
        }
    }
}

impl Kernel for WithTwin {
    fn family(&self) -> &'static str {
        self.kernel.family()
    }

    fn variant(&self) -> String {
        self.kernel.variant()
    }

    fn bindings(&self) -> Vec<Binding> {
        self.kernel.bindings()
    }

    fn launch(&self) -> Launch {
        self.kernel.launch()
    }

    fn cost(&self) -> Cost {
        self.kernel.cost()
    }
}

impl Twin for WithTwin {
    fn reference(&self, buffers: &mut [Data]) {
        let precision = super::precision_of(buffers);
        let mut arrays: Vec<Vec<Tracked>> = buffers
            .iter()
            .map(|data| match data {
                Data::Tracked(values) => values.clone(),
                other => other.to_f64().into_iter().map(Tracked::from_f64).collect(),
            })
            .collect();
        (self.reference)(&mut arrays);
        let bindings = self.kernel.bindings();
        for i in self.kernel.written() {
            let values = std::mem::take(&mut arrays[i]);
            buffers[i] = match (bindings[i].dtype, precision) {
                (DType::U32, _) => Data::U32(values.iter().map(|v| v.to_f64() as u32).collect()),
                (DType::U8, _) => Data::U8(values.iter().map(|v| v.to_f64() as u8).collect()),
                (_, Precision::Tracked) => Data::Tracked(values),
                (_, Precision::F64) => Data::F64(values.iter().map(|v| v.to_f64()).collect()),
                (_, Precision::F32) => {
                    Data::F32(values.iter().map(|v| v.to_f64() as f32).collect())
                }
            };
        }
    }
}
