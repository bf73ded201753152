//! Kernels that people bring: `verify::against` finds each fault planted in a softmax, passes what only rounds otherwise, and says
//! where and by how much; what does not fit is an error.

mod common;

use std::fmt::Write as _;

use common::gpu;
use wgen::Gpu;
use wgen::kernels::wgsl::Wgsl;
use wgen::kernels::{Binding, Grid};
use wgen::tensor::{DType, Data};
use wgen::verify::cases::{Values, numbers};
use wgen::verify::{Comparison, Inputs, Tolerance, against};

const ROWS: usize = 9;
const COLUMNS: usize = 203;

/// Rows of a matrix, one a workgroup of 64: the largest, then the sum of exponentials, each by a tree, then the quotients.
const SOFTMAX: &str = "
    const N: u32 = 203u;
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    var<workgroup> part: array<f32, 64>;

    @compute @workgroup_size(64)
    fn softmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
        let begin = group.x * N;
        var largest = -3.0e38;
        for (var i = lane; i < N; i += 64u) { largest = max(largest, x[begin + i]); }
        part[lane] = largest;
        workgroupBarrier();
        for (var half = 32u; half > 0u; half /= 2u) {
            if lane < half { part[lane] = max(part[lane], part[lane + half]); }
            workgroupBarrier();
        }
        largest = part[0];
        workgroupBarrier();
        var sum = 0.0;
        for (var i = lane; i < N; i += 64u) { sum += exp(x[begin + i] - largest); }
        part[lane] = sum;
        workgroupBarrier();
        for (var half = 32u; half > 0u; half /= 2u) {
            if lane < half { part[lane] += part[lane + half]; }
            workgroupBarrier();
        }
        sum = part[0];
        for (var i = lane; i < N; i += 64u) { y[begin + i] = exp(x[begin + i] - largest) / sum; }
    }";

fn kernel(source: &str) -> Wgsl {
    Wgsl::new("softmax", source)
        .read("x", [ROWS, COLUMNS])
        .write("y", [ROWS, COLUMNS])
        .workgroups([ROWS as u32, 1, 1])
}

/// What the formula says, with no thought of the kernel.
fn softmax(x: &[&[f64]]) -> Vec<Vec<f64>> {
    let row = |row: &[f64]| {
        let largest = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|v| (v - largest).exp()).sum();
        let share = |v: &f64| (v - largest).exp() / sum;
        row.iter().map(share).collect::<Vec<_>>()
    };
    vec![x[0].chunks(COLUMNS).flat_map(row).collect()]
}

/// x - largest is rounded: up to 8 ULP of the exponential where it is up to 128. WGSL grants exp 3 + 2 |x| ULP, twice, the division
/// 2.5, and the sum's roundings are a few. Below 2^-100 or so the exponential is flushed or granted as much as it is worth.
fn tolerance(reach: f64) -> Tolerance {
    Tolerance::ulps(2.0 * (3.0 + 2.0 * reach) + reach + 2.5 + 8.0) + Tolerance::absolute(1e-30)
}

fn compared(gpu: &Gpu, source: &str, values: Values) -> Comparison {
    let kernel = kernel(source);
    let inputs = Inputs::drawn(&kernel, values, 7);
    let reach = if values == Values::Large { 70.0 } else { 8.0 };
    against(gpu, &kernel, inputs, softmax, tolerance(reach)).unwrap()
}

/// The source with `from` replaced by `to`, which must change it.
fn planted(from: &str, to: &str) -> String {
    let source = SOFTMAX.replace(from, to);
    assert_ne!(source, SOFTMAX, "{from} is not in it");
    source
}

#[test]
fn the_softmax_itself_passes() {
    let gpu = gpu();
    for values in [
        Values::Normal,
        Values::Large,
        Values::Small,
        Values::Positive,
    ] {
        let comparison = compared(&gpu, SOFTMAX, values);
        comparison.expect();
        assert_eq!(comparison.elements, 2 * ROWS * COLUMNS);
        println!("{values:?}: {comparison}");
    }
}

#[test]
fn ten_planted_bugs_are_found() {
    let gpu = gpu();
    let bugs = [
        (
            "a wrong sign",
            planted("/ sum; }", "/ -sum; }"),
            Values::Normal,
        ),
        (
            "no maximum taken off",
            planted("- largest)", ")"),
            Values::Large,
        ),
        (
            "a bound of the loop off by one",
            planted("i < N; i += 64u) { sum", "i < N - 1u; i += 64u) { sum"),
            Values::Normal,
        ),
        (
            "a barrier missing before the tree",
            planted(
                "part[lane] = sum;\n        workgroupBarrier();",
                "part[lane] = sum;",
            ),
            Values::Normal,
        ),
        (
            "a step of the reduction left out",
            planted(
                "half = 32u; half > 0u; half /= 2u) {\n            if lane < half { part[lane] +=",
                "half = 16u; half > 0u; half /= 2u) {\n            if lane < half { part[lane] +=",
            ),
            Values::Normal,
        ),
        (
            "writes beyond the last row's end",
            planted(
                "i < N; i += 64u) { y[begin",
                "i < N + 1u; i += 64u) { y[begin",
            ),
            Values::Normal,
        ),
        (
            "what was never written is read",
            planted("y[begin + i] = exp(", "y[begin + i] += exp("),
            Values::Normal,
        ),
        (
            "a wrong stride of rows",
            planted("group.x * N;", "group.x * (N - 1u);"),
            Values::Normal,
        ),
        (
            "the tail is dropped",
            planted(
                "i < N; i += 64u) { y[begin",
                "i < N / 64u * 64u; i += 64u) { y[begin",
            ),
            Values::Normal,
        ),
        (
            "exp2 for exp",
            planted(
                "exp(x[begin + i] - largest) / sum",
                "exp2(x[begin + i] - largest) / sum",
            ),
            Values::Normal,
        ),
        (
            "divided by the row's length",
            planted("/ sum; }", "/ f32(N); }"),
            Values::Normal,
        ),
    ];
    let mut text = String::new();
    for (what, source, values) in &bugs {
        let comparison = compared(&gpu, source, *values);
        assert!(!comparison.passed(), "{what} was not found");
        let said = comparison.to_string();
        let _ = writeln!(text, "{what}:\n{said}");
        assert!(said.contains("'y'"), "{what}: {said}");
        assert_eq!(said.matches("of seed 7").count(), 1, "{what}: {said}");
    }
    println!("{text}");
    assert!(text.contains("203 of 1827 differ") || text.contains("1827 of 1827 differ"));
    // What is behind the last row's end is a word of the guard; behind any other lies the next row.
    let outside = compared(&gpu, &bugs[5].1, Values::Normal).to_string();
    assert!(outside.contains("wrote outside of 'y': "), "{outside}");
    // 203 columns, 64 lanes: 11 of a row are the tail.
    let tail = compared(&gpu, &bugs[8].1, Values::Normal).to_string();
    assert!(tail.contains("99 of 1827 differ"), "{tail}");
    assert!(
        tail.contains("99 of them what unwritten memory held"),
        "{tail}"
    );
    assert!(
        tail.starts_with("'y' at row 0, column 192 is NaN"),
        "{tail}"
    );
}

#[test]
fn a_read_that_hides_a_nan_is_found() {
    let gpu = gpu();
    // max(NaN, x) is x.
    let source = planted(
        "y[begin + i] = exp(",
        "y[begin + i] = max(y[begin + i], 0.0) + exp(",
    );
    let text = compared(&gpu, &source, Values::Normal).to_string();
    println!("{text}");
    assert!(text.contains("'y' at row "), "{text}");
}

#[test]
fn other_roundings_pass() {
    let gpu = gpu();
    let same = [
        (
            "from the end",
            planted(
                "for (var i = lane; i < N; i += 64u) { sum += exp(x[begin + i] - largest); }",
                "for (var i = lane; i < N; i += 64u) { sum += exp(x[begin + N - 1u - i] - largest); }",
            ),
        ),
        (
            "neighbours",
            planted(
                "for (var half = 32u; half > 0u; half /= 2u) {\n            if lane < half { part[lane] += part[lane + half]; }",
                "for (var half = 1u; half < 64u; half *= 2u) {\n            if lane % (2u * half) == 0u { part[lane] += part[lane + half]; }",
            ),
        ),
        (
            "exp2 of x log2(e)",
            planted(
                "exp(x[begin + i] - largest) / sum",
                "exp2((x[begin + i] - largest) * 1.442695) / sum",
            ),
        ),
        (
            "times the reciprocal",
            planted(") / sum; }", ") * (1.0 / sum); }"),
        ),
    ];
    for (what, source) in &same {
        for values in [Values::Normal, Values::Small] {
            let comparison = compared(&gpu, source, values);
            assert!(comparison.passed(), "{what}: {comparison}");
        }
    }
}

/// Doubles, one element an invocation; the first workgroup's number is word 1 of the parameters.
const DOUBLES: &str = "
    struct Params { count: u32, first: u32 }
    @group(0) @binding(0) var<storage, read> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<uniform> params: Params;
    @compute @workgroup_size(32)
    fn doubles(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(num_workgroups) groups: vec3<u32>) {
        let i = (params.first + id.y * groups.x + id.x) * 32u + lane;
        if i < params.count { y[i] = 2.0 * x[i]; }
    }";

fn doubles(source: &str, grid: Grid) -> Wgsl {
    Wgsl::new("doubles", source)
        .read("x", 1000)
        .write("y", 1000)
        .params(&[1000, 0])
        .workgroups([32, 1, 1])
        .grid(grid)
}

fn doubled(x: &[&[f64]]) -> Vec<Vec<f64>> {
    vec![x[0].iter().map(|v| 2.0 * v).collect()]
}

#[test]
fn cut_and_folded_grids_run_where_a_kernel_has_them() {
    let gpu = gpu();
    let line = Grid::Line { first: 1 };
    let compared = |source: &str, grid: Grid| {
        let kernel = doubles(source, grid);
        let inputs = Inputs::drawn(&kernel, Values::Normal, 1);
        against(&gpu, &kernel, inputs, doubled, Tolerance::EXACT).unwrap()
    };
    let right = compared(DOUBLES, line);
    right.expect();
    // As it is, over other memory, in three parts, folded.
    assert_eq!(right.elements, 4 * 1000);
    assert_eq!(compared(DOUBLES, Grid::Whole).elements, 2 * 1000);
    for (from, to, prefix) in [
        ("params.first + ", "", "grid cut in three: 'y'["),
        ("id.y * groups.x + ", "", "grid folded: 'y'["),
    ] {
        let source = DOUBLES.replace(from, to);
        let wrong = compared(&source, line);
        assert!(wrong.to_string().starts_with(prefix), "{wrong}");
        // As it is, the kernel is right.
        compared(&source, Grid::Whole).expect();
    }
}

#[test]
fn a_kernel_may_ask_for_the_length_of_an_array() {
    let gpu = gpu();
    let source = DOUBLES.replace("params.count", "arrayLength(&y)");
    let kernel = doubles(&source, Grid::Whole);
    let inputs = Inputs::drawn(&kernel, Values::Normal, 1);
    against(&gpu, &kernel, &inputs, doubled, Tolerance::EXACT)
        .unwrap()
        .expect();
    // Handed over as a pointer.
    let source = "
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        fn within(a: ptr<storage, array<f32>, read>, i: u32) -> bool { return i < arrayLength(a); }
        @compute @workgroup_size(64)
        fn doubles(@builtin(global_invocation_id) id: vec3<u32>) {
            if within(&x, id.x) { y[id.x] = 2.0 * x[id.x]; }
        }";
    let kernel = Wgsl::new("doubles", source)
        .read("x", 1000)
        .write("y", 1000)
        .workgroups([16, 1, 1]);
    match against(&gpu, &kernel, &inputs, doubled, Tolerance::EXACT) {
        Ok(comparison) => comparison.expect(),
        // Such pointers are an extension of the language that a compiler may not know.
        Err(error) => assert!(error.to_string().contains("pointer"), "{error}"),
    }
}

#[test]
fn integers_are_exact_and_places_have_the_shape_that_was_given() {
    let gpu = gpu();
    let source = "
        @group(0) @binding(0) var<storage, read> x: array<u32>;
        @group(0) @binding(1) var<storage, read_write> counts: array<u32>;
        @group(0) @binding(2) var<storage, read_write> sums: array<f32>;
        @compute @workgroup_size(1)
        fn count(@builtin(global_invocation_id) id: vec3<u32>) {
            counts[id.x] = x[id.x] / 7u;
            sums[id.x] += f32(x[id.x]);
        }";
    let kernel = |source: &str| {
        Wgsl::new("count", source)
            .binding(Binding::read("x", DType::U32, 12))
            .binding(Binding::write("counts", DType::U32, 12))
            .shaped([3, 4])
            .read_write("sums", [2, 3, 2])
            .workgroups([12, 1, 1])
    };
    let expected = |b: &[&[f64]]| {
        let counts = b[0].iter().map(|x| (x / 7.0).floor()).collect();
        let sums = b[0].iter().zip(b[1]).map(|(x, y)| x + y).collect();
        vec![counts, sums]
    };
    let run = |source: &str| {
        let kernel = kernel(source);
        let inputs = Inputs::drawn(&kernel, Values::Small, 3);
        against(&gpu, &kernel, &inputs, expected, Tolerance::ulps(1.0)).unwrap()
    };
    run(source).expect();
    let wrong = run(&source.replace("x[id.x] / 7u", "select(x[id.x] / 7u, 99u, id.x == 6u)"));
    let text = wrong.to_string();
    assert!(
        text.starts_with("'counts' at row 1, column 2 is 99, expected "),
        "{text}"
    );
    assert!(text.contains("; 1 of 12 differ"), "{text}");
    let wrong = run(&source.replace("f32(x[id.x])", "f32(x[id.x]) + f32(id.x == 9u)"));
    assert!(
        wrong.to_string().starts_with("'sums'[1, 1, 1] is "),
        "{wrong}"
    );
}

#[test]
fn infinities_are_met_by_infinities_of_their_sign() {
    let gpu = gpu();
    let source = |value: &str| {
        format!(
            "@group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(1)
            fn mask(@builtin(global_invocation_id) id: vec3<u32>) {{ y[id.x] = {value}; }}"
        )
    };
    let run = |value: &str| {
        let kernel = Wgsl::new("mask", source(value))
            .read("x", 4)
            .write("y", 4)
            .workgroups([4, 1, 1]);
        // Half of the largest f32 twice over: infinity, made on the device.
        let inputs = [vec![-3e38, -2e38, -3e38, -2.5e38]];
        let expected = |_: &[&[f64]]| vec![vec![f64::NEG_INFINITY; 4]];
        against(&gpu, &kernel, inputs, expected, Tolerance::EXACT).unwrap()
    };
    run("2.0 * x[id.x]").expect();
    for wrong in ["-2.0 * x[id.x]", "2.0 * x[id.x] - 2.0 * x[id.x]", "-1e30"] {
        let comparison = run(wrong);
        assert!(
            comparison.to_string().contains("expected -inf"),
            "{comparison}"
        );
    }
}

#[test]
fn what_does_not_fit_is_an_error_that_says_what() {
    let gpu = gpu();
    let kernel = doubles(DOUBLES, Grid::Whole);
    let x = || numbers(Values::Normal, 1, 1000);
    let refused = |kernel: &Wgsl, inputs: Inputs<'_>, y: Vec<Vec<f64>>, words: &str| {
        let error = against(&gpu, kernel, inputs, |_| y, Tolerance::EXACT).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    let y = || vec![vec![0.0; 1000]];
    refused(
        &kernel,
        [x(), x()].into(),
        y(),
        "reads 'x': an array for each, got 2",
    );
    refused(
        &kernel,
        [vec![0.0; 999]].into(),
        y(),
        "'x' has 1000 elements, its input 999",
    );
    refused(
        &kernel,
        [Data::U32(vec![0; 1000])].into(),
        y(),
        "'x' is of f32, its input is not",
    );
    refused(
        &kernel,
        [x()].into(),
        vec![],
        "writes 'y': the closure must return an array for each, and returned 0",
    );
    refused(
        &kernel,
        [x()].into(),
        vec![vec![0.0; 4]],
        "'y' has 1000 elements, the closure returned 4",
    );
    let mut nan = y();
    nan[0][17] = f64::NAN;
    refused(&kernel, [x()].into(), nan, "expects a NaN for 'y'[17]");
    refused(
        &kernel.clone().shaped([3, 4]),
        [x()].into(),
        y(),
        "'y' has 1000 elements, its shape [3, 4] has not",
    );
    let beyond = doubles(DOUBLES, Grid::Line { first: 2 });
    refused(
        &beyond,
        [x()].into(),
        y(),
        "begins at word 2 of its `params`, of which there are 2",
    );
    let words = Wgsl::new(
        "doubles",
        DOUBLES
            .replace("y: array<f32>", "y: array<u32>")
            .replace("2.0 * x[i]", "7u"),
    )
    .read("x", 1000)
    .binding(Binding::write("y", DType::U32, 1000))
    .params(&[1000, 0])
    .workgroups([32, 1, 1]);
    refused(
        &words,
        [x()].into(),
        vec![vec![0.5; 1000]],
        "expects 0.5 for 'y'[0], which is no u32",
    );
    refused(
        &doubles("fn doubles() { nonsense }", Grid::Whole),
        [x()].into(),
        y(),
        "doubles",
    );
}

#[test]
#[should_panic(expected = "(doubles, inputs Normal of seed 5)")]
fn expect_ends_a_test_that_did_not_pass() {
    let kernel = doubles(DOUBLES, Grid::Whole);
    let inputs = Inputs::drawn(&kernel, Values::Normal, 5);
    let halved = |x: &[&[f64]]| vec![x[0].iter().map(|v| v / 2.0).collect()];
    let comparison = against(&gpu(), &kernel, inputs, halved, Tolerance::ulps(1.0)).unwrap();
    comparison.expect();
}
