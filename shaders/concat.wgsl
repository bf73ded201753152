// out[outer, p] = part_j[outer, p - start_j],   start_j <= p < start_j + length_j
//
// Concatenation along one axis; sizes before it are folded into outer, those after it into the lengths. Elements are moved as bits.
//
// One invocation moves ${"four elements" if vector else "one element"}.
// Dispatch: ceil(count / WORKGROUP), folded into x and y above 65,535.
// Cost: no flops; 8 bytes an element.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,        // in what an invocation moves, as are the lengths
    total: u32,        // sum of the lengths
    first_group: u32,  // workgroups of the line before this dispatch
    unused: u32,
    lengths: array<vec4<u32>, ${parts}>,  // in x
}

//# include "shared/bindings.wgsl"

@compute @workgroup_size(WORKGROUP)
fn concat(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if index >= params.count {
        return;
    }
    let outer = index / params.total;
    var p = index % params.total;
    //# for j in range(parts)
    let length${j} = params.lengths[${j}].x;
    if p < length${j} {
        out[index] = part${j}[outer * length${j} + p];
        return;
    }
    p -= length${j};
    //# endfor
}
