//! The first witness: every kernel family and the plans of the models on the GPU against the CPU. What `wgen verify --quick` runs.

mod common;

use std::process::Command;

use common::gpu;
use wgen::verify::{Options, Progress, all};

fn verify(filter: &str) {
    let options = Options {
        quick: true,
        filter: Some(filter.to_owned()),
    };
    let report = all(&gpu(), &options, |_| {}).unwrap();
    for line in &report.lines {
        assert!(line.passed, "{}: {}", line.name, line.failures.join("\n"));
        // What the documents claim of every family, on every driver.
        let (share, case) = (line.worst_of_tolerance, &line.worst_case);
        assert!(
            share <= 0.8,
            "{}: {share:.3} of its tolerance in {case}",
            line.name
        );
    }
    assert!(report.passed());
}

macro_rules! families {
    ($($name:ident)*) => { $(#[test] fn $name() { verify(stringify!($name)); })* };
}
families! {
    adam advance attention camera_rays cast ceiling chains commit composite concat ema frequency_encode gan gather group_norm guard
    hash_encoding map march marching_cubes matmul nerf ngp occupancy pool predict_x0 present q_sample quantile ray_budget ray_of rearrange reduce reparameterize resize reverse_step
    rmsprop sample_pdf scan scatter_add sgd spherical_harmonics timestep_embedding top_k vae
}

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

#[test]
fn progress_names_every_case_and_every_line_once_it_is_done() {
    let options = Options {
        quick: true,
        filter: Some("ca".to_owned()),
    };
    let (mut cases, mut lines, mut last) = (0, Vec::new(), 0.0);
    let report = all(&gpu(), &options, |progress| match progress {
        Progress::Case { line, case, done } => {
            assert!(!case.is_empty() && (last..1.0).contains(&done), "{done}");
            assert!(!lines.contains(&line.to_owned()), "{line} was done");
            (cases, last) = (cases + 1, done);
        }
        Progress::Line(line) => {
            assert!(line.cases > 0 && line.passed);
            lines.push(line.name.clone());
        }
    })
    .unwrap();
    assert_eq!(
        lines,
        [
            "camera_rays",
            "cast",
            "concat",
            "scan",
            "scatter_add",
            "spherical_harmonics"
        ]
    );
    assert_eq!(cases, report.lines.iter().map(|l| l.cases).sum::<usize>());
}

/// What the command says on stdout and on stderr, neither of which is a terminal.
fn wgen(arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    (out, err)
}

#[test]
fn lines_are_for_people_and_json_for_machines() {
    let (out, err) = wgen(&["verify", "--quick", "--filter", "commit"]);
    assert!(err.is_empty(), "{err}");
    let line = out.lines().find(|l| l.starts_with("commit")).unwrap();
    // Copies: no rounding.
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[2..], ["0.00e0", "0.0", "0.000", "ok"], "{line}");
    assert!(
        out.lines()
            .all(|l| l.len() <= 80 || l.starts_with("device")),
        "{out}"
    );
    let (out, err) = wgen(&["verify", "--quick", "--filter", "commit", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["lines"][0]["name"], "commit");
    assert_eq!(report["lines"][0]["worst_ulp"], 0.0);
    assert!(err.contains("all passed"), "{err}");
}

#[test]
fn bench_says_how_far_it_is_without_a_terminal() {
    let (out, err) = wgen(&["bench", "--filter", "concat", "--rounds", "2", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["rounds"], 2);
    for said in [
        "checked concat: 2 lines in ",
        "round 1 of 2, (",
        "round 2 of 2, (",
    ] {
        assert!(err.contains(said), "{err}");
    }
}
