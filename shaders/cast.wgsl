// out = convert(source): ${from} to ${to}
//
// f32 to u32 and to u8 truncate towards zero and clamp to the target's range, as PyTorch does inside that range.
//
// A unit is four elements: one word of bytes. One invocation converts ${per_thread}.
// Dispatch: ceil(units / (WORKGROUP * ${per_thread})), folded into x and y above 65,535.
// Cost: one flop an element; the bytes of both types.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    units: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

fn move_unit(unit: u32) {
    //# if not vector
    let first = 4u * unit;
    let last = params.count - 1u;
    //# endif
    //# if from == "u8"
    let x = (vec4<u32>(source[unit]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    //# elif vector
    let x = source[unit];
    //# else
    let x = vec4<${from}>(
        source[first],
        source[min(first + 1u, last)],
        source[min(first + 2u, last)],
        source[min(first + 3u, last)],
    );
    //# endif
    //# if to == "f32"
    let y = vec4<f32>(x);
    //# elif from == "f32"
    //# set largest = "255.0" if to == "u8" else "4294967040.0"
    // ${"A byte's largest." if to == "u8" else "The largest f32 below 2^32."}
    let y = vec4<u32>(clamp(x, vec4<f32>(0.0), vec4<f32>(${largest})));
    //# elif to == "u8"
    let y = min(x, vec4<u32>(255u));
    //# else
    let y = x;
    //# endif
    //# if to == "u8"
    //# if not vector
    // Bytes behind the end are zero.
    let bytes = select(vec4<u32>(0u), y, vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(last));
    //# endif
    let placed = ${"y" if vector else "bytes"} << vec4<u32>(0u, 8u, 16u, 24u);
    out[unit] = placed.x | placed.y | placed.z | placed.w;
    //# elif vector
    out[unit] = y;
    //# else
    out[first] = y.x;
    //# for c in ["y", "z", "w"]
    if first + ${loop.index}u <= last {
        out[first + ${loop.index}u] = y.${c};
    }
    //# endfor
    //# endif
}

//# include "shared/moving.wgsl"
