// The sinusoidal embedding of timesteps (Vaswani et al. 2017, section 3.5):
//
//   out[b, :] = ${"[cos, sin]" if cosine_first else "[sin, cos]"} of t[b] f_i,  f_i = max_period^(-i / (half - shift)),  i < half = dim / 2;  a last odd column is 0
//
// t: [batch] ${"reals, rounded to units of 2^-fraction_bits" if real else "in units of 2^-fraction_bits, two's complement" if fraction else "integers"}; out: [batch, dim]. f_i / 2 pi comes as a fraction of 2^32, so that t f_i is exact modulo a turn in integers: in floats
// the product's error grows with t, and drivers promise nothing of sin beyond pi.
//
// One invocation makes one element. Dispatch: ceil(count / WORKGROUP), folded into x and y.
// Cost: about 20 flops and 4 bytes an element.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    dim: u32,
    first_group: u32,  // workgroups of the line before this dispatch
    fraction_bits: u32,
    turns: array<vec4<u32>, ${words}>,
}

//# include "shared/bindings.wgsl"
//# include "shared/normal.wgsl"
//# if fraction
//# include "shared/mul_wide.wgsl"
//# endif

@compute @workgroup_size(WORKGROUP)
fn timestep_embedding(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let e = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if e >= params.count {
        return;
    }
    let half = params.dim / 2u;
    let column = e % params.dim;
    let i = column % half;
    //# if fraction
    let turn = params.turns[i / 4u][i % 4u];
    //# if real
    let word = bitcast<u32>(i32(round(t[e / params.dim] * f32(1u << params.fraction_bits))));
    //# else
    let word = t[e / params.dim];
    //# endif
    // Whole turns are above the word that is left after the fraction's bits. What is below 0 was taken for 2^32 more.
    let product = mul_wide(word, turn);
    let high = product.y - select(0u, turn, word >> 31u == 1u);
    let turned = (product.x >> params.fraction_bits) | (high << (32u - params.fraction_bits));
    //# else
    let turned = t[e / params.dim] * params.turns[i / 4u][i % 4u];
    //# endif
    // Rounded to 24 bits.
    let phase = (turned + 128u) >> 8u;
    let cosine_sine = unit_circle(phase);
    let value = select(cosine_sine.y, cosine_sine.x, (column < half) == ${"true" if cosine_first else "false"});
    out[e] = select(value, 0.0, column == 2u * half);
}
