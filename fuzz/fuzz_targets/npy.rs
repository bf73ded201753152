//! `poses_bounds.npy` of LLFF.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(views) = wgen::data::scene::llff::from_bytes(Path::new("fuzzed"), bytes) {
        for view in views {
            assert!(view.pose.check().is_ok() && view.camera.fx > 0.0 && view.bounds[0] < view.bounds[1]);
        }
    }
});
