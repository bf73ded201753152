// The grid of a hash encoding (Müller et al. 2022): the cell and the fractions of a position, and the entries of a cell's corners.
//
// Along each axis p = x scale + 1/2, cell = floor(p), fraction = p - cell. As floats, the product and the sum would be fused on one
// device and rounded twice on another, and cells near a wall would differ. Here all of it is integers:
//   x in units of 2^-31 (cut off below; exact from 2^-8 on), times the 24 bits of the scale, shifted, is p in units of 2^-32 (cut off);
//   the cell is the high word, the fraction the upper 24 bits of the low one: a number that f32 holds as it is, and so it does 1 - it.
// Beside the exact p the fraction is less by at most 2^-24 + 2^-32 + scale 2^-31. (p as a float errs by up to scale 2^-23.)

//# include "shared/mul_wide.wgsl"

struct Level {
    scale: u32,       // the scale is this times 2^-(shift + 1)
    shift: u32,       // 1 to 31
    resolution: u32,  // R, vertices along an axis
    entries: u32,     // of the level's table
    first: u32,       // entries of the levels before it
    hashed: u32,      // 1 where the table has fewer entries than there are vertices
    unused: vec2<u32>,
}

// Cell and fraction, in units of 2^-24, along an axis. x below 0 counts as 0, above 1 as 1.
fn cell_along(level: Level, x: f32) -> vec2<u32> {
    // A float beyond the integers becomes the largest of them; the limit also keeps what a NaN may become within the grid.
    let steps = min(u32(max(x, 0.0) * 0x1p+31f), 0x80000000u);
    let product = mul_wide(steps, level.scale);
    let low = (product.y << (32u - level.shift)) | (product.x >> level.shift);
    let cell = (product.y >> level.shift) + (low >> 31u);
    return vec2<u32>(cell, (low + 0x80000000u) >> 8u);
}

// A fraction as the real that it is, exactly: up to 2^24 steps.
fn real_of(fraction: vec3<u32>) -> vec3<f32> {
    return vec3<f32>(fraction) * 0x1p-24f;
}

// The entries, in the level's table, of four vertices at one z: those at x and x + 1 at y, then at y + 1.
fn entries_at(level: Level, corner: vec2<u32>, z: u32) -> vec4<u32> {
    let x = corner.x + vec4<u32>(0u, 1u, 0u, 1u);
    let y = corner.y + vec4<u32>(0u, 0u, 1u, 1u);
    if level.hashed == 1u {
        // A power of two: the remainder is in the low bits.
        return (x ^ (y * 2654435761u) ^ vec4<u32>(z * 805459861u)) & vec4<u32>(level.entries - 1u);
    }
    // The far corner may be vertex R: in the next row, and from the last row on at the start. R^3 + R^2 + R is less than twice the entries,
    // so that this is the remainder.
    let place = x + level.resolution * (y + level.resolution * z);
    return select(place, place - level.entries, place >= vec4<u32>(level.entries));
}
