// The positional encoding of NeRF (Mildenhall et al. 2020, eq. 4) in the order of nerf-pytorch, without a factor of pi:
//
//   out[n, :] = [x, sin(x), cos(x), sin(2 x), cos(2 x), .., sin(2^(octaves - 1) x), cos(2^(octaves - 1) x)],   x = x[n, :], each block all of it
//
//# if order > 0
// This one: its derivative number ${order}, every element by its own coordinate. With each, a sine or cosine moves on by a quarter of a turn and
// grows by 2^octave; the first block becomes 1 and then 0.
//
//# endif
// x: [rows, width]; out: [rows, width (1 + 2 octaves)]. |2^octave x| < 2^30: sine and cosine are of our own (shared/sine.wgsl), because
// drivers promise nothing beyond pi. An x that is not finite is seen in the first block alone.
//
// One invocation makes the sine and the cosine of one coordinate in one octave; those of octave 0 also write the first block. Neighbours have
// neighbouring coordinates. Dispatch: ceil(rows * octaves * width / WORKGROUP), folded into x and y.
// Cost: about 70 flops (half of them integer) and 8 bytes written a pair.

override WORKGROUP: u32 = 64u;

struct Params {
    pairs: u32,        // rows * octaves * width
    width: u32,
    octaves: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"


//# include "shared/sine.wgsl"


@compute @workgroup_size(WORKGROUP)
fn frequency_encode(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let pair = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if pair >= params.pairs {
        return;
    }
    let coordinate = pair % params.width;
    let octave = pair / params.width % params.octaves;
    let row = pair / (params.width * params.octaves);
    let value = x[row * params.width + coordinate];
    let first = row * params.width * (1u + 2u * params.octaves) + coordinate;
    if octave == 0u {
        out[first] = ${["value", "1.0"][order] if order < 2 else "0.0"};
    }
    //# if order > 0
    let rate = f32(1u << octave);
    //# endif
    let both = sine_cosine(value, octave, ${order % 4}u)${growth};
    out[first + (1u + 2u * octave) * params.width] = both.x;
    out[first + (2u + 2u * octave) * params.width] = both.y;
}
