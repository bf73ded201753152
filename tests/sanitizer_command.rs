//! `wgen sanitize` and `wgen verify --sanitize` as somebody calls them: what they say, their exit status, their JSON, and bad input.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::calls::{done, refused, wgen, words};
use serde_json::Value;
use wgen::files::weights::write_tensors;

const REVERSED: &str = "@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
override SIZE: u32 = 64u;
var<workgroup> tile: array<f32, SIZE>;

@compute @workgroup_size(SIZE)
fn reversed(@builtin(local_invocation_index) i: u32, @builtin(workgroup_id) group: vec3<u32>) {
    tile[i] = x[group.x * SIZE + i];
    workgroupBarrier();
    y[group.x * SIZE + i] = tile[SIZE - 1u - i];
}
";

fn saved(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn inputs(folder: &Path, tensors: &[(&str, usize)]) -> String {
    let of = |&(name, n): &(&str, usize)| {
        let values = (0..n).map(|i| i as f32).collect();
        (name.to_owned(), (vec![n], values))
    };
    let tensors: BTreeMap<_, _> = tensors.iter().map(of).collect();
    let path = folder.join("inputs.safetensors");
    write_tensors(&path, &tensors).expect("a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn a_shader_is_examined_and_its_faults_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let right = saved(dir.path(), "right.wgsl", REVERSED);
    let said = done(&["sanitize", &right]);
    assert!(
        said.contains("nothing found") && said.contains("in 4 runs"),
        "{said}"
    );

    let racy = saved(
        dir.path(),
        "racy.wgsl",
        &REVERSED.replace("    workgroupBarrier();\n", ""),
    );
    let out = wgen(&["sanitize", &racy]);
    let said = words(&out);
    assert_eq!(out.status.code(), Some(1), "{said}");
    for expected in ["line 8: race:", "tile[SIZE - 1u - i];", "2 findings in"] {
        assert!(said.contains(expected), "no '{expected}' in {said}");
    }

    let data = inputs(dir.path(), &[("x", 128)]);
    let call = [
        "sanitize",
        &racy,
        "--json",
        "--inputs",
        &data,
        "--elements",
        "y=128",
        "--workgroups",
        "2",
        "--constant",
        "SIZE=32",
        "--shuffles",
        "1",
    ];
    let out = wgen(&call);
    assert_eq!(out.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(
        (&json["passed"], &json["entry"]),
        (&Value::from(false), &Value::from("reversed"))
    );
    assert_eq!(json["workgroup_size"], serde_json::json!([32, 1, 1]));
    assert_eq!(json["runs"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["counts"]["distinct_written"], 4 * 64);
    let finding = &json["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["line"]["number"]),
        (&Value::from("race"), &Value::from(8))
    );
    assert_eq!(
        finding["other"]["text"],
        "y[group.x * SIZE + i] = tile[SIZE - 1u - i];"
    );
}

#[test]
fn what_nobody_wrote_is_what_has_no_tensor() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = saved(
        dir.path(),
        "adds.wgsl",
        &REVERSED.replace("i] = tile[", "i] += tile["),
    );
    let data = inputs(dir.path(), &[("x", 64)]);
    let out = wgen(&["sanitize", &file, "--inputs", &data]);
    let said = words(&out);
    assert!(said.contains("line 10: never written:"), "{said}");
    let data = inputs(dir.path(), &[("x", 64), ("y", 64)]);
    done(&["sanitize", &file, "--inputs", &data]);
    // Workgroup memory is cleared, or is not.
    let half = REVERSED.replace(
        "    tile[i] = ",
        "    if i < 9u { return; }\n    tile[i] = ",
    );
    let half = half.replace("    workgroupBarrier();\n", "");
    let file = saved(
        dir.path(),
        "half.wgsl",
        &half.replace("tile[SIZE - 1u - i]", "tile[i - 9u]"),
    );
    let cleared = words(&wgen(&["sanitize", &file]));
    assert!(!cleared.contains("never written"), "{cleared}");
    let anything = words(&wgen(&["sanitize", &file, "--no-zeros"]));
    assert!(anything.contains("never written"), "{anything}");
}

#[test]
fn bad_input_ends_with_a_reason_and_status_two() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = saved(dir.path(), "right.wgsl", REVERSED);
    refused(&["sanitize", "nowhere.wgsl"], &["nowhere.wgsl"]);
    refused(
        &["sanitize", &file, "--entry", "other"],
        &["no compute shader 'other', there are reversed"],
    );
    let broken = saved(dir.path(), "broken.wgsl", &REVERSED.replace("f32>", "f33>"));
    refused(&["sanitize", &broken], &["f33"]);
    refused(&["sanitize", &file, "--inputs", &file], &["no safetensors"]);
    let data = inputs(dir.path(), &[("z", 64)]);
    refused(
        &["sanitize", &file, "--inputs", &data],
        &["the shader binds no 'z', but x, y"],
    );
    let data = inputs(dir.path(), &[("y", 64)]);
    refused(
        &["sanitize", &file, "--inputs", &data],
        &["no tensor 'x', which the shader reads"],
    );
    refused(
        &["sanitize", &file, "--workgroups", "1,2,3,4"],
        &["one to three numbers"],
    );
    refused(
        &["sanitize", &file, "--elements", "z=3"],
        &["binds no such variable, but x, y"],
    );
    refused(
        &["sanitize", &file, "--constant", "SIZE"],
        &["a name and a value"],
    );
    refused(&["sanitize", &file, "--constant", "SIDE=3"], &["SIDE"]);
    refused(
        &["sanitize", &file, "--constant", "SIZE=100000"],
        &["its constants", "Workgroup size"],
    );
    refused(
        &["sanitize", &file, "--workgroups", "65535,65535"],
        &["more than the sanitizer runs"],
    );
    let subgroups = REVERSED.replace("tile[i] = ", "tile[i] = subgroupMax(1.0) * ");
    let subgroups = saved(dir.path(), "subgroups.wgsl", &subgroups);
    refused(
        &["sanitize", &subgroups, "--subgroup-sizes", "0"],
        &["1 to 128 lanes"],
    );
    done(&["sanitize", &subgroups, "--subgroup-sizes", "4,8"]);
}

#[test]
fn families_are_examined_without_a_gpu() {
    let said = done(&["-v", "verify", "--sanitize", "--quick", "--filter", "cast"]);
    assert!(said.contains("nothing found"), "{said}");
    // A case's costs, beside what was counted.
    assert!(said.contains("bytes ") && said.contains("moved "), "{said}");
    let call = [
        "--json",
        "verify",
        "--sanitize",
        "--quick",
        "--filter",
        "cast",
    ];
    let json: Value = serde_json::from_slice(&wgen(&call).stdout).expect("JSON");
    let line = &json["lines"][0];
    assert_eq!(
        (&json["passed"], &line["name"]),
        (&Value::from(true), &Value::from("cast"))
    );
    assert_eq!(line["not_run"], serde_json::json!([]));
    refused(
        &["verify", "--sanitize", "--filter", "nothing"],
        &["matches no kernel family"],
    );
}
