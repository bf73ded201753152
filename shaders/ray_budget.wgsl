// How many rays the next steps should have, from how many samples this step's had
//
//   kept    = min(k, active_rays)          rays that fit
//   samples = base[rays]                   their samples
//   next    = clamp(floor(kept * aim / max(samples, 1)), least, most) on every 16th step, else active_rays
//
// base: [rays + 2] u32 as scan writes it, k its last; active_rays: [1] f32; out: [3] f32 = (kept, samples, next).
// The quotient is of integers, bit by bit, so that every device has the same: a division of floats may round either way at a whole number.
// Dispatch: one invocation. Cost: 12 bytes.

struct Params {
    rays: u32,
    aim: u32,    // samples that a step should have
    least: u32,
    most: u32,
}

//# include "shared/bindings.wgsl"
//# include "shared/philox.wgsl"

// floor(a * b / divisor), at most 2^32 - 1. The divisor is below 2^31.
fn scaled(a: u32, b: u32, divisor: u32) -> u32 {
    let product = mul_wide(a, b);
    var rest = product.y;
    if rest >= divisor {
        return 0xffffffffu;
    }
    var quotient: u32;
    for (var bit = 32u; bit > 0u; bit--) {
        rest = (rest << 1u) | ((product.x >> (bit - 1u)) & 1u);
        quotient <<= 1u;
        if rest >= divisor {
            rest -= divisor;
            quotient |= 1u;
        }
    }
    return quotient;
}

@compute @workgroup_size(1)
fn ray_budget() {
    let now = u32(active_rays[0]);
    let kept = min(base[params.rays + 1u], now);
    let samples = base[params.rays];
    var next = active_rays[0];
    if state[0] % 16u == 0u {
        next = f32(clamp(scaled(kept, params.aim, max(samples, 1u)), params.least, params.most));
    }
    out[0] = f32(kept);
    out[1] = f32(samples);
    out[2] = next;
}
