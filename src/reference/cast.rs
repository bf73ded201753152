//! Twin of `shaders/cast.wgsl`.

use super::Twin;
use crate::kernels::cast::Cast;
use crate::reference::precision_of;
use crate::tensor::{DType, Data};

/// Converts an array; reals to integers truncate towards zero and clamp.
pub(crate) fn cast(source: &Data, to: DType, reals: crate::real::Precision) -> Data {
    match to {
        DType::U32 => Data::U32(
            source
                .to_f64()
                .into_iter()
                .map(|x| x.clamp(0.0, 4_294_967_040.0) as u32)
                .collect(),
        ),
        DType::U8 => Data::U8(
            source
                .to_f64()
                .into_iter()
                .map(|x| x.clamp(0.0, 255.0) as u8)
                .collect(),
        ),
        DType::F32 | DType::F16 => Data::F64(source.to_f64()).in_precision(reals),
    }
}

impl Twin for Cast {
    fn reference(&self, buffers: &mut [Data]) {
        let reals = precision_of(buffers);
        buffers[1] = cast(&buffers[0], self.to, reals);
    }
}
