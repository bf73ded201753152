// The unit of a sum in fixed point: 2^exponent, of which everything that is added up is a whole number.
//
// `bound` is at least the sum of the magnitudes of all that can be added to one place; it is 0 or more, or no number. Its bits are raised
// by 2^12 of their last places (a factor of 1 + 2^-12 at least: the rounding of the bound itself), and the power of two that is not below
// is 2^${bits} units. So sums stay within 2^${bits} and half a unit for each term. Units below 2^-126 would be lost where f32 has no
// denormals; there the unit is coarser than it need be.
fn unit_exponent(bound: f32) -> i32 {
    let raised = (bitcast<u32>(bound) & 0x7fffffffu) + 0x1000u;
    // Rounded up to a power of two: one is added to the exponent unless all bits below it are 0.
    let exponent = i32((raised + 0x7fffffu) >> 23u) - 127;
    return max(exponent - ${bits}, -126);
}

// 2^exponent, for exponents of normal numbers.
fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(exponent + 127) << 23u);
}

// Whether a bound is no number that a unit can be made of: a term was infinite or NaN, or the sum too large for f32.
fn is_lost(bound: f32) -> bool {
    return (bitcast<u32>(bound) & 0x7f800000u) == 0x7f800000u;
}
