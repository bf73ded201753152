//! Tensors larger than one binding: their kernels become several, on ranges.

use crate::kernels::{Access, Caps, Kernel};
use crate::program::{Dispatch, Program};

/// Cuts every dispatch that binds more than the device allows, where its kernel can be cut. The others are refused when they are made,
/// with the limit's name.
pub(super) fn split(program: &mut Program, caps: &Caps) {
    let too_large = |kernel: &dyn Kernel| {
        let mut bindings = kernel.bindings().into_iter();
        bindings
            .any(|b| !matches!(b.access, Access::Texture { .. }) && b.bytes() > caps.binding_bytes)
    };
    let dispatches = std::mem::take(&mut program.dispatches);
    for dispatch in dispatches {
        let pieces = too_large(dispatch.kernel.as_ref())
            .then(|| dispatch.kernel.pieces(caps.binding_bytes as usize / 4))
            .flatten();
        let Some(pieces) = pieces else {
            program.dispatches.push(dispatch);
            continue;
        };
        program
            .dispatches
            .extend(pieces.into_iter().map(|piece| Dispatch {
                kernel: piece.kernel,
                offsets: piece.offsets,
                ..dispatch.clone()
            }));
    }
}
