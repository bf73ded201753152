//! The first witness: every kernel family and the plans of the models on the GPU against the CPU. What `wgen verify --quick` runs.

mod common;

use common::gpu;
use wgen::verify::{Options, all};

fn verify(filter: &str) {
    let options = Options {
        quick: true,
        filter: Some(filter.to_owned()),
    };
    let report = all(&gpu(), &options, |_| {}).unwrap();
    for line in &report.lines {
        assert!(line.passed, "{}: {}", line.name, line.failures.join("\n"));
    }
    assert!(report.passed());
}

macro_rules! families {
    ($($name:ident)*) => { $(#[test] fn $name() { verify(stringify!($name)); })* };
}
families! { adam advance cast concat ema gather guard map matmul rearrange reduce reparameterize rmsprop scatter_add sgd vae chains }

#[test]
fn every_family_has_cases() {
    let cases = wgen::verify::cases::all(gpu().caps(), true);
    for template in wgen::program::template::families() {
        assert!(
            cases.iter().any(|c| c.kernel.family() == template),
            "{template} has no cases"
        );
    }
    let options = Options {
        quick: true,
        filter: Some("no such kernel".to_owned()),
    };
    assert!(all(&gpu(), &options, |_| {}).is_err());
}
