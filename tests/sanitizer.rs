//! What the sanitizer finds in small shaders, each kind of finding and the line of it, and what it must not find in shaders that are right.

mod common;

use common::wgsl::{floats, nothing, run, words};
use wgen::sanitize::{Finding, Input, Kind, Options, Program};

fn found(source: &str, inputs: &[Input], workgroups: u32) -> Vec<Finding> {
    let options = Options {
        most_steps: 100_000,
        ..Options::default()
    };
    run(source, inputs, workgroups, &options).findings
}

/// Where workgroup memory is not cleared.
fn found_uncleared(source: &str, inputs: &[Input]) -> Vec<Finding> {
    let options = Options {
        zeroed_workgroup_memory: false,
        ..Options::default()
    };
    run(source, inputs, 1, &options).findings
}

#[track_caller]
fn first(findings: &[Finding], kind: Kind, text: &str) {
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let first = findings.first().unwrap_or_else(|| panic!("nothing found"));
    assert_eq!(first.kind, kind, "{said:?}");
    let here = |line: &wgen::sanitize::Line| line.text.contains(text);
    assert!(
        here(&first.line) || first.other.as_ref().is_some_and(here),
        "{said:?}"
    );
}

/// A shader of one workgroup of 64 over `x`, with `more` declared.
fn shader(more: &str, body: &str) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
{more}
@compute @workgroup_size(64)
fn main(
    @builtin(local_invocation_index) i: u32,
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
) {{
{body}
}}
"
    )
}

const TILE: &str = "var<workgroup> tile: array<f32, 64>;";

fn ones() -> Input {
    floats(&[1.0; 64])
}

#[test]
fn races_are_found_where_they_are() {
    let race = |body: &str| found(&shader(TILE, body), &[ones()], 1);
    let body = "tile[i] = x[i];\nx[i] = tile[63u - i];";
    first(&race(body), Kind::Race, "tile[63u - i]");
    // A barrier of storage does not order workgroup memory, nor the other way round.
    let body = "tile[i] = x[i];\nstorageBarrier();\nx[i] = tile[63u - i];";
    first(&race(body), Kind::Race, "tile[63u - i]");
    let body = "let y = x[63u - i];\nworkgroupBarrier();\nx[i] = y;";
    first(&race(body), Kind::Race, "x[i] = y;");
    let body = "let y = x[63u - i];\nstorageBarrier();\nx[i] = y;";
    nothing(&race(body));
    let body = "if i == 0u { x[0] = 1.0; }\nif i == 1u { x[0] = 2.0; }";
    first(&race(body), Kind::Race, "x[0] = 2.0;");
    first(&race("x[0] = 3.0;"), Kind::RaceOfEquals, "x[0] = 3.0;");
    // Nothing orders workgroups.
    let body = "x[i] = f32(group.x);\nstorageBarrier();";
    let two = found(&shader("", body), &[ones()], 2);
    first(&two, Kind::Race, "x[i] = f32(group.x);");
    assert!(two[0].message.contains("of workgroup number"), "{}", two[0]);
}

#[test]
fn indices_are_held_against_what_there_is() {
    let out = |body: &str| found(&shader(TILE, body), &[ones()], 1);
    first(&out("x[i + 1u] = 1.0;"), Kind::OutOfBounds, "x[i + 1u]");
    first(
        &out("x[i] = tile[i + 1u];"),
        Kind::OutOfBounds,
        "tile[i + 1u]",
    );
    let body = "var p = array<f32, 4>(1.0, 2.0, 3.0, 4.0);\nx[i] = p[i % 5u];";
    first(&out(body), Kind::OutOfBounds, "p[i % 5u]");
    let body = "let v = vec3<f32>(1.0);\nx[i] = v[i % 4u];";
    first(&out(body), Kind::OutOfBounds, "v[i % 4u]");
    first(
        &out("x[i32(i) - 1] = 1.0;"),
        Kind::OutOfBounds,
        "i32(i) - 1",
    );
    assert!(out("x[i32(i) - 1] = 1.0;")[0].message.contains("index -1"));
    nothing(&out(
        "let y = x[min(i + 1u, 63u)];\nif y > 2.0 { tile[i] = y; }",
    ));
    nothing(&out("if i + 1u < arrayLength(&x) { tile[i] = x[i + 1u]; }"));
    let more = "@group(0) @binding(1) var t: texture_storage_2d<r32float, write>;";
    let texture = Input::Texture {
        size: [8, 8, 1],
        layers: 1,
        levels: 1,
        texels: Vec::new(),
    };
    let body = "textureStore(t, vec2(i % 9u, i / 8u), vec4(x[i]));";
    let beyond = found(&shader(more, body), &[ones(), texture], 1);
    assert!(
        beyond.iter().any(|f| f.kind == Kind::OutOfBounds),
        "{beyond:?}"
    );
}

#[test]
fn whoever_misses_a_barrier_is_named() {
    let missed = |body: &str| found(&shader(TILE, &format!("{body}\nx[i] = 1.0;")), &[ones()], 1);
    let body = "if i >= 60u { return; }\nworkgroupBarrier();";
    let early = missed(body);
    first(&early, Kind::NonUniform, "workgroupBarrier();");
    assert!(early[0].message.contains("60 of the 64") && early[0].message.contains("(60, 0, 0)"));
    let body = "for (var k = 0u; k < 1u + i / 32u; k++) {\nworkgroupBarrier();\n}";
    first(&missed(body), Kind::NonUniform, "workgroupBarrier();");
    let body = "if i < 32u {\nworkgroupBarrier();\n} else {\nstorageBarrier();\n}";
    first(&missed(body), Kind::NonUniform, "Barrier();");
    let more = "enable subgroups;";
    let body = "if i % 2u == 0u {\nx[i] = subgroupAdd(x[i]);\n}";
    let source = format!("{more}\n{}", shader("", body));
    first(
        &found(&source, &[ones()], 1),
        Kind::NonUniform,
        "subgroupAdd",
    );
    // The same for all of a subgroup, though not for all subgroups.
    let body = "if i < 0u * 64u {\nx[i] = subgroupAdd(x[i]);\n}\nx[i] = subgroupMax(x[i]);";
    nothing(&found(
        &format!("{more}\n{}", shader("", body)),
        &[ones()],
        1,
    ));
    nothing(&missed(
        "for (var k = 0u; k < 3u; k++) {\nworkgroupBarrier();\n}",
    ));
}

#[test]
fn memory_that_nobody_wrote_is_found_where_it_matters() {
    let read = |body: &str| found_uncleared(&shader(TILE, body), &[ones()]);
    let half = "if i < 32u { tile[i] = 1.0; }\nworkgroupBarrier();\n";
    let used = read(&format!("{half}x[i] = tile[i];"));
    first(&used, Kind::Uninitialized, "x[i] = tile[i];");
    // Reading is no harm while nothing hangs on it.
    nothing(&read(&format!(
        "{half}let y = tile[i];\nx[i] = select(2.0, y, i < 32u);"
    )));
    let decides = read(&format!("{half}if tile[i] > 0.5 {{ x[i] = 2.0; }}"));
    first(&decides, Kind::Uninitialized, "if tile[i] > 0.5");
    // Through other variables, and an index.
    let body = "var p = array<f32, 2>(tile[i], 1.0);\nlet q = p[0] * 0.0;\nx[i] = q;";
    first(&read(body), Kind::Uninitialized, "tile[i]");
    first(
        &read("x[u32(tile[i])] = 1.0;"),
        Kind::Uninitialized,
        "tile[i]",
    );
    // WGSL clears it.
    nothing(&found(&shader(TILE, "x[i] = tile[i];"), &[ones()], 1));
    let more = "@group(0) @binding(1) var<storage, read_write> y: array<f32>;";
    let unwritten = [ones(), Input::unwritten(256)];
    let storage = found(&shader(more, "x[i] = y[i];"), &unwritten, 1);
    first(&storage, Kind::Uninitialized, "x[i] = y[i];");
    nothing(&found(&shader(more, "y[i] = x[i];"), &unwritten, 1));
}

#[test]
fn numbers_that_are_none_are_found_where_they_are_born() {
    let born = |body: &str, x: f32| found(&shader("", body), &[floats(&[x; 64])], 1);
    first(
        &born("let y = exp(x[i]);\nx[i] = y;", 100.0),
        Kind::NotFinite,
        "exp(x[i])",
    );
    first(
        &born("x[i] = 1.0 / x[i];", 0.0),
        Kind::NotFinite,
        "1.0 / x[i]",
    );
    first(
        &born("x[i] = sqrt(x[i]);", -1.0),
        Kind::NotFinite,
        "sqrt(x[i])",
    );
    first(
        &born("if log(x[i]) < 3.0 { x[i] = 1.0; }", -1.0),
        Kind::NotFinite,
        "log(x[i])",
    );
    // One that is chosen away, and one that was there before.
    nothing(&born("x[i] = select(1.0 / x[i], 0.0, x[i] == 0.0);", 0.0));
    nothing(&born("x[i] = 2.0 * x[i];", f32::INFINITY));
    nothing(&born("x[i] = bitcast<f32>(0x7f800000u + 0u * i);", 1.0));
}

#[test]
fn what_hangs_on_luck_is_found() {
    let more = "@group(0) @binding(1) var<storage, read_write> count: array<atomic<u32>>;";
    let inputs = [ones(), words(&[0])];
    let order = "x[atomicAdd(&count[0], 1u)] = f32(i);";
    let in_order = found(&shader(more, order), &inputs, 1);
    first(&in_order, Kind::ScheduleDependent, "x[atomicAdd");
    nothing(&found(
        &shader(more, "_ = x[i];\natomicAdd(&count[0], i);"),
        &inputs,
        1,
    ));
    let source = "enable subgroups;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32, @builtin(subgroup_size) size: u32) {
    x[i] = f32(size);
}";
    let sized = found(source, &[ones()], 1);
    first(&sized, Kind::SubgroupSizeDependent, "x[i] = f32(size);");
    let sum = source
        .replace("f32(size)", "subgroupAdd(0.1 * f32(i))")
        .replace("64)", "4)");
    nothing(&found(&sum, &[floats(&[0.0; 4])], 1));
}

#[test]
fn what_does_not_end_is_given_up() {
    let endless = found(&shader("", "while x[i] > 0.5 {\n}"), &[ones()], 1);
    assert!(
        endless.iter().any(|f| f.kind == Kind::Endless),
        "{endless:?}"
    );
    // The second workgroup waits for the first: in reverse it would do so forever.
    let more = "@group(0) @binding(1) var<storage, read_write> flag: array<atomic<u32>>;";
    let waits = "if group.x == 1u {
    while atomicLoad(&flag[0]) == 0u {}
}
x[id.x] = 2.0;
if i == 0u { atomicStore(&flag[0], 1u); }";
    let inputs = [floats(&[1.0; 128]), words(&[0])];
    let options = Options {
        most_steps: 20_000_000,
        ..Options::default()
    };
    nothing(&run(&shader(more, waits), &inputs, 2, &options).findings);
}

#[test]
fn idioms_that_are_right_are_left_alone() {
    let right = |more: &str, body: &str| nothing(&found_uncleared(&shader(more, body), &[ones()]));
    right(
        TILE,
        "tile[i] = x[i];
workgroupBarrier();
for (var half = 32u; half > 0u; half /= 2u) {
    if i < half { tile[i] += tile[i + half]; }
    workgroupBarrier();
}
if i == 0u { x[0] = tile[0]; }",
    );
    right(
        "var<workgroup> a: array<f32, 64>; var<workgroup> b: array<f32, 64>;",
        "a[i] = x[i];
workgroupBarrier();
for (var k = 1u; k < 64u; k *= 4u) {
    b[i] = a[i] + select(0.0, a[max(i, k) - k], i >= k);
    workgroupBarrier();
    a[i] = b[i] + select(0.0, b[max(i, 2u * k) - 2u * k], i >= 2u * k);
    workgroupBarrier();
}
x[i] = a[i];",
    );
    right(
        "var<workgroup> bins: array<atomic<u32>, 8>; var<workgroup> most: u32;",
        "if i < 8u { atomicStore(&bins[i], 0u); }
workgroupBarrier();
atomicAdd(&bins[u32(x[i]) % 8u], 1u);
workgroupBarrier();
if i == 0u { most = atomicLoad(&bins[1]); }
let m = workgroupUniformLoad(&most);
x[i] = f32(m);",
    );
    // Two workgroups, each with its part.
    let parts = shader(
        TILE,
        "tile[i] = x[id.x];\nworkgroupBarrier();\nx[id.x] = tile[63u - i];",
    );
    nothing(&found(&parts, &[floats(&[1.0; 128])], 2));
}

#[test]
fn bad_input_is_refused_with_a_reason() {
    let refused = |source: &str, entry: Option<&str>, expected: &str| {
        let error = Program::new(source, entry, &[]).map(drop).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused("fn", None, "expected identifier");
    refused("fn f() {}", None, "there is no compute shader");
    let two = "@compute @workgroup_size(1) fn a() {} @compute @workgroup_size(1) fn b() {}";
    refused(two, None, "one of which must be named: a, b");
    refused(two, Some("c"), "no compute shader 'c', there are a, b");
    let fragment = "@fragment fn f() {}";
    refused(fragment, None, "there is no compute shader");
    let wide = "@group(0) @binding(0) var<storage, read_write> x: array<f64>;
@compute @workgroup_size(1) fn main() { x[0] = x[1]; }";
    refused(wide, None, "does not support numbers of 64 bits");
    let program = Program::new(&shader("", "x[i] = 1.0;"), None, &[]).expect("it is valid");
    let run = |inputs: &[Input], groups: [u32; 3]| {
        let report = program.run(inputs, groups, &Options::default());
        report.map(drop).map_err(|e| e.to_string())
    };
    let none = run(&[], [1; 3]).unwrap_err();
    assert!(
        none.contains("1 bindings want an input each, 0 were given"),
        "{none}"
    );
    let sampler = run(&[Input::Sampler], [1; 3]).unwrap_err();
    assert!(sampler.contains("'x' is a ReadWrite"), "{sampler}");
    let many = run(&[ones()], [65_535, 65_535, 1]).unwrap_err();
    assert!(many.contains("more than the sanitizer runs"), "{many}");
    assert_eq!(run(&[Input::buffer(Vec::new())], [0, 1, 1]), Ok(()));
    let no_order = Options {
        orders: Vec::new(),
        ..Options::default()
    };
    let none = program.run(&[ones()], [1; 3], &no_order);
    let none = none.map(drop).unwrap_err().to_string();
    assert!(none.contains("nothing would be run"), "{none}");
}

#[test]
fn waiting_for_each_other_is_no_end() {
    // Each workgroup waits for the one before it: they go on in whatever order they are begun.
    let more = "@group(0) @binding(1) var<storage, read_write> done: array<atomic<u32>>;";
    let chain = "if i == 0u && group.x > 0u {
    while atomicLoad(&done[group.x - 1u]) == 0u {}
}
workgroupBarrier();
x[id.x] = 1.0;
if i == 0u { atomicStore(&done[group.x], 1u); }";
    let inputs = [floats(&[0.0; 64 * 9]), words(&[0; 9])];
    nothing(&run(&shader(more, chain), &inputs, 9, &Options::default()).findings);
}

#[test]
fn what_nobody_gave_is_drawn() {
    let source = "enable f16, subgroups;
struct S { n: u32, v: vec3<f32>, halves: array<f16> }
@group(0) @binding(0) var<storage, read> s: S;
@group(0) @binding(1) var<storage, read_write> y: array<f16>;
@group(0) @binding(2) var t: texture_2d<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) {
    y[i] = s.halves[i] + f16(s.v.x) + f16(min(s.n, 15u) - s.n) + f16(textureLoad(t, vec2(0, 0), 0).x);
}";
    let program = Program::new(source, None, &[]).unwrap_or_else(|e| panic!("{e}"));
    let inputs: Vec<Input> = program.resources().iter().map(|r| r.drawn(None)).collect();
    let again: Vec<Input> = program.resources().iter().map(|r| r.drawn(None)).collect();
    let Input::Buffer { written, .. } = &inputs[0] else {
        panic!("a buffer")
    };
    // The number and the vector with their padding, and 1,024 halves.
    assert_eq!(written.len(), 28 + 2 * 1024);
    assert_eq!(
        format!("{inputs:?}"),
        format!("{again:?}"),
        "the same every time"
    );
    let report = program.run(&inputs, [1, 1, 1], &Options::default());
    nothing(&report.unwrap_or_else(|e| panic!("{e}")).findings);
}

#[test]
fn what_no_device_has_room_for_is_refused() {
    let refused = |source: &str, expected: &str| {
        let error = Program::new(source, None, &[]).map(drop).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let tile = "var<workgroup> tile: array<f32, 9999999>;";
    refused(
        &shader(tile, "tile[i] = x[i];"),
        "workgroup memory of 39999996 bytes",
    );
    let body = "var p: array<f32, 999999>;\nx[i] = p[i];";
    refused(&shader("", body), "a value of 999999 words");
    // Calls of calls: two to the thirtieth.
    let mut more = "fn f0(y: f32) -> f32 { return y + 1.0; }\n".to_owned();
    for n in 1..31 {
        more += &format!(
            "fn f{n}(y: f32) -> f32 {{ return f{m}(y) + f{m}(y); }}\n",
            m = n - 1
        );
    }
    refused(&shader(&more, "x[i] = f30(x[i]);"), "instructions");
    let program = Program::new(&shader("", "x[i] = 1.0;"), None, &[]).expect("it is valid");
    let large = program.run(&[Input::unwritten(1 << 30)], [1; 3], &Options::default());
    let error = large.map(drop).unwrap_err().to_string();
    assert!(error.contains("'x' has 1073741824 bytes"), "{error}");
}
