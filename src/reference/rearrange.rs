//! Twin of `shaders/rearrange.wgsl`.

use super::Twin;
use crate::kernels::rearrange::Rearrange;
use crate::real::Real;
use crate::tensor::Data;

/// Each element of the result from its place in `source`, or `fill`.
pub(crate) fn rearrange<E: Copy>(kernel: &Rearrange, source: &[E], fill: E) -> Vec<E> {
    (0..kernel.count())
        .map(|mut index| {
            let mut place = 0;
            for axis in kernel.axes.iter().rev() {
                let coordinate = (index % axis.size) as isize + axis.offset;
                index /= axis.size;
                if coordinate < 0 || coordinate >= axis.bound as isize {
                    return fill;
                }
                place += coordinate as usize * axis.stride;
            }
            source[place]
        })
        .collect()
}

impl Twin for Rearrange {
    fn reference(&self, buffers: &mut [Data]) {
        let fill = f64::from(self.fill);
        buffers[1] = match &buffers[0] {
            Data::F32(v) => Data::F32(rearrange(self, v, self.fill)),
            Data::F64(v) => Data::F64(rearrange(self, v, fill)),
            Data::Tracked(v) => Data::Tracked(rearrange(self, v, Real::from_f64(fill))),
            Data::U32(v) => Data::U32(rearrange(self, v, self.fill as u32)),
            Data::U8(v) => Data::U8(rearrange(self, v, self.fill as u8)),
        };
    }
}
