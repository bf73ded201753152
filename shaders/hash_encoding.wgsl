//# if stage == "cells"
// cells[s, l] = cell and fraction, in units of 2^-24, along x, y and z of position s in level l: what the other stages use, to be looked at
//# elif stage == "encode"
// out[s, l F + f] = sum over the 8 corners c of the cell of x[s] in level l of w_c table[entry_c, f],   w_c = product of f_d or 1 - f_d
//# elif stage == "clear"
// sums = 0
//# elif stage == "scatter"
// sums[entry_c, f] += round(w_c gradient[s, l F + f] / unit_(l, f)) over all samples s, levels l and corners c: integers, in any order
//# else
// out[e, f] = sums[e, f] unit_(l, f),   l the level of entry e
//# endif
//
// Multi-resolution hash encoding, Müller et al. 2022, as tiny-cuda-nn computes it, and its gradient by the table. x: [samples, 3] in [0, 1],
// table: [entries, F], levels one after another, encoding: [samples, L F]. Cells, fractions and entries: shared/hash_grid.wgsl.
//
// The gradient of an entry is a sum of w g over thousands of samples. Floats that are added in the order of arrival would differ from run
// to run. So integers are added: whole numbers of a unit, shared/fixed_point.wgsl, one for each level and feature, made from
// bounds[l F + f] = sum over s of |gradient[s, l F + f]| (`reduce`, in an order that depends on the shape alone).
//
// Why no sum can overflow: the 8 weights of a sample add up to 1 (exactly but for rounding: 1 + 2^-21 at most), and even if all its corners
// were one entry, a sample adds at most (1 + 2^-21) |g| / unit + 8 / 2 to it. Over all samples, in any order and at any time before the
// last, |sum| <= (1 + 2^-21) bound / unit + 4 samples <= 2^30 (1 + 2^-10) + 4 samples < 2^31 for samples <= 2^22, which is the most there
// can be: beyond it the rounding of the bound (two passes of sqrt(samples) terms, 2 sqrt(samples) 2^-24 <= 2^-12) would not be covered.
// With a unit two bits smaller it would overflow: a case of verify says so.
//
// Nothing is rounded that a compiler may round otherwise: a product is either by a power of two, or goes through `as_rounded`, so that
// factors are not taken in another order. An entry with n contributions is within n (unit / 2 + 2^-22 max |w g|) of the exact sum.
//
//# if stage == "finish"
// One invocation four features of 8 entries, or one feature where there are not four.
// Dispatch: ceil(entries / 8 * F / 4 / WORKGROUP), folded into x and y.
//# elif stage == "clear"
// One invocation four elements, or one. Dispatch: ceil(entries * F / 4 / WORKGROUP), folded into x and y.
//# else
// One invocation a sample and level; workgroups go through the samples of one level after another, so that neighbours read one table.
// Dispatch: L ceil(samples / WORKGROUP), folded into x and y.
//# endif
// Cost: ${{"cells": "some 60 integer operations", "encode": "16 F + 12 flops, 8 F loads", "clear": "4 bytes", "scatter": "24 F + 12 flops, 8 F atomic additions", "finish": "2 flops, 8 bytes"}[stage]} ${"an element" if stage == "clear" or stage == "finish" else "a sample and level"}.

//# set lanes = 4 if features % 4 == 0 else 1
//# set real = "vec4<f32>" if lanes == 4 else "f32"
//# set side = ["near", "far"]
//# set parts = features // lanes
//# set whole = "vec4<u32>" if lanes == 4 else "u32"
//# set signed = "vec4<i32>" if lanes == 4 else "i32"
override WORKGROUP: u32 = 64u;

//# include "shared/hash_grid.wgsl"
//# if stage == "scatter" or stage == "finish"

//# include "shared/fixed_point.wgsl"
//# endif

struct Params {
    samples: u32,
    levels: u32,
    groups: u32,       // workgroups of a level
    first_group: u32,  // workgroups of the line before this dispatch
    all_ones: u32,     // 0xffffffff, which no compiler knows
    elements: u32,     // of the table
    unused: vec2<u32>,
    grid: array<Level, ${levels}>,
}

//# include "shared/bindings.wgsl"
//# if stage == "scatter"

// A value as it was rounded, which no compiler takes apart.
fn as_rounded(value: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(value) & vec4<u32>(params.all_ones));
}

// A gradient in units, exactly; 0 where there is none.
fn in_units(value: f32, bound: f32) -> f32 {
    return select(value * power_of_two(-unit_exponent(bound)), 0.0, is_lost(bound));
}
//# endif
//# if stage == "finish"

fn unit_of(bound: f32) -> f32 {
    return power_of_two(unit_exponent(bound));
}
//# endif
//# if stage == "encode" or stage == "scatter"

// The eight corners of a sample's cell. Of the four at one z: near x and far x at the near y, then at the far y.
struct Corners {
    near_entries: vec4<u32>,
    far_entries: vec4<u32>,
    near_weights: vec4<f32>,
    far_weights: vec4<f32>,
}

fn corners_of(level: Level, sample: u32) -> Corners {
    let x = cell_along(level, positions[3u * sample]);
    let y = cell_along(level, positions[3u * sample + 1u]);
    let z = cell_along(level, positions[3u * sample + 2u]);
    let fraction = vec3<u32>(x.y, y.y, z.y);
    let far = real_of(fraction);
    let near = real_of(vec3<u32>(0x1000000u) - fraction);
    let plane = ${"as_rounded" if stage == "scatter"}(vec4<f32>(near.x, far.x, near.x, far.x) * vec4<f32>(near.y, near.y, far.y, far.y));
    return Corners(
        entries_at(level, vec2<u32>(x.x, y.x), z.x),
        entries_at(level, vec2<u32>(x.x, y.x), z.x + 1u),
        ${"as_rounded" if stage == "scatter"}(plane * near.z),
        ${"as_rounded" if stage == "scatter"}(plane * far.z),
    );
}
//# endif

@compute @workgroup_size(WORKGROUP)
fn hash_${stage}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = params.first_group + group.y * groups.x + group.x;
    //# if stage == "clear"
    let element = number * WORKGROUP + local;
    if element < params.elements / ${lanes}u {
        sums[element] = ${whole}(0u);
    }
    //# elif stage == "finish"
    // Levels have a multiple of 8 entries: these 8 are of one level.
    let number_of_part = number * WORKGROUP + local;
    let block = number_of_part / ${parts}u;
    let part = number_of_part % ${parts}u;
    let first = block * ${8 * parts}u + part;
    if first >= params.elements / ${lanes}u {
        return;
    }
    var level = 0u;
    //# for next in range(1, levels)
    level += u32(8u * block >= params.grid[${next}].first);
    //# endfor
    let bound = bounds[level * ${parts}u + part];
    //# if lanes == 4
    let unit = vec4<f32>(unit_of(bound.x), unit_of(bound.y), unit_of(bound.z), unit_of(bound.w));
    let lost = vec4<bool>(is_lost(bound.x), is_lost(bound.y), is_lost(bound.z), is_lost(bound.w));
    //# else
    let unit = unit_of(bound);
    let lost = is_lost(bound);
    //# endif
    //# for entry in range(8)
    {
        let element = first + ${entry * parts}u;
        let sum = ${real}(bitcast<${signed}>(sums[element])) * unit;
        // A gradient that is no number is one in all of the level's feature, for the guard to see.
        out[element] = bitcast<${real}>(select(bitcast<${whole}>(sum), ${whole}(0x7fc00000u), lost));
    }
    //# endfor
    //# else
    let which = number / params.groups;
    let sample = number % params.groups * WORKGROUP + local;
    if which >= params.levels || sample >= params.samples {
        return;
    }
    let level = params.grid[which];
    //# if stage == "cells"
    let first = (sample * params.levels + which) * 6u;
    for (var axis = 0u; axis < 3u; axis++) {
        let along = cell_along(level, positions[3u * sample + axis]);
        cells[first + axis] = along.x;
        cells[first + 3u + axis] = along.y;
    }
    //# else
    let row = (sample * params.levels + which) * ${parts}u;
    //# if stage == "encode"
    let corners = corners_of(level, sample);
    //# for part in range(parts)
    var sum${part} = ${real}(0.0);
    //# endfor
    //# for corner in range(8)
    {
        let at = (level.first + corners.${side[corner // 4]}_entries[${corner % 4}]) * ${parts}u;
        let weight = corners.${side[corner // 4]}_weights[${corner % 4}];
        //# for part in range(parts)
        sum${part} += weight * table[at + ${part}u];
        //# endfor
    }
    //# endfor
    //# for part in range(parts)
    out[row + ${part}u] = sum${part};
    //# endfor
    //# else
    var used = false;
    //# for part in range(parts)
    let part${part} = gradient[row + ${part}u];
    let bound${part} = bounds[which * ${parts}u + ${part}u];
    //# if lanes == 4
    let g${part} = as_rounded(vec4<f32>(
        in_units(part${part}.x, bound${part}.x),
        in_units(part${part}.y, bound${part}.y),
        in_units(part${part}.z, bound${part}.z),
        in_units(part${part}.w, bound${part}.w),
    ));
    used |= any(g${part} != vec4<f32>(0.0));
    //# else
    let g${part} = as_rounded(vec4<f32>(in_units(part${part}, bound${part}))).x;
    used |= g${part} != 0.0;
    //# endif
    //# endfor
    if !used {
        return;  // a row without a sample
    }
    let corners = corners_of(level, sample);
    //# for corner in range(8)
    {
        let at = (level.first + corners.${side[corner // 4]}_entries[${corner % 4}]) * ${features}u;
        let weight = corners.${side[corner // 4]}_weights[${corner % 4}];
        //# for part in range(parts)
        let units${part} = bitcast<${whole}>(${signed}(round(weight * g${part})));
        //# for feature in range(lanes)
        atomicAdd(&sums[at + ${part * lanes + feature}u], units${part}${"[" ~ feature ~ "]" if lanes == 4});
        //# endfor
        //# endfor
    }
    //# endfor
    //# endif
    //# endif
    //# endif
}
