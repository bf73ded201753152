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

@compute @workgroup_size(WORKGROUP)
fn concat(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = (params.first_group + group.y * groups.x + group.x) * WORKGROUP * ${per_thread}u + local;
    //# for i in range(per_thread)
    if first + ${i}u * WORKGROUP < params.units {
        move_unit(first + ${i}u * WORKGROUP);
    }
    //# endfor
}
