//! `wgen shaders --caps ... --models`: what devices that are not here would run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value as Json, json};
use wgen::kernels::{Caps, devices};

fn shaders(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wgen"))
        .args(["--json", "shaders"])
        .args(arguments)
        .output()
        .unwrap()
}

/// A folder for thousands of files, each of which is synced: in memory where there is such a place.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.unwrap()
}

/// Writes the kernels of all models for a family or a file into a folder; what was printed, and every file's text by its name.
fn written(caps: &str, out: &Path) -> (Json, BTreeMap<String, String>) {
    let path = out.to_string_lossy();
    let output = shaders(&["--caps", caps, "--models", "--out", &path]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{caps}: {said}");
    let list: Json = serde_json::from_slice(&output.stdout).unwrap();
    let names = list["files"].as_array().unwrap().iter();
    let texts = names.map(|name| {
        let name = name.as_str().unwrap().to_owned();
        let text = std::fs::read_to_string(out.join(&name)).unwrap();
        (name, text)
    });
    let texts = texts.collect();
    (list, texts)
}

/// Every file parses, says why it is there as the list does, and has nothing that the device has not.
fn check(caps: &Caps, list: &Json, texts: &BTreeMap<String, String>) {
    assert_eq!(list["caps"], serde_json::to_value(caps).unwrap());
    let kernels = list["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), texts.len());
    let mut by_role = BTreeMap::new();
    for kernel in kernels {
        let name = kernel["file"].as_str().unwrap();
        let text = &texts[name];
        naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let role = kernel["role"].as_str().unwrap();
        let words = match role {
            "first" => "// first choice: ",
            "candidate" => "// candidate: ",
            "verified" => "// verified: ",
            other => panic!("{name}: {other}"),
        };
        let second = text.lines().nth(1).unwrap();
        let program = second.strip_prefix(words).expect(second);
        // Who it is for is among its uses, in that role.
        let of = kernel["uses"].as_array().unwrap().iter();
        let mut of = of.filter(|u| u["role"] == role);
        assert!(
            of.any(|u| program.starts_with(u["program"].as_str().unwrap())),
            "{name}: {second}"
        );
        assert!(
            caps.subgroup_min_size > 0 || !text.contains("subgroup_"),
            "{name}"
        );
        assert!(caps.f16 || !text.contains("enable f16"), "{name}");
        *by_role.entry(role.to_owned()).or_insert(0) += 1;
    }
    assert!(
        by_role["first"] > 500 && by_role["candidate"] > 50 && by_role["verified"] > 50,
        "{by_role:?}"
    );
    // No kernel comes twice: constants and text, whatever it is shown with.
    let distinct: BTreeSet<(&str, &str)> = texts
        .values()
        .map(|text| {
            let (_, rest) = text.split_once("// constants: ").unwrap();
            let (constants, rest) = rest.split_once("; workgroups").unwrap();
            (constants, rest.split_once("\n\n").unwrap().1)
        })
        .collect();
    assert_eq!(distinct.len(), texts.len());
}

fn family(name: &str) {
    let dir = folder();
    let (list, texts) = written(name, dir.path());
    let caps = &devices::find(name).unwrap().caps;
    check(caps, &list, &texts);
    // Heads of attention of all sizes, forward and all gradients, as first choices.
    for size in [16, 32, 64, 128, 256] {
        for mode in ["forward", "by_query", "by_key", "by_value"] {
            let named = format!("{mode} {size} channels");
            let kernels = list["kernels"].as_array().unwrap();
            let found = kernels.iter().find(|k| {
                k["family"] == "attention" && k["variant"].as_str().unwrap().starts_with(&named)
            });
            assert_eq!(found.expect(&named)["role"], "first", "{named}");
        }
    }
    // What the device has is made use of.
    let has = |what: &str| texts.values().any(|text| text.contains(what));
    assert_eq!(has("subgroup_"), caps.subgroup_min_size > 0);
    assert_eq!(has("enable f16"), caps.f16);
    assert_eq!(has("coopMultiplyAdd"), caps.matrix_units > 0);
    for kernel in list["kernels"].as_array().unwrap() {
        // What rounds its operands is for plans that ask: for f16, or for matrix units.
        let rounds = texts[kernel["file"].as_str().unwrap()].contains("coopMultiplyAdd");
        let mut uses = kernel["uses"].as_array().unwrap().iter();
        let asked = |u: &Json| {
            let program = u["program"].as_str().unwrap();
            u["role"] == "verified" || program.contains("f16") || program.contains("matrix units")
        };
        assert!(!rounds || uses.all(asked), "{kernel}");
    }
    let halved = |use_of: &Json| {
        use_of["program"]
            .as_str()
            .unwrap()
            .ends_with("batch 1024, f16")
    };
    let mut kernels = list["kernels"].as_array().unwrap().iter();
    let any = kernels.any(|k| k["uses"].as_array().unwrap().iter().any(halved));
    assert_eq!(any, caps.f16);
}

#[test]
fn amd_has_all_that_it_would_run() {
    family("amd");
}

#[test]
fn nvidia_has_all_that_it_would_run() {
    family("nvidia");
}

#[test]
fn apple_has_all_that_it_would_run() {
    family("apple");
}

#[test]
fn adreno_has_all_that_it_would_run() {
    family("adreno");
}

#[test]
fn intel_has_all_that_it_would_run() {
    family("intel");
}

/// The same as the family, and what a file says where it says nothing.
#[test]
fn a_portable_device_has_no_subgroups_and_a_file_without_fields_is_one() {
    family("portable");
    let dir = folder();
    let file = dir.path().join("nothing.json");
    std::fs::write(&file, "{}").unwrap();
    let (by_file, _) = written(&file.to_string_lossy(), &dir.path().join("a"));
    let (by_name, _) = written("portable", &dir.path().join("b"));
    assert_eq!(by_file, by_name);
}

#[test]
fn a_file_says_what_a_device_can_do() {
    let dir = folder();
    let file = dir.path().join("caps.json");
    let caps = json!({"vendor": 4318, "subgroup_min_size": 16, "subgroup_max_size": 16, "invocations": 1024});
    // As an editor on Windows writes it.
    std::fs::write(&file, format!("\u{feff}{caps}")).unwrap();
    let out = dir.path().join("out");
    let arguments = [
        "--caps",
        &file.to_string_lossy(),
        "--out",
        &out.to_string_lossy(),
    ];
    let output = shaders(&arguments);
    assert!(output.status.success());
    let list: Json = serde_json::from_slice(&output.stdout).unwrap();
    let expected = Caps {
        vendor: 4318,
        subgroup_min_size: 16,
        subgroup_max_size: 16,
        invocations: 1024,
        ..Caps::portable()
    };
    assert_eq!(list["caps"], serde_json::to_value(expected).unwrap());
    // Without --models there are the cases of verification alone.
    let roles = list["kernels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| &k["role"]);
    assert!(roles.into_iter().all(|role| role == "verified"));
}

#[test]
fn what_is_no_device_is_refused_with_status_2() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let out = path("out");
    let refused = |caps: &str, words: &[&str]| {
        let output = shaders(&["--caps", caps, "--models", "--out", &out]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{caps}: {said}");
        for word in words {
            assert!(said.contains(word), "{caps}: {said}");
        }
        assert!(!Path::new(&out).exists(), "{caps}: something was written");
    };
    refused(
        "amb",
        &["amb", "amd, nvidia, apple, adreno, intel, portable"],
    );
    refused(&path("none.json"), &["none.json", "no such file"]);
    refused(&path(""), &[]);
    let files: [(&str, &[u8], &str); 6] = [
        ("cut.json", b"{\"invocations\": 25", "EOF"),
        ("list.json", b"[1, 2]", "capabilities"),
        (
            "unknown.json",
            b"{\"invocation\": 256}",
            "unknown field `invocation`",
        ),
        ("negative.json", b"{\"invocations\": -1}", "expected u32"),
        ("small.json", b"{\"workgroup_bytes\": 8192}", "16384"),
        ("bytes.json", b"\xff\x00\x80", "UTF-8"),
    ];
    for (name, content, word) in files {
        std::fs::write(path(name), content).unwrap();
        refused(&path(name), &[name, word]);
    }
    let both = shaders(&["--caps", "amd", "--subgroup", "8", "--out", &out]);
    assert_eq!(both.status.code(), Some(2));
}
