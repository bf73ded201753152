//! `config.json` and `metrics.jsonl` of a run folder, and reports of `wgen bench`.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = wgen::files::folder::config_from_text(Path::new("fuzzed"), text) {
        // What was accepted is built and can be written again.
        assert!(!config.model.parameters().is_empty());
        serde_json::to_string(&config).expect("plain data");
    }
    wgen::files::metrics::records(text);
    wgen::bench::from_text(Path::new("fuzzed"), text.as_bytes()).ok();
});
