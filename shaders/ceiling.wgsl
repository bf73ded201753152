// What a device can do at most, for the other kernels to be held against
//
// multiply_add  out[i] = sum over chains and components of v_rounds,   v_0 = x[i] + chain,   v_{r+1} = v_r a + b
//               ${chains} chains of vec4 an invocation, independent of each other, so that no result waits for another; nothing but
//               arithmetic. a and b are in `coefficients`, |a| < 1, so that values stay where they are.
// copy          out[i] = x[i], `count` units of ${"four floats" if vector else "one float"}, ${per_thread} an invocation
//
// Dispatch: ceil(invocations / WORKGROUP) for multiply_add, ceil(units / (WORKGROUP * ${per_thread})) for copy, folded into x and y.
// Cost: 8 * ${chains} flops a round and invocation; 8 bytes an element copied.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,   // invocations of multiply_add; units of copy
    rounds: u32,  // a multiple of 4
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

//# if entry == "multiply_add"
@compute @workgroup_size(WORKGROUP)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (params.first_group + group.y * groups.x + group.x) * WORKGROUP + local;
    if i >= params.count {
        return;
    }
    let a = vec4<f32>(coefficients[0]);
    let b = vec4<f32>(coefficients[1]);
    //# for c in range(chains)
    var v${c} = vec4<f32>(x[i], x[i] + 1.0, x[i] + 2.0, x[i] + 3.0) + ${4 * c}.0;
    //# endfor
    for (var round = 0u; round < params.rounds; round += 4u) {
        //# for r in range(4)
        //# for c in range(chains)
        v${c} = ${"fma(v" ~ c ~ ", a, b)" if fused else "v" ~ c ~ " * a + b"};
        //# endfor
        //# endfor
    }
    var total = vec4<f32>();
    //# for c in range(chains)
    total += v${c};
    //# endfor
    out[i] = total.x + total.y + total.z + total.w;
}
//# else
@compute @workgroup_size(WORKGROUP)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = (params.first_group + group.y * groups.x + group.x) * WORKGROUP * ${per_thread}u + local;
    //# for i in range(per_thread)
    if first + ${i}u * WORKGROUP < params.count {
        out[first + ${i}u * WORKGROUP] = x[first + ${i}u * WORKGROUP];
    }
    //# endfor
}
//# endif
