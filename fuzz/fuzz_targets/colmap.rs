//! Models of COLMAP, text and binary: the input's first byte says which, and its next two where the second and the third file begin.
#![no_main]

use std::path::Path;

use wgen::data::scene::colmap::{Encoding, Files, from_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [kind, a, b, rest @ ..] = bytes else {
        return;
    };
    let encoding = if kind % 2 == 0 { Encoding::Binary } else { Encoding::Text };
    let first = rest.len() * usize::from(*a) / 256;
    let second = first + (rest.len() - first) * usize::from(*b) / 256;
    let files = Files { cameras: &rest[..first], images: &rest[first..second], points: Some(&rest[second..]) };
    if let Ok(model) = from_bytes(Path::new("fuzzed"), encoding, &files) {
        for image in &model.images {
            assert!(model.cameras.contains_key(&image.camera));
            assert!(image.pose.check().is_ok());
        }
        assert!(model.points.iter().flat_map(|p| p.at).all(f64::is_finite));
    }
});
