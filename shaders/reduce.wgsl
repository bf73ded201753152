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
// A unit is ${span ~ " results" if span > 1 else "a result"} (of four) of a chunk, ${"made by LANES invocations, which stride along r and then combine in a tree" if cooperative else "made by one invocation"}.
// ${"Its results lie params.spacing apart, so that neighbours read what lies together." if span > 1 else ""}
// ${"Elements of " ~ ahead ~ " r are loaded before they are combined, one after the other." if ahead > 1 else ""}
// Dispatch: ceil(units / (WORKGROUP / LANES)), folded into x and y.
// Cost: value's flops and one an element; 4 bytes an element of each operand.

alias real = ${"f32" if mode == "elements" else "vec4<f32>"};
alias whole = ${"u32" if mode == "elements" else "vec4<u32>"};

override WORKGROUP: u32 = 64u;
override LANES: u32 = 1u;  // a power of two

struct Params {
    units: u32,
    outputs: u32, // units of one chunk
    length: u32,
    inner: u32,
    chunk: u32,   // r of one chunk
    first_group: u32,  // workgroups of the line before this dispatch
    first: u32,   // results before these: 0 but in a piece of a larger reduction
    spacing: u32, // `real`s from a result of a unit to its next
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

// Where the elements of a `real` stand along r.
fn places(r: u32) -> whole {
    return ${"whole(r) + vec4<u32>(0u, 1u, 2u, 3u)" if mode == "rows" else "whole(r)"};
}

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
    //# if random
    keep_noise();
    //# endif
    //# if cooperative
    let across = WORKGROUP / LANES;
    let own = (params.first_group + group.y * groups.x + group.x) * across + local % across;
    let lane = local / across;
    let lanes = LANES;
    // The last ones are made again by those that are too many, which must not miss a barrier.
    let unit = min(own, params.units - 1u);
    //# else
    let unit = (params.first_group + group.y * groups.x + group.x) * WORKGROUP + local;
    let lane = 0u;
    let lanes = 1u;
    if unit >= params.units {
        return;
    }
    //# endif
    let chunk = unit / params.outputs;
    let within = unit - chunk * params.outputs;
    //# if mode == "columns"
    let across_row = params.inner / ${4 * span}u;
    let outer = within / across_row;
    let along = within - outer * across_row;
    //# if span > 1
    let column = 4u * (along / params.spacing * params.spacing * ${span}u + along % params.spacing);
    //# else
    let column = 4u * along;
    //# endif
    //# else
    let outer = within / params.inner;
    let column = within - outer * params.inner;
    //# endif
    let first = outer * params.length * params.inner + column;
    let output = params.first + chunk * params.outputs * ${4 * span if mode == "columns" else 1}u + outer * params.inner + column;
    let end = min(params.length, (chunk + 1u) * params.chunk);
    //# for s in range(span)
    var p${s} = identity();
    //# endfor
    //# set width = 4 if mode == "rows" else 1
    let step = lanes * ${width}u;
    var r = chunk * params.chunk + lane * ${width}u;
    //# if ahead > 1
    for (; r + ${ahead - 1}u * step < end; r += ${ahead}u * step) {
        //# for i in range(ahead)
        let r${i} = r + ${i}u * step;
        //# for s in range(span)
        let v${i}_${s} = value(first + r${i} * params.inner${" + " ~ 4 * s ~ "u * params.spacing" if s > 0});
        //# endfor
        //# endfor
        //# for i in range(ahead)
        //# for s in range(span)
        p${s} = combine(p${s}, partial_of(v${i}_${s}, places(r${i})));
        //# endfor
        //# endfor
    }
    //# endif
    for (; r < end; r += step) {
        let element = first + r * params.inner;
        //# for s in range(span)
        p${s} = combine(p${s}, partial_of(value(element${" + " ~ 4 * s ~ "u * params.spacing" if s > 0}), places(r)));
        //# endfor
    }
    //# if mode == "rows"
    p0 = combine(combine(spread(p0, 0u), spread(p0, 1u)), combine(spread(p0, 2u), spread(p0, 3u)));
    //# endif
    //# if cooperative
    shared_partials[local] = p0;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half >= across; half /= 2u) {
        if local < half {
            shared_partials[local] = combine(shared_partials[local], shared_partials[local + half]);
        }
        workgroupBarrier();
    }
    if local < across && own < params.units {
        write(output, shared_partials[local]);
    }
    //# else
    //# for s in range(span)
    write(output${" + " ~ 4 * s ~ "u * params.spacing" if s > 0}, p${s});
    //# endfor
    //# endif
}
