// Group normalisation (Wu & He 2018) of x [batch, pixels, channels], channels in `groups` runs of equal length, with its activation.
// This one: ${mode}.
//
//   statistics  statistics[0, b, g] = mean of x over group g of image b, statistics[1, b, g] = 1 / sqrt(variance + epsilon)
//   apply       out = ${"silu(z)" if silu else "z"},  z = x^ gain + bias,  x^ = (x - mean) / sqrt(variance + epsilon)
//   sums        sums[0, b, c] = sum over pixels of z',  sums[1, b, c] = sum over pixels of z' x^
//   input       out = (z' gain - m0 - x^ m1) / sqrt(variance + epsilon): the gradient by x (as Ioffe & Szegedy 2015, section 3)
//
// z' = upstream${" silu'(z)" if silu else ""} is the gradient by z; m0 and m1 are `group_means` [2, batch, groups], the means over a group of z' gain and
// z' gain x^. gain and bias are ${"[channels]" if shared else "[batch, channels]: a scale and shift of each image's own is in them"}.
// The variance is divided by the number of elements; it is summed from squares of distances from the mean, which is found first.
// A `real` is ${"four neighbouring channels" if vector else "one channel"}.
//
//# if mode == "statistics"
// A workgroup has ${"the groups of four channels" if vector and per_group < 4 else "one group"} of one image. Dispatch: one for each, folded into x and y.
//# elif mode == "sums"
// A workgroup has one `real` of channels of one image. Dispatch: one for each, folded into x and y.
//# else
// An invocation makes one `real` of ${strip} neighbouring pixels, whose mean, gain and bias it finds once. Dispatch: ceil(units / WORKGROUP),
// folded into x and y.
//# endif
// Partial sums are added by every invocation in the same order, so that all have the same bits and need no second barrier.
// Cost: 3 (statistics), 2 to 25 (the others) flops an element; 4 bytes an element of each operand, 8 of x in statistics.

alias real = ${"vec4<f32>" if vector else "f32"};

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,
    pixels: u32,
    lanes: u32,        // `real`s of a pixel
    channels: u32,
    groups: u32,
    rows: u32,         // batch * groups: where the second half of `statistics` begins
    wide: u32,         // `real`s of a pixel that a workgroup of `statistics` has
    first_group: u32,  // workgroups of the line before this dispatch
    epsilon: f32,
    strips: u32,       // of ${strip} pixels of an image
}

//# include "shared/bindings.wgsl"
//# if mode in ["statistics", "sums"]
var<workgroup> partials: array<real, WORKGROUP>;
//# endif
//# if silu and mode != "statistics"
//# include "shared/functions.wgsl"
//# endif

//# if mode == "statistics"
// The sum over the channels that are of one group, in place of each of them.
fn over_group(v: real) -> real {
    //# if not vector
    return v;
    //# elif per_group == 1
    return v;
    //# elif per_group == 2
    return vec4<f32>(vec2<f32>(v.x + v.y), vec2<f32>(v.z + v.w));
    //# else
    return vec4<f32>((v.x + v.y) + (v.z + v.w));
    //# endif
}

fn total(own: real, local: u32) -> real {
    workgroupBarrier();
    partials[local] = own;
    workgroupBarrier();
    var sum = partials[0];
    for (var i = 1u; i < WORKGROUP; i++) {
        sum += partials[i];
    }
    return over_group(sum);
}

@compute @workgroup_size(WORKGROUP)
fn group_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = params.first_group + group.y * groups.x + group.x;
    if unit >= params.units {
        return;
    }
    let sets = params.lanes / params.wide;
    let first = unit / sets * params.pixels * params.lanes + unit % sets * params.wide;
    let count = f32(params.pixels * params.channels / params.groups);
    var own = real(0.0);
    for (var lane = first; lane < first + params.wide; lane++) {
        for (var pixel = local; pixel < params.pixels; pixel += WORKGROUP) {
            own += x[lane + pixel * params.lanes];
        }
    }
    let mean = total(own, local) / count;
    own = real(0.0);
    for (var lane = first; lane < first + params.wide; lane++) {
        for (var pixel = local; pixel < params.pixels; pixel += WORKGROUP) {
            let distance = x[lane + pixel * params.lanes] - mean;
            own += distance * distance;
        }
    }
    let inverse = 1.0 / sqrt(total(own, local) / count + params.epsilon);
    if local == 0u {
        //# if not vector or per_group >= 4
        statistics[unit] = mean${".x" if vector else ""};
        statistics[params.rows + unit] = inverse${".x" if vector else ""};
        //# elif per_group == 2
        statistics[2u * unit] = mean.x;
        statistics[2u * unit + 1u] = mean.z;
        statistics[params.rows + 2u * unit] = inverse.x;
        statistics[params.rows + 2u * unit + 1u] = inverse.z;
        //# else
        //# for i in range(4)
        statistics[4u * unit + ${i}u] = mean[${i}];
        statistics[params.rows + 4u * unit + ${i}u] = inverse[${i}];
        //# endfor
        //# endif
    }
}
//# else
//# for table in (["statistics", "group_means"] if mode == "input" else ["statistics"])
// What `${table}` has from `first` on for the groups of a `real` of channels.
fn of_${table}(first: u32, lane: u32) -> real {
    //# if not vector
    return ${table}[first + lane / ${per_group}u];
    //# elif per_group >= 4
    return real(${table}[first + lane / ${per_group // 4}u]);
    //# elif per_group == 2
    let at = first + 2u * lane;
    return vec4<f32>(vec2<f32>(${table}[at]), vec2<f32>(${table}[at + 1u]));
    //# else
    let at = first + 4u * lane;
    return vec4<f32>(${table}[at], ${table}[at + 1u], ${table}[at + 2u], ${table}[at + 3u]);
    //# endif
}
//# endfor

// x^ and, in the gradients, z'.
struct Here {
    normal: real,
    //# if mode != "apply"
    by_z: real,
    //# endif
}

struct Affine {
    mean: real,
    inverse: real,
    gain: real,
    bias: real,
}

fn affine_of(image: u32, lane: u32) -> Affine {
    let row = ${"lane" if shared else "image * params.lanes + lane"};
    let first = image * params.groups;
    return Affine(of_statistics(first, lane), of_statistics(params.rows + first, lane), gain[row], bias[row]);
}

fn at(index: u32, a: Affine) -> Here {
    let normal = (x[index] - a.mean) * a.inverse;
    //# if mode == "apply"
    return Here(normal);
    //# elif silu
    let z = normal * a.gain + a.bias;
    let s = sigmoid(z);
    return Here(normal, upstream[index] * (s * (1.0 + z * (1.0 - s))));
    //# else
    return Here(normal, upstream[index]);
    //# endif
}

//# if mode == "sums"
@compute @workgroup_size(WORKGROUP)
fn group_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = params.first_group + group.y * groups.x + group.x;
    if unit >= params.units {
        return;
    }
    let image = unit / params.lanes;
    let lane = unit % params.lanes;
    let a = affine_of(image, lane);
    var own = real(0.0);
    var own_normal = real(0.0);
    for (var pixel = local; pixel < params.pixels; pixel += WORKGROUP) {
        let here = at((image * params.pixels + pixel) * params.lanes + lane, a);
        own += here.by_z;
        own_normal += here.by_z * here.normal;
    }
    partials[local] = own;
    workgroupBarrier();
    var sum = partials[0];
    for (var i = 1u; i < WORKGROUP; i++) {
        sum += partials[i];
    }
    workgroupBarrier();
    partials[local] = own_normal;
    workgroupBarrier();
    var sum_normal = partials[0];
    for (var i = 1u; i < WORKGROUP; i++) {
        sum_normal += partials[i];
    }
    if local == 0u {
        sums[unit] = sum;
        sums[params.units + unit] = sum_normal;
    }
}
//# else
@compute @workgroup_size(WORKGROUP)
fn group_norm(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let unit = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if unit >= params.units {
        return;
    }
    let lane = unit % params.lanes;
    let strip = unit / params.lanes % params.strips;
    let image = unit / params.lanes / params.strips;
    let a = affine_of(image, lane);
    //# if mode == "input"
    let first = image * params.groups;
    let m0 = of_group_means(first, lane);
    let m1 = of_group_means(params.rows + first, lane);
    //# endif
    let end = min(strip * ${strip}u + ${strip}u, params.pixels);
    for (var pixel = strip * ${strip}u; pixel < end; pixel++) {
        let index = (image * params.pixels + pixel) * params.lanes + lane;
        let here = at(index, a);
        //# if mode == "apply"
        let z = here.normal * a.gain + a.bias;
        out[index] = ${"z * sigmoid(z)" if silu else "z"};
        //# else
        out[index] = a.inverse * (here.by_z * a.gain - m0 - here.normal * m1);
        //# endif
    }
}
//# endif
//# endif
