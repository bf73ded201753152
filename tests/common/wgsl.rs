//! WGSL in the sanitizer: inputs, a run, and that nothing was found.

use wgen::sanitize::{Finding, Input, Options, Program, Report};

/// Floats of a buffer.
pub(crate) fn floats(x: &[f32]) -> Input {
    Input::buffer(x.iter().flat_map(|x| x.to_le_bytes()).collect())
}

pub(crate) fn words(x: &[u32]) -> Input {
    Input::buffer(x.iter().flat_map(|x| x.to_le_bytes()).collect())
}

pub(crate) fn run(source: &str, inputs: &[Input], workgroups: u32, options: &Options) -> Report {
    let program = Program::new(source, None, &[]).unwrap_or_else(|e| panic!("{e}"));
    program
        .run(inputs, [workgroups, 1, 1], options)
        .unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
pub(crate) fn nothing(findings: &[Finding]) {
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}
