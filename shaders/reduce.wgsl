// out[outer, inner] = finish(combine over r of value(outer, r, inner)),   combine: ${kind}
//
// `value` is an element-wise expression over the domain [outer, length, inner], `finish` one over the results. The order in which
// elements are combined depends on the shape alone, so the same bits come out every time.
//
// A long reduction with few results is cut into chunks of r whose partial results [chunk, outer, inner] a second dispatch combines.
// Mode ${mode}:
//   columns   a `real` is four neighbours along inner
//   rows      inner is 1 and a `real` is four neighbours along r
//   elements  a `real` is one element
// One ${"workgroup, its invocations striding along r and then combining in a tree," if cooperative else "invocation"} makes one result
// (four in mode columns) of one chunk.
// Dispatch: ceil(units / ${"1" if cooperative else "WORKGROUP"}), folded into x and y; a unit is a result of a chunk.
// Cost: value's flops and one an element; 4 bytes an element of each operand.

alias real = ${"f32" if mode == "elements" else "vec4<f32>"};
alias whole = ${"u32" if mode == "elements" else "vec4<u32>"};

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,   // results of all chunks, in `real`s where mode is columns
    outputs: u32, // results of one chunk, likewise
    length: u32,
    inner: u32,
    chunk: u32,   // r of one chunk
    first_group: u32,  // workgroups of the line before this dispatch
    first_unit: u32,   // results before these: 0 but in a piece of a larger reduction
    groups: array<vec4<u32>, ${[groups, 1] | max}>,
}

//# include "shared/bindings.wgsl"
//# include "shared/finish.wgsl"

fn value(index: u32) -> real {
    //# for line in value.lines
    ${line}
    //# endfor
    return ${value.results[0]};
}

//# if kind == "argmax"
struct Partial {
    largest: real,
    at: whole,  // the first place where it stands
}

fn identity() -> Partial {
    return Partial(real(-0x1.fffffep+127f), whole(0xffffffffu));
}

fn partial_of(v: real, r: whole) -> Partial {
    return Partial(v, r);
}

fn combine(a: Partial, b: Partial) -> Partial {
    let take = (b.largest > a.largest) | ((b.largest == a.largest) & (b.at < a.at));
    return Partial(select(a.largest, b.largest, take), select(a.at, b.at, take));
}
//# elif kind == "log_sum_exp"
// sum = total of e^(v - largest): no exponential overflows.
struct Partial {
    largest: real,
    sum: real,
}

fn identity() -> Partial {
    return Partial(real(-0x1.fffffep+127f), real(0.0));
}

fn partial_of(v: real, r: whole) -> Partial {
    return Partial(v, real(1.0));
}

fn combine(a: Partial, b: Partial) -> Partial {
    let largest = max(a.largest, b.largest);
    // At most 0, and e^-104 is below the smallest f32.
    let ea = exp(max(a.largest - largest, real(-104.0)));
    let eb = exp(max(b.largest - largest, real(-104.0)));
    return Partial(largest, a.sum * ea + b.sum * eb);
}
//# else
alias Partial = real;

//# set neutral = {"sum": "0.0", "max": "-0x1.fffffep+127f", "min": "0x1.fffffep+127f"}[kind]
fn identity() -> Partial {
    return real(${neutral});
}

fn partial_of(v: real, r: whole) -> Partial {
    return v;
}

//# set combined = {"sum": "a + b", "max": "max(a, b)", "min": "min(a, b)"}[kind]
fn combine(a: Partial, b: Partial) -> Partial {
    return ${combined};
}
//# endif

//# if mode == "rows"
// One of the four lanes, four times.
fn spread(p: Partial, lane: u32) -> Partial {
    //# if kind == "argmax"
    return Partial(real(p.largest[lane]), whole(p.at[lane]));
    //# elif kind == "log_sum_exp"
    return Partial(real(p.largest[lane]), real(p.sum[lane]));
    //# else
    return real(p[lane]);
    //# endif
}
//# endif

fn write(index: u32, p: Partial) {
    //# if kind == "argmax"
    //# if mode == "columns"
    for (var i = 0u; i < 4u; i++) {
        out0[index + i] = p.at[i];
    }
    //# else
    out0[index] = p.at${".x" if mode == "rows" else ""};
    //# endif
    //# elif kind == "log_sum_exp"
    finish(index, p.largest + log(p.sum));
    //# else
    finish(index, p);
    //# endif
}

//# if cooperative
var<workgroup> shared_partials: array<Partial, WORKGROUP>;
//# endif

@compute @workgroup_size(WORKGROUP)
fn reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    //# if cooperative
    let unit = params.first_group + group.y * groups.x + group.x;
    let lane = local;
    let lanes = WORKGROUP;
    //# else
    let unit = (params.first_group + group.y * groups.x + group.x) * WORKGROUP + local;
    let lane = 0u;
    let lanes = 1u;
    //# endif
    if unit >= params.units {
        return;
    }
    let chunk = unit / params.outputs;
    let output = unit % params.outputs${" * 4u" if mode == "columns" else ""};
    let first = output / params.inner * params.length * params.inner + output % params.inner;
    let end = min(params.length, (chunk + 1u) * params.chunk);
    var p = identity();
    //# set width = "4u" if mode == "rows" else "1u"
    for (var r = chunk * params.chunk + lane * ${width}; r < end; r += lanes * ${width}) {
        let at = ${"whole(r) + vec4<u32>(0u, 1u, 2u, 3u)" if mode == "rows" else "whole(r)"};
        p = combine(p, partial_of(value(first + r * params.inner), at));
    }
    //# if mode == "rows"
    p = combine(combine(spread(p, 0u), spread(p, 1u)), combine(spread(p, 2u), spread(p, 3u)));
    //# endif
    //# if cooperative
    shared_partials[local] = p;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if local < half {
            shared_partials[local] = combine(shared_partials[local], shared_partials[local + half]);
        }
        workgroupBarrier();
    }
    if local == 0u {
        write((params.first_unit + unit)${" * 4u" if mode == "columns" else ""}, shared_partials[0]);
    }
    //# else
    write((params.first_unit + unit)${" * 4u" if mode == "columns" else ""}, p);
    //# endif
}
