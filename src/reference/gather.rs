//! Twin of `shaders/gather.wgsl`.

use super::twin;
use crate::kernels::gather::Gather;
use crate::kernels::state::CURSOR;
use crate::real::Real;
use crate::tensor::Data;

/// Where each element of the result stands in the data set.
pub(crate) fn places(kernel: &Gather, index: &[u32], cursor: u32) -> impl Iterator<Item = usize> {
    (0..kernel.batch * kernel.width).map(move |element| {
        let (b, column) = (
            element / kernel.width + kernel.first,
            element % kernel.width,
        );
        let row = index[(b + cursor as usize) % kernel.indices] as usize;
        row.min(kernel.rows - 1) * kernel.width + column
    })
}

/// The rows `index` from `cursor` on of `data`; reals and bytes are scaled and shifted, u32 copied.
pub(crate) fn gather<T: Real>(kernel: &Gather, data: &Data, index: &[u32], cursor: u32) -> Data {
    let places = places(kernel, index, cursor);
    let real =
        |x: T| x * T::from_f64(f64::from(kernel.scale)) + T::from_f64(f64::from(kernel.shift));
    match data {
        Data::U8(bytes) => T::into_data(
            places
                .map(|p| real(T::from_f64(f64::from(bytes[p]))))
                .collect(),
        ),
        Data::U32(words) => Data::U32(places.map(|p| words[p]).collect()),
        reals => {
            let reals = T::of(reals);
            T::into_data(places.map(|p| real(reals[p])).collect())
        }
    }
}

twin!(Gather, run, pieces: super::piece::gather);

fn run<T: Real>(kernel: &Gather, buffers: &mut [Data]) {
    let cursor = if kernel.cursor {
        buffers[2].as_u32()[CURSOR]
    } else {
        0
    };
    let out = gather::<T>(kernel, &buffers[0], buffers[1].as_u32(), cursor);
    if let Some(last) = buffers.last_mut() {
        *last = out;
    }
}
