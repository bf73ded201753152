// Random terms of an element-wise expression. One number is drawn where it is used; these are four at a time.

//# include "shared/noise.wgsl"

fn less(a: real, b: real) -> real {
    return select(real(0.0), real(1.0), a < b);
}

//# if by_step
// The four elements are one block's words.
fn uniform_by_step(index: u32, stream: u32) -> real {
    return vec4<f32>(block_by_step(index, stream).words >> vec4<u32>(8u)) * 0x1p-24f;
}
fn normal_by_step(index: u32, stream: u32) -> real {
    let words = block_by_step(index, stream).words;
    return vec4<f32>(box_muller(words.xy), box_muller(words.zw));
}
//# endif
//# if by_example
//# for kind in ["uniform", "normal"]
fn ${kind}_by_example(index: u32, stream: u32, arrangement: vec3<u32>) -> real {
    return vec4<f32>(
        ${kind}_of(block_by_example(index, stream, arrangement)),
        ${kind}_of(block_by_example(index + 1u, stream, arrangement)),
        ${kind}_of(block_by_example(index + 2u, stream, arrangement)),
        ${kind}_of(block_by_example(index + 3u, stream, arrangement)),
    );
}
//# endfor
//# endif
