//! Every public module begins with what it is for and an example, which runs as a documentation test.

use std::fs;
use std::path::Path;

/// The front page's own rooms: the command line's modules are private and no library.
const WITHOUT: &[&str] = &["cli"];

/// Names of the public modules that `text` declares as files of their own.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
}

/// The text of `//!` lines that a file begins with.
fn documentation(text: &str) -> String {
    let lines = text.lines().map_while(|l| l.strip_prefix("//!"));
    lines.collect::<Vec<_>>().join("\n")
}

fn walk(folder: &Path, text: &str, path: &str, faults: &mut Vec<String>, seen: &mut usize) {
    for name in declared(text).filter(|name| !WITHOUT.contains(name)) {
        let flat = folder.join(format!("{name}.rs"));
        let file = if flat.exists() {
            flat
        } else {
            folder.join(name).join("mod.rs")
        };
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let path = format!("{path}::{name}");
        *seen += 1;
        let documentation = documentation(&text);
        if documentation.trim_start().starts_with("```") || documentation.trim().is_empty() {
            faults.push(format!("{path} does not say what it is for"));
        }
        let runs = |fence: &str| {
            !fence.starts_with("ignore")
                && !fence.starts_with("text")
                && !fence.starts_with("no_run")
        };
        // Every second fence ends a block.
        if !documentation.split("```").skip(1).step_by(2).any(runs) {
            faults.push(format!("{path} has no example that runs"));
        }
        walk(&folder.join(name), &text, &path, faults, seen);
    }
}

#[test]
fn every_public_module_begins_with_what_it_is_for_and_an_example() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let front = fs::read_to_string(src.join("lib.rs")).unwrap();
    let (mut faults, mut seen) = (Vec::new(), 0);
    walk(&src, &front, "wgen", &mut faults, &mut seen);
    assert!(seen > 80, "only {seen} modules were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
