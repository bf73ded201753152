//! Lists of cameras in JSON: Blender's, instant-ngp's, nerfstudio's.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(frames) = wgen::data::scene::transforms::from_text(Path::new("fuzzed"), text) {
        assert!(frames.iter().all(|(_, pose)| pose.check().is_ok()));
    }
});
