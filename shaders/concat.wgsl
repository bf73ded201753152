// out[outer, p] = part_j[outer, p - start_j],   start_j <= p < start_j + length_j
//
// Concatenation along one axis; sizes before it are folded into outer, those after it into the lengths. Elements are moved as bits.
//
// A unit is ${"four elements" if vector else "one element"}. One invocation moves ${per_thread}.
// Dispatch: ceil(units / (WORKGROUP * ${per_thread})), folded into x and y above 65,535.
// Cost: no flops; 8 bytes an element.

override WORKGROUP: u32 = 64u;

struct Params {
    total: vec4<u32>,  // sum of the lengths, to divide by
    units: u32,
    first_group: u32,  // workgroups of the line before this dispatch
    lengths: array<vec4<u32>, ${parts}>,  // in units, in x
}

//# include "shared/bindings.wgsl"
//# include "shared/divide.wgsl"

fn move_unit(unit: u32) {
    let outer = divided(unit, params.total);
    var p = unit - outer * params.total.x;
    //# for j in range(parts)
    let length${j} = params.lengths[${j}].x;
    //# if loop.last
    out[unit] = part${j}[outer * length${j} + p];
    //# else
    if p < length${j} {
        out[unit] = part${j}[outer * length${j} + p];
        return;
    }
    p -= length${j};
    //# endif
    //# endfor
}

//# include "shared/moving.wgsl"
