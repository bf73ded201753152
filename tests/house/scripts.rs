//! A script that begins with how it is run can be run.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Scripts in `folder` that begin with `#!`, and those of them that nobody may execute.
fn scripts(folder: &Path, seen: &mut usize, faults: &mut Vec<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            // What was built or installed there is somebody else's.
            let name = path.file_name().unwrap().to_string_lossy();
            if name != "target" && !name.starts_with('.') {
                scripts(&path, seen, faults);
            }
            continue;
        }
        let mut first = [0; 2];
        let file = fs::File::open(&path).unwrap();
        if file.take(2).read_exact(&mut first).is_err() || first != *b"#!" {
            continue;
        }
        *seen += 1;
        if path.metadata().unwrap().permissions().mode() & 0o111 == 0 {
            faults.push(path.display().to_string());
        }
    }
}

#[test]
fn scripts_that_say_how_they_are_run_can_be_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut seen, mut faults) = (0, Vec::new());
    for folder in ["scripts", "tests", "benches", ".ci"] {
        scripts(&root.join(folder), &mut seen, &mut faults);
    }
    assert!(seen > 50, "only {seen} scripts were found");
    assert!(faults.is_empty(), "not executable: {}", faults.join(", "));
}
