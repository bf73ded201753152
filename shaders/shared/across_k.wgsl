// How a product reads `${operand.name}` where it lies across k: four consecutive columns of term k, at `place.x + k * stride + place.y`; columns past the last repeat. As in
// shared/along_k.wgsl a tile's whole blocks need no guard, and `load_` takes any k.

//# if tiles
//# if operand.aligned
fn first_${operand.name}(place: vec2<u32>, k: u32) -> u32 {
    return (place.x + k * ${operand.stride} + place.y) / 4u;
}

fn whole_${operand.name}(first: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(${operand.name}[first + k * (${operand.stride} / 4u)]);
}
//# else
fn first_${operand.name}(place: vec2<u32>, k: u32) -> vec4<u32> {
    return place.x + k * (${operand.stride}) + min(place.y + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.${operand.extent} - 1u));
}

fn whole_${operand.name}(first: vec4<u32>, k: u32) -> vec4<f32> {
    let at = first + k * (${operand.stride});
    return vec4<f32>(f32(${operand.name}[at.x]), f32(${operand.name}[at.y]), f32(${operand.name}[at.z]), f32(${operand.name}[at.w]));
}
//# endif

//# endif
//# if not tiles or tail
fn load_${operand.name}(place: vec2<u32>, k: u32) -> vec4<f32> {
    //# if guard_k
    if k >= params.k {
        return vec4<f32>();
    }
    //# endif
    let start = place.x + k * ${operand.stride};
    //# if operand.aligned
    return vec4<f32>(${operand.name}[(start + place.y) / 4u]);
    //# else
    let last = params.${operand.extent} - 1u;
    return vec4<f32>(
        f32(${operand.name}[start + min(place.y, last)]),
        f32(${operand.name}[start + min(place.y + 1u, last)]),
        f32(${operand.name}[start + min(place.y + 2u, last)]),
        f32(${operand.name}[start + min(place.y + 3u, last)]),
    );
    //# endif
}
//# endif
