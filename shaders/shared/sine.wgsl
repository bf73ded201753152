// Sine and cosine of 2^octave x, whatever a driver makes of large arguments. x / 2 pi is taken in integers, so that no reassociation or
// contraction of floats can spoil the reduction, and so that an octave is a shift. The polynomials are Cephes' sinf and cosf, as in
// shared/normal.wgsl. The twins are Real::sin and Real::cos; src/real/tracked.rs has the error bound.

//# include "shared/mul_wide.wgsl"


// 2^octave x / 2 pi modulo 1 as a fraction of 2^32, for x >= 0 and 2^octave x < 2^30, rounded down, from 64 bits of 1 / 2 pi.
fn turn_of(x: f32, octave: u32) -> u32 {
    let bits = bitcast<u32>(x);
    let mantissa = (bits & 0x7fffffu) | 0x800000u;
    // 2^octave x is mantissa 2^shift. Below the range of `shift` lie only angles that need no reduction.
    let shift = clamp(i32(bits >> 23u) - 150 + i32(octave), -32, 31);
    // mantissa / 2 pi: 32 bits before the point and 64 behind it.
    let high = mul_wide(mantissa, 0x28be60dbu);
    let low = mul_wide(mantissa, 0x9391054au);
    let behind = high.x + low.y;
    let before = high.y + select(0u, 1u, behind < high.x);
    let offset = u32(shift) & 31u;
    let first = select(before, behind, shift >= 0);
    let second = select(behind, low.x, shift >= 0);
    // In two steps, because a shift by 32 is one by 0.
    return (first << offset) | ((second >> 1u) >> (31u - offset));
}

// (sin, cos) of 2^octave x + quarters pi / 2. Of an x that is not finite it is some number of [-1, 1].
fn sine_cosine(x: f32, octave: u32, quarters: u32) -> vec2<f32> {
    // Within an eighth of a turn the angle is what it is; the polynomials see at most pi / 4.
    let angle = abs(x) * f32(1u << octave);
    let turn = turn_of(abs(x), octave);
    let near = angle < 0.78;
    var quadrant = select((turn + 0x20000000u) >> 30u, 0u, near);
    var rest = select(f32(bitcast<i32>(turn - (quadrant << 30u))) * 0x1.921fb6p-30f, angle, near);
    if x < 0.0 {
        quadrant = 4u - quadrant;
        rest = -rest;
    }
    let z = rest * rest;
    let sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * rest + rest;
    let cosine = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5 * z + 1.0;
    switch (quadrant + quarters) & 3u {
        case 0u: { return vec2<f32>(sine, cosine); }
        case 1u: { return vec2<f32>(cosine, -sine); }
        case 2u: { return vec2<f32>(-sine, -cosine); }
        default: { return vec2<f32>(-cosine, sine); }
    }
}
