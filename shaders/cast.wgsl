// out = convert(source): ${from} to ${to}
//
// f32 to u32 and to u8 truncate towards zero and clamp to the target's range, as PyTorch does inside that range.
//
// One invocation converts four elements: one word of bytes.
// Dispatch: ceil(count / (4 * WORKGROUP)), folded into x and y above 65,535.
// Cost: one flop an element; the bytes of both types.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

fn load(element: u32) -> ${"u32" if from == "u8" else from} {
    //# if from == "u8"
    return (source[element / 4u] >> (element % 4u * 8u)) & 0xffu;
    //# else
    return source[element];
    //# endif
}

@compute @workgroup_size(WORKGROUP)
fn convert(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let first = 4u * ((params.first_group + id.y * groups.x) * WORKGROUP + id.x);
    if first >= params.count {
        return;
    }
    //# if to == "u8"
    var word = 0u;
    //# endif
    for (var i = 0u; i < min(4u, params.count - first); i++) {
        let x = load(first + i);
        //# if to == "u8"
        //# if from == "f32"
        word |= u32(clamp(x, 0.0, 255.0)) << (i * 8u);
        //# else
        word |= min(x, 255u) << (i * 8u);
        //# endif
        //# elif to == "u32" and from == "f32"
        // The largest f32 below 2^32.
        out[first + i] = u32(clamp(x, 0.0, 4294967040.0));
        //# else
        out[first + i] = ${to}(x);
        //# endif
    }
    //# if to == "u8"
    out[first / 4u] = word;
    //# endif
}
