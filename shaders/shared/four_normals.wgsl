// The noise of elements first to first + 3, first a multiple of 4: one Philox block where they are one, else one block an element.
// `params` says what it belongs to: stream, examples, draws, width.
fn four_normals(first: u32) -> vec4<f32> {
    //# if not by_example
    let words = block_by_step(first, params.stream).words;
    return vec4<f32>(box_muller(words.xy), box_muller(words.zw));
    //# else
    let arrangement = vec3<u32>(params.examples, params.draws, params.width);
    //# if whole_blocks
    // Rows are of whole blocks, so that four elements never lie in two of them.
    let words = block_by_example(first, params.stream, arrangement).words;
    return vec4<f32>(box_muller(words.xy), box_muller(words.zw));
    //# else
    return vec4<f32>(
        normal_of(block_by_example(first, params.stream, arrangement)),
        normal_of(block_by_example(first + 1u, params.stream, arrangement)),
        normal_of(block_by_example(first + 2u, params.stream, arrangement)),
        normal_of(block_by_example(first + 3u, params.stream, arrangement)),
    );
    //# endif
    //# endif
}
