// Random numbers of an element: words by step, or by example and draw (src/kernels/philox.rs says which and why).
// The kernel declares `state`: step low, step high, seed low, seed high, cursor.

//# include "shared/philox.wgsl"
//# include "shared/normal.wgsl"

//# set in_private = noise_kept is defined and noise_kept
//# if in_private
// Read once an invocation, before anything diverges: where a CPU pretends to be a GPU, a load under a condition costs more than the block.
var<private> step_and_seed: vec4<u32>;
var<private> first_example: u32;

fn keep_noise() {
    step_and_seed = vec4<u32>(state[0], state[1], state[2], state[3]);
    first_example = state[4];
}

//# endif
//# set step_low = "step_and_seed.x" if in_private else "state[0]"
//# set step_high = "step_and_seed.y" if in_private else "state[1]"
//# set seed = "step_and_seed.zw" if in_private else "vec2<u32>(state[2], state[3])"
struct Block {
    words: vec4<u32>,
    column: u32,
}

fn block_by_step(index: u32, stream: u32) -> Block {
    let counter = vec4<u32>(index / 4u, ${step_low}, ${step_high}, stream);
    return Block(philox4x32(counter, ${seed}), index % 4u);
}

// arrangement: examples, draws, width.
fn block_by_example(index: u32, stream: u32, arrangement: vec3<u32>) -> Block {
    let row = index / arrangement.z;
    let column = index % arrangement.z;
    let example = ${"first_example" if in_private else "state[4]"} + row % arrangement.x;
    let draw = ${step_low} * arrangement.y + row / arrangement.x;
    return Block(philox4x32(vec4<u32>(column / 4u, example, draw, stream), ${seed}), column % 4u);
}

// A multiple of 2^-24 in [0, 1).
fn uniform_of(block: Block) -> f32 {
    return f32(block.words[block.column] >> 8u) * 0x1p-24f;
}

fn normal_of(block: Block) -> f32 {
    let pair = select(block.words.xy, block.words.zw, block.column >= 2u);
    return box_muller(pair)[block.column & 1u];
}
