// Quotients by a divisor that the host knew, without dividing: exact for every u32 (Granlund & Montgomery 1994, figure 4.1).
// `by` is what src/kernels/divide.rs makes of a divisor: itself, multiplier, two shifts. The remainder is n - quotient * by.x.

//# include "shared/mul_wide.wgsl"

fn divided(n: u32, by: vec4<u32>) -> u32 {
    let high = mul_wide(by.y, n).y;
    return (high + ((n - high) >> by.z)) >> by.w;
}
