// out = f(operands),   element by element, with broadcasting
//
// A fused chain of element-wise operators: the body of `finish` is the chain, each line a call of a named scalar function. Operands
// broadcast to the domain's shape; results are dense.
//
// A `real` is ${"four consecutive elements" if vector else "one element"}; one invocation makes ${per_thread} of them.
// Dispatch: ceil(units / (WORKGROUP * ${per_thread})), folded into x and y above 65,535; a unit is a `real`.
// Cost: the chain's flops; 4 bytes an element of each operand and result.

alias real = ${"vec4<f32>" if vector else "f32"};

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,
    first_group: u32,  // workgroups of the line before this dispatch
    groups: array<vec4<u32>, ${[groups, 1] | max}>,
}

//# include "shared/bindings.wgsl"
//# include "shared/finish.wgsl"

@compute @workgroup_size(WORKGROUP)
fn map(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    //# if random
    keep_noise();
    //# endif
    let first = (params.first_group + group.y * groups.x + group.x) * WORKGROUP * ${per_thread}u + local;
    //# for i in range(per_thread)
    if first + ${i}u * WORKGROUP < params.units {
        finish((first + ${i}u * WORKGROUP)${" * 4u" if vector else ""}, real(0.0));
    }
    //# endfor
}
