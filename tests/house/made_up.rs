//! The checker on made-up sources: it finds what it should, and nothing else.

use super::{Exception, House};

/// What is found in these files, each a name under src/ and its text.
fn found(files: &[(&str, &str)], exceptions: &[Exception]) -> Vec<String> {
    let files: Vec<(String, String)> = files
        .iter()
        .map(|(name, text)| (format!("src/{name}"), (*text).to_owned()))
        .collect();
    House::new(&files).faults(exceptions)
}

/// The faults are exactly these: each begins with the one and contains the other.
#[track_caller]
fn expect(files: &[(&str, &str)], faults: &[(&str, &str)]) {
    let found = found(files, &[]);
    let all = found.len() == faults.len()
        && found
            .iter()
            .zip(faults)
            .all(|(f, (at, text))| f.starts_with(&format!("src/{at}: ")) && f.contains(text));
    assert!(all, "{found:#?}");
}

const TENSOR: (&str, &str) = ("tensor.rs", "pub struct Data;");
const GPU: (&str, &str) = ("gpu/mod.rs", "pub struct Gpu;");
const TRAIN: (&str, &str) = ("train/mod.rs", "pub fn run() {}");

#[test]
fn arrows_down_the_list_are_fine() {
    expect(
        &[
            TENSOR,
            GPU,
            (
                "train/mod.rs",
                "use crate::{gpu::Gpu, tensor::{self, Data}}; fn f(_: tensor::Data) {}",
            ),
            ("bench/mod.rs", "use crate::verify::all;"),
            ("verify/mod.rs", "pub fn all() {}"),
        ],
        &[],
    );
}

#[test]
fn an_arrow_up_the_list_is_found() {
    let in_use = ("nn/mod.rs", "use std::fmt;\nuse crate::train::run;");
    expect(
        &[TRAIN, in_use],
        &[("nn/mod.rs:2", "nn stands above train")],
    );
    let in_a_tree = ("nn/mod.rs", "use crate::{\n  tensor::Data,\n  train,\n};");
    expect(
        &[TENSOR, TRAIN, in_a_tree],
        &[("nn/mod.rs:3", "crate::train")],
    );
    let in_code = ("nn/a.rs", "fn f() {\n  if true { crate::train::run() }\n}");
    expect(&[TRAIN, in_code], &[("nn/a.rs:2", "crate::train::run")]);
    let by_super = (
        "nn/a/b.rs",
        "fn f() -> Vec<super::super::super::train::X> {}",
    );
    expect(
        &[TRAIN, by_super],
        &[("nn/a/b.rs:1", "nn stands above train")],
    );
    let in_verify = ("verify/mod.rs", "use crate::bench::B;");
    expect(
        &[("bench/mod.rs", "pub struct B;"), in_verify],
        &[("verify/mod.rs:1", "verify stands above bench")],
    );
    let renamed = (
        "nn/mod.rs",
        "use crate::tensor as t;\nuse crate::train as u;\nfn f() { u::run(); t::g() }",
    );
    expect(
        &[TENSOR, TRAIN, renamed],
        &[("nn/mod.rs:2", "crate::train"), ("nn/mod.rs:3", "u::run")],
    );
    let unknown = ("attic/mod.rs", "use crate::tensor::Data;");
    expect(
        &[TENSOR, unknown],
        &[("attic/mod.rs:1", "no room of the house")],
    );
}

#[test]
fn an_arrow_through_a_re_export_is_found() {
    let files = [
        (
            "lib.rs",
            "pub mod train;\npub use train::run;\npub use wgpu;",
        ),
        TRAIN,
        ("nn/mod.rs", "fn f() { crate::run() }"),
        ("data/mod.rs", "use crate::wgpu::Buffer;"),
    ];
    expect(
        &files,
        &[
            ("data/mod.rs:1", "wgpu's names"),
            ("nn/mod.rs:1", "nn stands above train"),
        ],
    );
}

#[test]
fn paths_in_macros_are_found() {
    let defined = (
        "nn/mod.rs",
        "macro_rules! m {\n  ($x:expr) => {\n    $crate::train::run($x)\n  };\n}",
    );
    expect(&[TRAIN, defined], &[("nn/mod.rs:3", "crate::train::run")]);
    let called = (
        "nn/mod.rs",
        "fn f() {\n  println!(\"{}\", crate::train::run());\n}",
    );
    expect(&[TRAIN, called], &[("nn/mod.rs:2", "crate::train::run")]);
    let in_wgpu = (
        "data/mod.rs",
        "fn f() { assert!(matches!(x, wgpu::Limits { .. })) }",
    );
    expect(&[in_wgpu], &[("data/mod.rs:1", "wgpu::Limits")]);
}

#[test]
fn comments_strings_and_fields_are_no_paths() {
    let text = r##"
        //! As crate::train::run does with wgpu::Buffer.
        /// [`crate::train::run`]
        /* use wgpu::Buffer; */
        pub struct Versions { pub wgpu: String }
        fn f(v: Versions) -> String { format!("wgpu::Buffer crate::train::run {}", v.wgpu) }
        const S: &str = r#"use crate::train::run; wgpu::Buffer"#;
    "##;
    expect(&[TRAIN, ("nn/mod.rs", text)], &[]);
}

#[test]
fn wgpu_stays_in_its_rooms() {
    let text = "use wgpu::{Buffer, Queue};\nfn f() -> ::wgpu::Limits { wgpu::Limits::default() }";
    expect(&[("gpu/mod.rs", text), ("plan/a.rs", text)], &[]);
    let at = [
        ("session/mod.rs:1", "wgpu::Buffer: wgpu's names"),
        ("session/mod.rs:1", "wgpu::Queue"),
        ("session/mod.rs:2", "wgpu::Limits"),
        ("session/mod.rs:2", "wgpu::Limits::default"),
    ];
    expect(&[("session/mod.rs", text)], &at);
    expect(&[("lib.rs", "pub use wgpu;")], &[]);
    expect(&[("lib.rs", "use wgpu;")], &[("lib.rs:1", "wgpu's names")]);
    // Under cfg(test) too.
    let tests = "#[cfg(test)]\nmod tests {\n  use wgpu::Buffer;\n}";
    expect(
        &[("data/mod.rs", tests)],
        &[("data/mod.rs:3", "wgpu's names")],
    );
}

#[test]
fn rooms_without_a_device_see_none() {
    // gpu stands above models in the order, and yet.
    let model = ("models/vae.rs", "use crate::gpu::Gpu;\nfn f(_: &Gpu) {}");
    expect(
        &[GPU, model],
        &[("models/vae.rs:1", "models sees no device")],
    );
    let kernel = ("kernels/mod.rs", "fn f() -> wgpu::Limits {}");
    let faults = [
        ("kernels/mod.rs:1", "kernels sees no device"),
        ("kernels/mod.rs:1", "wgpu's names"),
    ];
    expect(&[kernel], &faults);
}

#[test]
fn circles_of_rooms_are_found() {
    let nn = ("nn/mod.rs", "use crate::data::D;\npub struct N;");
    let data = ("data/mod.rs", "use crate::nn::N;\npub struct D;");
    let faults = [
        ("data/mod.rs:1", "a circle of rooms: data -> nn -> data"),
        ("nn/mod.rs:1", "nn stands above data"),
    ];
    expect(&[nn, data], &faults);
}

#[test]
fn circles_of_files_are_found() {
    let a = ("nn/a.rs", "use super::b::B;\npub struct A;");
    let b = ("nn/b.rs", "pub struct B;\nfn f() { crate::nn::a::A; }");
    let circle = [(
        "nn/a.rs:1",
        "a circle of files: src/nn/a.rs -> src/nn/b.rs -> src/nn/a.rs",
    )];
    expect(&[("nn/mod.rs", "mod a;\nmod b;"), a, b], &circle);
    // Through what a mod.rs hands on.
    let by_name = ("nn/b.rs", "pub struct B;\nuse super::A;");
    expect(
        &[("nn/mod.rs", "mod a;\nmod b;\npub use a::A;"), a, by_name],
        &circle,
    );
    // Of three.
    let c = ("nn/c.rs", "use super::a::A;\npub struct C;");
    let to_c = ("nn/b.rs", "use super::c::C;\npub struct B;");
    let three = [(
        "nn/a.rs:1",
        "src/nn/a.rs -> src/nn/b.rs -> src/nn/c.rs -> src/nn/a.rs",
    )];
    expect(&[("nn/mod.rs", ""), a, to_c, c], &three);
}

#[test]
fn a_module_and_its_parts_are_one_thing_and_neighbours_are_not() {
    let child = ("nn/a.rs", "use super::N;\npub struct A;");
    let hands_on = ("nn/mod.rs", "mod a;\npub use a::A;\npub struct N;");
    expect(&[hands_on, child], &[]);
    let uses = ("nn/mod.rs", "mod a;\npub use a::A;\npub struct N(A);");
    expect(&[uses, child], &[]);
    let calls = ("nn/mod.rs", "mod a;\npub struct N;\nfn f() { a::g() }");
    expect(&[calls, child], &[]);
    // A circle through the module is not hidden by it.
    let a = ("nn/a.rs", "use super::b::B;\npub struct A;");
    let b = ("nn/b.rs", "use super::{A, N};\npub struct B;");
    let circle = "src/nn/a.rs -> src/nn/b.rs -> src/nn/a.rs";
    expect(&[hands_on, a, b], &[("nn/a.rs:1", circle)]);
    // Modules within a file are one file, and a method's name is no use of what is called the same.
    let inner = (
        "nn/mod.rs",
        "mod a;\npub use a::f;\npub struct N;\nmod i { use super::N; }\nfn g() { x.f() }",
    );
    expect(&[inner, child], &[]);
}

#[test]
fn exceptions_are_named_and_needed() {
    let files = [
        ("nn/b.rs", "use super::a::A;\npub struct N(A);"),
        ("nn/a.rs", "use super::b::N;\npub struct A;"),
    ];
    assert_eq!(
        found(&files, &[("nn/b.rs", "nn/a.rs", "one thing")]).len(),
        0
    );
    let unused = found(&files[..1], &[("nn/a.rs", "nn/b.rs", "one thing")]);
    assert!(
        unused.len() == 1 && unused[0].contains("the exception can go"),
        "{unused:?}"
    );
    let rooms = [("real.rs", "use crate::tensor::Data;"), TENSOR];
    assert_eq!(found(&rooms, &[]).len(), 1);
    assert_eq!(found(&rooms, &[("real", "tensor", "one thing")]).len(), 0);
}

#[test]
fn tests_may_use_what_is_below_but_their_lines_count() {
    let tests = "#[cfg(test)]\nmod tests {\n  use super::*;\n  use crate::train::run;\n}\n#[cfg(test)]\nuse crate::train::run;\nfn f() {}";
    expect(&[TRAIN, ("nn/mod.rs", tests)], &[]);
    // What follows is no test.
    let after = "#[cfg(test)]\nmod tests {}\nuse crate::train::run;";
    expect(
        &[TRAIN, ("nn/mod.rs", after)],
        &[("nn/mod.rs:3", "nn stands above train")],
    );
    let long = format!("#[cfg(test)]\nmod tests {{{}}}", "\n".repeat(500));
    expect(
        &[("nn/mod.rs", &long)],
        &[("nn/mod.rs:502", "502 lines; a file")],
    );
}

#[test]
fn long_functions_files_and_folders_are_found() {
    let of = |lines: usize| format!("fn f() {{{}}}\nfn short() {{}}", "\n".repeat(lines - 1));
    expect(&[("nn/mod.rs", &of(100))], &[]);
    expect(
        &[("nn/mod.rs", &of(101))],
        &[("nn/mod.rs:1", "f has 101 lines")],
    );
    expect(
        &[
            ("verify/cases/a.rs", &of(101)),
            ("bench/cases.rs", &of(101)),
        ],
        &[],
    );
    let method = format!("impl A {{\n  fn f(\n) {{{}}}\n}}", "\n".repeat(100));
    expect(
        &[("nn/mod.rs", &method)],
        &[("nn/mod.rs:2", "f has 102 lines")],
    );
    let text = "\n".repeat(500);
    expect(&[("nn/a.rs", &text)], &[]);
    let files: Vec<String> = (0..4).map(|i| format!("train/{i}.rs")).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|f| (f.as_str(), text.as_str())).collect();
    expect(&files[..3], &[]);
    expect(&files, &[("train/:0", "2000 lines in all")]);
}
