// Random terms of an element-wise expression, for a `real` of one element or of four.

//# include "shared/noise.wgsl"

fn less(a: real, b: real) -> real {
    return select(real(0.0), real(1.0), a < b);
}

//# if by_step and store == "vector"
// The four elements are one block's words.
fn uniform_by_step(index: u32, stream: u32) -> real {
    return vec4<f32>(block_by_step(index, stream).words >> vec4<u32>(8u)) * 0x1p-24f;
}
fn normal_by_step(index: u32, stream: u32) -> real {
    let words = block_by_step(index, stream).words;
    return vec4<f32>(box_muller(words.xy), box_muller(words.zw));
}
//# endif
//# for by in ["step", "example"]
//# if (by == "step" and by_step and store != "vector") or (by == "example" and by_example)
//# set more = ", arrangement: vec3<u32>" if by == "example" else ""
//# set pass = ", arrangement" if by == "example" else ""
//# for kind in ["uniform", "normal"]
fn ${kind}_by_${by}(index: u32, stream: u32${more}) -> real {
    //# if store == "vector"
    return vec4<f32>(
        ${kind}_of(block_by_${by}(index, stream${pass})),
        ${kind}_of(block_by_${by}(index + 1u, stream${pass})),
        ${kind}_of(block_by_${by}(index + 2u, stream${pass})),
        ${kind}_of(block_by_${by}(index + 3u, stream${pass})),
    );
    //# else
    return real(${kind}_of(block_by_${by}(index, stream${pass})));
    //# endif
}
//# endfor
//# endif
//# endfor
