//! Pictures of every format that a folder of images may hold.
#![no_main]

use std::path::Path;

use wgen::data::images::{Options, from_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let size = bytes.first().filter(|b| **b % 2 == 0).map(|b| u32::from(*b) % 32 + 1);
    let grey = bytes.last().is_some_and(|b| b % 2 == 0);
    if let Ok((shape, pixels)) = from_bytes(Path::new("fuzzed"), bytes, &Options { size, grey, crop: bytes.len() % 2 == 0, ..Options::default() }) {
        assert_eq!(shape.count(), pixels.len());
    }
});
