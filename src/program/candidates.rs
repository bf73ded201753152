//! What the tuner of a device measures of a kernel, without the device: for it, and for whoever wants to compile all that it may run.
//!
//! ```
//! use std::sync::Arc;
//! use wgen::kernels::Caps;
//! use wgen::kernels::matmul::{Layout, Matmul};
//! use wgen::program::candidates::candidates;
//! use wgen::reference::Twin;
//!
//! let caps = Caps::portable();
//! let product: Arc<dyn Twin> = Arc::new(Matmul::new(&caps, Layout::Nt, 1, 512, 512, 512)?);
//! let all = candidates(&product, &caps);
//! assert_eq!(all[0].variant(), product.variant());
//! assert!((2..=4).contains(&all.len()));
//!
//! // A product so small that no choice is worth a measurement.
//! let small: Arc<dyn Twin> = Arc::new(Matmul::new(&caps, Layout::Nt, 1, 8, 8, 8)?);
//! assert_eq!(candidates(&small, &caps).len(), 1);
//! # Ok::<(), wgen::Error>(())
//! ```

use std::sync::Arc;

use crate::kernels::Caps;
use crate::reference::Twin;

/// Candidates that are measured a shape, the heuristic's among them.
const MOST: usize = 4;

/// Below this many flops a choice matters less than measuring it costs.
const WORTH: f64 = 1e6;

/// The variants of `kernel` that are measured on its shape, itself first; it alone where there is no choice, or none that is worth it.
pub fn candidates(kernel: &Arc<dyn Twin>, caps: &Caps) -> Vec<Arc<dyn Twin>> {
    let first = std::iter::once(kernel.clone());
    if kernel.cost().flops < WORTH {
        return first.collect();
    }
    first.chain(kernel.alternatives(caps)).take(MOST).collect()
}
