// Two standard normals from two random words, by Box-Muller, with polynomials of our own, because a driver's log, sin and cos may
// differ by more than a test can allow. The twin is src/reference/random.rs, which states the error bound.

// -2 ln(u), u = (n + 1) 2^-24 in (0, 1]. The mantissa is brought to [sqrt(1/2), sqrt(2)); next to u = 1 the exponent part is zero
// and the polynomial's argument exact, so the result keeps its relative accuracy there. Coefficients: Cephes logf.
fn minus_two_log(n: u32) -> f32 {
    let bits = bitcast<u32>(f32(n + 1u));
    let upper = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
    let halved = upper > 0x1.6a09e6p+0f;
    let exponent = i32(bits >> 23u) - select(151, 150, halved);
    let f = select(upper, 0.5 * upper, halved) - 1.0;
    let square = f * f;
    var p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    let e = f32(exponent);
    // ln 2 in two parts, the first exact in a product with a small integer.
    let log_u = (p * f * square + e * -2.12194440e-4f) - 0.5 * square + f + e * 0.693359375f;
    return -2.0 * log_u;
}

// cos and sin of 2 pi w / 2^24, w < 2^24: the octant is taken from the integer, so the polynomials see at most pi / 4.
fn unit_circle(w: u32) -> vec2<f32> {
    let quadrant = (w + 0x200000u) >> 22u;
    let rest = bitcast<i32>(w - (quadrant << 22u));
    let x = f32(rest) * 0x1.921fb6p-22f;
    let z = x * x;
    let sine = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
    let cosine = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5 * z + 1.0;
    // Quarter turns exchange the two and change signs, which are bits: cosine's in the second and third quarter, sine's in the last two.
    let odd = (quadrant & 1u) == 1u;
    let along = bitcast<u32>(select(cosine, sine, odd)) ^ (((quadrant + 1u) & 2u) << 30u);
    let across = bitcast<u32>(select(sine, cosine, odd)) ^ ((quadrant & 2u) << 30u);
    return vec2<f32>(bitcast<f32>(along), bitcast<f32>(across));
}

fn box_muller(words: vec2<u32>) -> vec2<f32> {
    return sqrt(minus_two_log(words.x >> 8u)) * unit_circle(words.y >> 8u);
}
