//! The CPU twin of each kernel: plain loops over the same descriptor, in f32, f64 or with tracked error bounds.
//!
//! A file here has the stem of its shader and of its descriptor. [`Twin::reference`] runs one on host arrays in the order of the
//! kernel's bindings; the type of the arrays chooses the precision. With [`Tracked`](crate::real::Tracked) numbers each element comes with
//! the tolerance by which a device is judged.
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::Caps;
//! use wgen::kernels::matmul::{Layout, Matmul};
//! use wgen::real::{Precision, Real};
//! use wgen::tensor::Data;
//!
//! let dot = Matmul::new(&Caps::portable(), Layout::Nn, 1, 1, 1, 1000)?;
//! let run = |precision: Precision| {
//!     let x: Vec<f64> = (1..=1000).map(|i| 1.0 / f64::from(i)).collect();
//!     let mut buffers = [x.clone(), x, vec![0.0]].map(|x| Data::F64(x).in_precision(precision));
//!     dot.reference(&mut buffers);
//!     buffers[2].clone()
//! };
//! let Data::Tracked(tracked) = run(Precision::Tracked) else { unreachable!() };
//! assert_eq!(tracked[0].to_f64(), run(Precision::F64).to_f64()[0]);
//! let error = (run(Precision::F32).to_f64()[0] - tracked[0].to_f64()).abs();
//! assert!(0.0 < error && error <= tracked[0].tolerance());
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use crate::kernels::philox::RandomState;
use crate::kernels::{Access, Caps, Kernel, state};
use crate::real::{Precision, Real};
use crate::tensor::Data;

pub(crate) mod adam;
pub(crate) mod advance;
pub(crate) mod attention;
pub(crate) mod camera_rays;
pub(crate) mod cast;
pub(crate) mod ceiling;
pub(crate) mod commit;
pub(crate) mod composite;
pub(crate) mod concat;
pub(crate) mod conv2d;
pub(crate) mod ema;
pub(crate) mod expression;
pub(crate) mod frequency_encode;
pub(crate) mod functions;
pub(crate) mod gather;
pub(crate) mod group_norm;
pub(crate) mod guard;
pub(crate) mod half;
pub(crate) mod hash_encoding;
pub(crate) mod map;
pub(crate) mod march;
pub(crate) mod marching_cubes;
pub(crate) mod matmul;
pub(crate) mod occupancy;
pub(crate) mod piece;
pub(crate) mod pool;
pub(crate) mod predict_x0;
pub(crate) mod present;
pub(crate) mod q_sample;
pub(crate) mod quantile;
pub(crate) mod random;
pub(crate) mod ray_budget;
pub(crate) mod ray_of;
pub(crate) mod rearrange;
pub(crate) mod reduce;
pub(crate) mod reparameterize;
pub(crate) mod resize;
pub(crate) mod reverse_step;
pub(crate) mod rmsprop;
mod sample;
pub(crate) mod sample_pdf;
pub(crate) mod scan;
pub(crate) mod scatter_add;
pub(crate) mod sgd;
pub(crate) mod spherical_harmonics;
pub(crate) mod timestep_embedding;
pub(crate) mod top_k;
pub(crate) mod wgsl;

pub use half::Half;
pub use piece::Piece;
pub use sample::Sample;
pub use wgsl::WithTwin;

/// A kernel that can also be computed on the CPU.
pub trait Twin: Kernel {
    /// Computes the kernel on host arrays, one a binding, in order; results replace the arrays of written bindings, which must have their type
    /// and may hold anything of their length.
    ///
    /// # Panics
    /// When arrays have other lengths or types than the bindings say.
    fn reference(&self, buffers: &mut [Data]);

    /// The same kernel in its other variants that a device can run, the likeliest first: what a tuner may choose from.
    fn alternatives(&self, _caps: &Caps) -> Vec<Arc<dyn Twin>> {
        Vec::new()
    }

    /// What about `each` elements of each binding that the kernel writes have to be, ends and corners among them, after a run on `buffers`, which are as
    /// [`Twin::reference`] takes them. Whoever is large computes these elements alone.
    fn samples(&self, buffers: &[Data], each: usize) -> Vec<Sample> {
        let tracked = |b: &Data| b.clone().in_precision(Precision::Tracked);
        let mut whole: Vec<Data> = buffers.iter().map(tracked).collect();
        self.reference(&mut whole);
        let bindings = self.bindings().into_iter().zip(whole).enumerate();
        let written = bindings.filter(|(_, (b, _))| b.access != Access::Read);
        let of = |(binding, (_, data)): (usize, (_, Data))| {
            let Data::Tracked(values) = data else {
                return Vec::new();
            };
            let sample = |element: usize| Sample {
                binding,
                element,
                value: values[element],
            };
            let places = sample::places(values.len(), values.len(), each);
            places.into_iter().map(sample).collect()
        };
        written.flat_map(of).collect()
    }

    /// The most terms that any of its sums has, where its first two operands are rounded to f16 for matrix units.
    fn rounded_terms(&self) -> Option<usize> {
        None
    }

    /// The same work as several kernels, none of which binds more than `limit` elements of a tensor that it can be cut along. `None` for
    /// kernels that cannot be cut.
    fn pieces(&self, _limit: usize) -> Option<Vec<Piece>> {
        None
    }
}

/// The precision of a set of host arrays: that of its reals, which must agree.
pub fn precision_of(buffers: &[Data]) -> Precision {
    buffers
        .iter()
        .find_map(|b| match b {
            Data::F32(_) => Some(Precision::F32),
            Data::F64(_) => Some(Precision::F64),
            Data::Tracked(_) => Some(Precision::Tracked),
            _ => None,
        })
        .unwrap_or(Precision::F64)
}

/// Seed, step and cursor from a `state` array.
pub(crate) fn random_state(state: &[u32]) -> RandomState {
    let long = |low: usize, high: usize| u64::from(state[low]) | u64::from(state[high]) << 32;
    RandomState {
        seed: long(state::SEED_LOW, state::SEED_HIGH),
        step: long(state::STEP_LOW, state::STEP_HIGH),
        cursor: state[state::CURSOR],
    }
}

/// Implements [`Twin`] for a kernel by a function `fn run<T: Real>(kernel: &Kernel, buffers: &mut [Data])`, generic over
/// [`Real`].
#[macro_export]
macro_rules! twin {
    ($kernel:ty, $run:ident $(, pieces: $pieces:path)?) => {
        impl $crate::reference::Twin for $kernel {
            fn reference(&self, buffers: &mut [$crate::tensor::Data]) {
                match $crate::reference::precision_of(buffers) {
                    $crate::real::Precision::F32 => $run::<f32>(self, buffers),
                    $crate::real::Precision::F64 => $run::<f64>(self, buffers),
                    $crate::real::Precision::Tracked => {
                        $run::<$crate::real::Tracked>(self, buffers)
                    }
                }
            }
            $(
                fn pieces(&self, limit: usize) -> Option<Vec<$crate::reference::piece::Piece>> {
                    $pieces(self, limit)
                }
            )?
        }
    };
}
pub(crate) use crate::twin;

/// Moves a real array out of its buffer, to be put back after an update.
pub(crate) fn take<T: Real>(buffer: &mut Data) -> Vec<T> {
    T::take(std::mem::replace(buffer, Data::U8(Vec::new())))
}
