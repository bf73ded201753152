//! `config.json` and `metrics.jsonl` of a run folder, and reports of `wgen bench`.
#![no_main]

use std::path::Path;

use wgen::models::Model;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = wgen::files::folder::config_from_text(Path::new("fuzzed"), text) {
        // What was accepted can be built and written again.
        let model = config.build().expect("it was checked");
        assert!(!model.parameters().is_empty());
    }
    wgen::train::metrics::records(text);
    wgen::bench::from_text(Path::new("fuzzed"), text.as_bytes()).ok();
});
