//! What passes between kernels in f16: half the traffic of activations and of their gradients. Parameters, their gradients, moments,
//! sums and results stay f32.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::kernels::Caps;
use crate::program::{Origin, Program};
use crate::reference::half::Half;
use crate::tensor::DType;

/// Smaller tensors gain nothing.
const WORTH: usize = 256;

/// Stores every transient as f16 that all of its kernels can read and write so.
pub(super) fn store(program: &mut Program, caps: &Caps) -> Result<()> {
    if !caps.f16 {
        return Err(Error::Usage(
            "this device's shaders have no f16 (wgpu feature SHADER_F16); use `precision` f32"
                .to_owned(),
        ));
    }
    let mut half: Vec<bool> = program
        .buffers
        .iter()
        .map(|b| {
            let count = b.ty.shape.count();
            b.origin == Origin::Transient
                && b.ty.dtype == DType::F32
                && count >= WORTH
                && count.is_multiple_of(4)
        })
        .collect();
    for dispatch in &program.dispatches {
        for (buffer, binding) in dispatch.buffers.iter().zip(dispatch.kernel.bindings()) {
            half[buffer.0] &= binding.half;
        }
    }
    for (buffer, half) in program.buffers.iter_mut().zip(&half) {
        if *half {
            buffer.ty.dtype = DType::F16;
        }
    }
    for dispatch in &mut program.dispatches {
        let marks: Vec<bool> = dispatch.buffers.iter().map(|b| half[b.0]).collect();
        if marks.contains(&true) {
            dispatch.kernel = Arc::new(Half::new(dispatch.kernel.clone(), marks));
        }
    }
    Ok(())
}
