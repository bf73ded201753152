//! The program, called as people call it.

use std::process::{Command, Output};

/// A command, on the CPU: what is tested does not depend on a device, and a run takes no time to start.
pub(crate) fn wgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(["--device", "cpu"])
        .args(arguments)
        .output()
        .unwrap()
}

/// All that it said.
pub(crate) fn words(out: &Output) -> String {
    [&out.stdout[..], &out.stderr]
        .map(String::from_utf8_lossy)
        .join("\n")
}

/// What it said, of a command that must succeed.
pub(crate) fn done(arguments: &[&str]) -> String {
    let out = wgen(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", words(&out));
    words(&out)
}

/// The command must fail with status 2 and a message that contains each of `expected`.
pub(crate) fn refused(arguments: &[&str], expected: &[&str]) -> String {
    let out = wgen(arguments);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{arguments:?}: {message}");
    for word in expected {
        assert!(
            message.contains(word),
            "{arguments:?}: no '{word}' in: {message}"
        );
    }
    assert!(!message.contains("panicked"), "{message}");
    message
}
