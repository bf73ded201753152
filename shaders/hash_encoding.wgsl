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
// One invocation a feature of 8 entries. Dispatch: ceil(entries / 8 * F / WORKGROUP), folded into x and y.
//# elif stage == "clear"
// One invocation an element. Dispatch: ceil(entries * F / WORKGROUP), folded into x and y.
//# else
// One invocation a sample and level; workgroups go through the samples of one level after another, so that neighbours read one table.
// Dispatch: L ceil(samples / WORKGROUP), folded into x and y.
//# endif
// Cost: ${{"cells": "some 60 integer operations", "encode": "16 F + 12 flops, 8 F loads", "clear": "4 bytes", "scatter": "24 F + 12 flops, 8 F atomic additions", "finish": "2 flops, 8 bytes"}[stage]} ${"an element" if stage == "clear" or stage == "finish" else "a sample and level"}.

//# set real = "vec4<f32>" if features % 4 == 0 else "f32"
//# set lanes = 4 if features % 4 == 0 else 1
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
fn as_rounded(value: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(value) & params.all_ones);
}
//# endif
//# if stage == "encode" or stage == "scatter"

// Where a sample is in a level.
struct Place {
    near: vec3<u32>,  // the cell: its corner 0
    far_weight: vec3<f32>,
    near_weight: vec3<f32>,
}

fn place_of(level: Level, sample: u32) -> Place {
    let x = cell_along(level, positions[3u * sample]);
    let y = cell_along(level, positions[3u * sample + 1u]);
    let z = cell_along(level, positions[3u * sample + 2u]);
    let fraction = vec3<u32>(x.y, y.y, z.y);
    return Place(vec3<u32>(x.x, y.x, z.x), real_of(fraction), real_of(vec3<u32>(0x1000000u) - fraction));
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
    if element < params.elements {
        sums[element] = 0u;
    }
    //# elif stage == "finish"
    // Levels have a multiple of 8 entries: these 8 are of one level.
    let block = (number * WORKGROUP + local) / ${features}u;
    let feature = local % ${features}u;
    let first = block * ${8 * features}u + feature;
    if first >= params.elements {
        return;
    }
    var level = 0u;
    while level + 1u < params.levels && 8u * block >= params.grid[level + 1u].first {
        level++;
    }
    let bound = bounds[level * ${features}u + feature];
    let unit = power_of_two(unit_exponent(bound));
    let lost = is_lost(bound);
    //# for entry in range(8)
    {
        let element = first + ${entry * features}u;
        let sum = f32(bitcast<i32>(sums[element])) * unit;
        // A gradient that is no number is one in all of the level's feature, for the guard to see.
        out[element] = bitcast<f32>(select(bitcast<u32>(sum), 0x7fc00000u, lost));
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
    let row = (sample * params.levels + which) * ${features // lanes}u;
    //# if stage == "encode"
    let place = place_of(level, sample);
    //# for part in range(features // lanes)
    var sum${part} = ${real}(0.0);
    //# endfor
    for (var corner = 0u; corner < 8u; corner++) {
        let far = vec3<u32>(corner & 1u, (corner >> 1u) & 1u, corner >> 2u);
        let entry = level.first + entry_of(level, place.near + far);
        let weights = select(place.near_weight, place.far_weight, far == vec3<u32>(1u));
        let weight = weights.x * weights.y * weights.z;
        //# for part in range(features // lanes)
        sum${part} += weight * table[entry * ${features // lanes}u + ${part}u];
        //# endfor
    }
    //# for part in range(features // lanes)
    out[row + ${part}u] = sum${part};
    //# endfor
    //# else
    //# for part in range(features // lanes)
    let part${part} = gradient[row + ${part}u];
    //# endfor
    // Gradients in units, exactly.
    //# for feature in range(features)
    let bound${feature} = bounds[which * ${features}u + ${feature}u];
    let scaled${feature} = as_rounded(part${feature // lanes}${"[" ~ feature % lanes ~ "]" if lanes == 4} * power_of_two(-unit_exponent(bound${feature})));
    let g${feature} = select(scaled${feature}, 0.0, is_lost(bound${feature}));
    //# endfor
    var used = false;
    //# for feature in range(features)
    used |= g${feature} != 0.0;
    //# endfor
    if !used {
        return;  // a row without a sample
    }
    let place = place_of(level, sample);
    for (var corner = 0u; corner < 8u; corner++) {
        let far = vec3<u32>(corner & 1u, (corner >> 1u) & 1u, corner >> 2u);
        let entry = level.first + entry_of(level, place.near + far);
        let weights = select(place.near_weight, place.far_weight, far == vec3<u32>(1u));
        let weight = as_rounded(as_rounded(weights.x * weights.y) * weights.z);
        //# for feature in range(features)
        atomicAdd(&sums[entry * ${features}u + ${feature}u], bitcast<u32>(i32(round(weight * g${feature}))));
        //# endfor
    }
    //# endif
    //# endif
    //# endif
}
