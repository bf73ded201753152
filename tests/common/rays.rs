//! Rays of posed pictures as data sets hold them.

use wgen::data::Dataset;
use wgen::data::scene::ROW_BYTES;
use wgen::tensor::Data;

/// Rows as colour and number.
pub(crate) fn rows(data: &Dataset) -> Vec<([u8; 4], u32)> {
    let Data::U8(bytes) = &data.values else {
        panic!("rows are bytes");
    };
    let one = |r: &[u8]| {
        (
            [r[0], r[1], r[2], r[3]],
            u32::from_le_bytes([r[4], r[5], r[6], r[7]]),
        )
    };
    bytes.chunks_exact(ROW_BYTES).map(one).collect()
}
