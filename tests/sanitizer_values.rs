//! What the sanitizer computes is what WGSL says.

mod common;

use common::wgsl::{floats, nothing, run, words};
use wgen::sanitize::{Input, Options, Order, Program};

/// The floats that a body leaves in `x`.
fn computed(more: &str, body: &str, count: usize) -> Vec<f32> {
    let source = format!(
        "{more}
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1)
fn main() {{
{body}
}}"
    );
    let options = Options {
        orders: vec![Order::Forward],
        ..Options::default()
    };
    let x: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let report = run(&source, &[floats(&x)], 1, &options);
    nothing(&report.findings);
    let bytes = report.runs[0].outputs[0].as_ref().expect("it is written");
    let real = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    bytes.chunks_exact(4).map(real).collect()
}

#[test]
fn vectors_and_matrices_are_computed_as_wgsl_says() {
    let body = "let a = vec3(x[1], x[2], x[3]);
let b = vec3(x[4], x[5], x[6]);
x[0] = dot(a, b);
let c = cross(a, b);
x[1] = c.x; x[2] = c.y; x[3] = c.z;
x[4] = length(vec2(3.0, 4.0));
x[5] = distance(a, b);
let r = reflect(vec2(1.0, -1.0), vec2(0.0, 1.0));
x[6] = r.x; x[7] = r.y;";
    let got = computed("", body, 8);
    let wanted = [32.0, -3.0, 6.0, -3.0, 5.0, 27_f32.sqrt(), 1.0, 1.0];
    assert_eq!(got, wanted);
    let body = "let m = mat2x3<f32>(x[1], x[2], x[3], x[4], x[5], x[6]);
let v = m * vec2(1.0, 10.0);
x[0] = v.x; x[1] = v.y; x[2] = v.z;
let w = vec3(1.0, 1.0, 1.0) * m;
x[3] = w.x; x[4] = w.y;
let p = transpose(m) * m;
x[5] = p[0][1];
x[6] = determinant(mat2x2<f32>(1.0, 2.0, 3.0, 4.0));
x[7] = (m * 2.0)[1].z;";
    let got = computed("", body, 8);
    assert_eq!(got, [41.0, 52.0, 63.0, 6.0, 15.0, 32.0, -2.0, 12.0]);
}

#[test]
fn control_flow_goes_where_wgsl_says() {
    let more = "
var<private> calls: f32 = 1.0;
struct Pair { a: f32, b: array<f32, 3> }
fn bump(p: ptr<function, f32>, by: f32) -> f32 {
    calls += 1.0;
    if by > 2.0 { return 100.0; }
    for (var i = 0; i < 10; i++) {
        if i == 1 { continue; }
        if i == 4 { return f32(i); }
        *p += by;
    }
    return -1.0;
}";
    let body = "var y = 0.5;
x[0] = bump(&y, 2.0);
x[1] = y;
x[2] = bump(&y, 3.0);
x[3] = calls;
var total = 0;
for (var k = 0; k < 6; k++) {
    switch k {
        case 0, 1: { total += 1; }
        case 2: { continue; }
        case 5: { break; }
        default: { total += 10; }
    }
}
x[4] = f32(total);
var pair = Pair(1.0, array<f32, 3>(2.0, 3.0, 4.0));
pair.b[i32(x[5]) - 4] = 7.0;
x[5] = pair.b[1] + pair.b[2] + pair.a;
var n = 0.0;
loop {
    n += 1.0;
    continuing { n += 0.5; break if n > 4.0; }
}
x[6] = n;
let q = frexp(12.0);
let h = modf(-2.5);
x[7] = q.fract * 100.0 + f32(q.exp) + h.fract + h.whole;";
    let got = computed(more, body, 8);
    // 0.75 * 2^4, and -0.5 - 2.
    let last = 75.0 + 4.0 - 2.5;
    assert_eq!(got, [4.0, 6.5, 100.0, 3.0, 22.0, 12.0, 4.5, last]);
}

#[test]
fn subgroups_are_of_the_size_that_is_asked_for() {
    let source = "enable subgroups;
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(16)
fn main(
    @builtin(local_invocation_index) i: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    x[8u * i] = subgroupAdd(i);
    x[8u * i + 1u] = subgroupExclusiveAdd(1u);
    x[8u * i + 2u] = subgroupInclusiveMul(2u);
    x[8u * i + 3u] = subgroupBroadcastFirst(i);
    x[8u * i + 4u] = subgroupShuffleXor(i, 1u);
    x[8u * i + 5u] = subgroupBallot(lane % 2u == 1u).x;
    x[8u * i + 6u] = quadSwapDiagonal(i);
    x[8u * i + 7u] = 10u * subgroup + lane + select(0u, 100u, subgroupAny(i == 5u));
}";
    let program = Program::new(source, None, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(program.uses_subgroups());
    let options = Options {
        orders: vec![Order::Forward, Order::Shuffled(3)],
        subgroup_sizes: vec![4],
        ..Options::default()
    };
    let inputs = [words(&[0; 128])];
    let report = program.run(&inputs, [1, 1, 1], &options);
    let report = report.unwrap_or_else(|e| panic!("{e}"));
    nothing(&report.findings);
    let bytes = report.runs[0].outputs[0].as_ref().expect("it is written");
    let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|b| bytes[4 * i + b]));
    for i in 0..16_u32 {
        let (lane, subgroup) = (i % 4, i / 4);
        let row = [0, 1, 2, 3, 4, 5, 6, 7].map(|k| word(8 * i as usize + k));
        let sum = 16 * subgroup + 6;
        let any = if subgroup == 1 { 100 } else { 0 };
        let wanted = [
            sum,
            lane,
            2 << lane,
            4 * subgroup,
            i ^ 1,
            0b1010,
            i ^ 3,
            10 * subgroup + lane + any,
        ];
        assert_eq!(row, wanted, "invocation {i}");
    }
}

#[test]
fn textures_are_loaded_stored_and_sampled() {
    let source = "
@group(0) @binding(0) var t: texture_2d<f32>;
@group(0) @binding(1) var s: sampler;
@group(0) @binding(2) var o: texture_storage_2d<rgba8unorm, write>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1)
fn main() {
    x[0] = textureLoad(t, vec2(1, 0), 0).x;
    x[1] = textureSampleLevel(t, s, vec2(0.5, 0.25), 0.0).x;
    x[2] = f32(textureDimensions(t).x);
    x[3] = textureGather(1, t, s, vec2(0.5, 0.5)).x;
    x[4] = textureSampleLevel(t, s, vec2(0.5, 0.25), 0.0, vec2(0, 1)).x;
    textureStore(o, vec2(0, 0), vec4(2.0, 0.5, -1.0, x[0]));
}";
    let texel = |x: f32| [x, 10.0 * x, 0.0, 1.0].map(f32::to_bits);
    let texture = Input::Texture {
        size: [2, 2, 1],
        layers: 1,
        levels: 1,
        texels: [1.0, 3.0, 5.0, 7.0].into_iter().flat_map(texel).collect(),
    };
    let out = Input::Texture {
        size: [1, 1, 1],
        layers: 1,
        levels: 1,
        texels: Vec::new(),
    };
    let inputs = [texture, Input::Sampler, out, floats(&[0.0; 5])];
    let report = run(source, &inputs, 1, &Options::default());
    nothing(&report.findings);
    let outputs = &report.runs[0].outputs;
    let real = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let of = |i: usize| -> Vec<f32> {
        let bytes = outputs[i].as_ref().expect("it is written");
        bytes.chunks_exact(4).map(real).collect()
    };
    assert_eq!(of(3), [3.0, 2.0, 2.0, 50.0, 6.0]);
    assert_eq!(of(2), [1.0, 128.0 / 255.0, 0.0, 1.0]);
}
