// Random numbers of an element: words by step, or by example and draw (src/kernels/philox.rs says which and why).
// The kernel declares `state`: step low, step high, seed low, seed high, cursor.

//# include "shared/philox.wgsl"
//# include "shared/normal.wgsl"

struct Block {
    words: vec4<u32>,
    column: u32,
}

fn block_by_step(index: u32, stream: u32) -> Block {
    let seed = vec2<u32>(state[2], state[3]);
    return Block(philox4x32(vec4<u32>(index / 4u, state[0], state[1], stream), seed), index % 4u);
}

// arrangement: examples, draws, width.
fn block_by_example(index: u32, stream: u32, arrangement: vec3<u32>) -> Block {
    let row = index / arrangement.z;
    let column = index % arrangement.z;
    let example = state[4] + row % arrangement.x;
    let draw = state[0] * arrangement.y + row / arrangement.x;
    let seed = vec2<u32>(state[2], state[3]);
    return Block(philox4x32(vec4<u32>(column / 4u, example, draw, stream), seed), column % 4u);
}

// A multiple of 2^-24 in [0, 1).
fn uniform_of(block: Block) -> f32 {
    return f32(block.words[block.column] >> 8u) * 0x1p-24f;
}

fn normal_of(block: Block) -> f32 {
    let pair = select(block.words.xy, block.words.zw, block.column >= 2u);
    return box_muller(pair)[block.column & 1u];
}
