//! IDX files, gzip'd or not.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(idx) = wgen::data::idx::from_bytes(Path::new("fuzzed"), bytes) {
        assert_eq!(idx.dims.iter().product::<usize>(), idx.bytes.len());
    }
});
