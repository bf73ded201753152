// How a product reads `${operand.name}` where it lies along k: four consecutive terms of a row, at `row + k`. A tile's whole blocks need no guard: `first_` is what of
// the address belongs to the invocation, `whole_` adds the block's. `load_` takes any k; k past the end is zero.

//# if tiles
fn first_${operand.name}(row: u32, k: u32) -> u32 {
    return ${"(row + k) / 4u" if operand.aligned else "row + k"};
}

fn whole_${operand.name}(first: u32, k: u32) -> vec4<f32> {
    //# if operand.aligned
    return vec4<f32>(${operand.name}[first + k / 4u]);
    //# else
    let at = first + k;
    return vec4<f32>(f32(${operand.name}[at]), f32(${operand.name}[at + 1u]), f32(${operand.name}[at + 2u]), f32(${operand.name}[at + 3u]));
    //# endif
}

//# endif
//# if not tiles or tail
fn load_${operand.name}(row: u32, k: u32) -> vec4<f32> {
    //# if guard_k
    if k >= params.k {
        return vec4<f32>();
    }
    //# endif
    let start = row + k;
    //# if operand.aligned
    return vec4<f32>(${operand.name}[start / 4u]);
    //# else
    let last = params.k - 1u - k;
    return vec4<f32>(
        f32(${operand.name}[start]),
        select(0.0, f32(${operand.name}[start + min(1u, last)]), last >= 1u),
        select(0.0, f32(${operand.name}[start + min(2u, last)]), last >= 2u),
        select(0.0, f32(${operand.name}[start + min(3u, last)]), last >= 3u),
    );
    //# endif
}
//# endif
