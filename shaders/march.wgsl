// Samples of rays wherever an occupancy grid is occupied
//
//# if cascades > 1
//   t_k = (k + jitter) dt,   x_k = origin + t_k direction,   dt = sqrt(3) / (steps 2^(cascades - 1)),   k = 0, 1, ..
//
// The scene is the unit cube. Cascade c of ${cascades} is a grid over the cube of side 2^(c - (cascades - 1)) around its middle; a place is looked up in the
// first that holds it. A ray has the samples x_k in occupied cells, the first `most` of them.
//# if octave > 0
// Steps grow with the distance, in octaves of ${octave} steps each: to t = ${octave} dt they are dt long, then from there to 2^o times as far 2^(o - 1) dt, to
// 2^(cascades - 1) dt. That is a cone (a step is at most t / ${octave}) whose every t_k is one rounded product.
//# endif
//# else
//   t_k = (k + jitter) dt,   x_k = origin + t_k direction,   dt = sqrt(3) / steps,   k = 0, 1, ..
//
// A ray has the samples x_k in [0, 1)^3 whose cell floor(x_k resolution) is occupied, the first `steps` of them.
//# endif
// The lattice begins at the ray's origin, not at the box: it is the same as t = t_near + (i + jitter) dt with t_near the last multiple of dt before the
// box, and no rounded division decides where a sample is.
// rays: [rays, 6] f32, origin and direction (of length 1) in the unit cube's coordinates; jitter: [rays] f32 in [0, 1); bits: [${"cascades " if cascades > 1 else ""}resolution^3 / 32]
// u32, cell x + resolution (y + resolution z) is bit cell % 32 of word cell / 32${", behind those of the cascades before" if cascades > 1 else ""}.
//
//# if stage == "count"
// counts[r]: how many samples ray r has; 0 from ray `active_rays` on.
//# else
// samples: [samples, 4] f32, x y z t; those of ray r in rows base[r] .. base[r + 1], which scan makes of their counts. Where a ray has fewer samples
// than rows, and from the last ray's end on, rows are zero.
//# endif
//
// Instant-NGP (Mueller et al. 2022, appendix E) marches so, but leaves empty cells in one go; here each point of the lattice in the box is looked at, for
// one bit. Counting and writing share `visit`, whose products are rounded (see there), so that both take the same samples, on every device.
// One invocation a ray. Dispatch: ceil(${"rays" if stage == "count" else "max(rays, samples / 64)"} / WORKGROUP), folded into x and y.
// Cost: about ${40 if cascades > 1 else 20} flops and 4 bytes a step in the box, ${"32" if stage == "count" else "36"} bytes a ray${"" if stage == "count" else ", 16 a sample"}.

override WORKGROUP: u32 = 64u;

struct Params {
    rays: u32,
    resolution: u32,   // cells along an axis, a power of two
    ${"most" if cascades > 1 else "steps"}: u32,
    dt: f32,
    samples: u32,
    invocations: u32,  // those that clear what lies behind the last sample
    zero: u32,         // 0
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

// Beyond it k + jitter has no fraction, and (far from any scene) no ray any samples.
const MOST_STEPS: f32 = 0x1p23f;

struct Ray {
    origin: vec3<f32>,
    direction: vec3<f32>,
    jitter: f32,
    begin: u32,         // no sample before it is in the cube,
    end: u32,           // nor from it on
}

struct Visit {
    sample: vec4<f32>,  // x, y, z, t
    occupied: bool,
}

// A product, or a sum, as f32 holds it. A compiler may contract a product with the sum that it goes into, in one kernel and not in the next, or take the
// terms of a sum in another order, and move a sample by an ULP across a wall; not where bits lie between, with a zero of which it knows nothing.
fn rounded(product: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(product) ^ params.zero);
}

fn rounded3(product: vec3<f32>) -> vec3<f32> {
    return bitcast<vec3<f32>>(bitcast<vec3<u32>>(product) ^ vec3<u32>(params.zero));
}

// Ray r, from a step before the cube to a step behind it. Its begin and end may err by that, and by 2^-16 of their distance: 100 times what the
// divisions do.
fn ray_at(r: u32) -> Ray {
    let origin = vec3<f32>(rays[6u * r], rays[6u * r + 1u], rays[6u * r + 2u]);
    let direction = vec3<f32>(rays[6u * r + 3u], rays[6u * r + 4u], rays[6u * r + 5u]);
    // Along such an axis a ray stays where it is: it meets no wall.
    let parallel = abs(direction) < vec3<f32>(1e-9);
    let inverse = 1.0 / select(direction, vec3<f32>(1e-9), parallel);
    let low = -origin * inverse;
    let high = (1.0 - origin) * inverse;
    let enters = select(min(low, high), vec3<f32>(0.0), parallel);
    let leaves = select(max(low, high), vec3<f32>(1e9), parallel);
    let near = max(max(enters.x, enters.y), max(enters.z, 0.0));
    let far = min(min(leaves.x, leaves.y), leaves.z);
    //# if octave > 0
    let begin = u32(clamp(number_at(near * (1.0 - 0x1p-16f) / params.dt) - 1.0, 0.0, MOST_STEPS));
    let end = u32(clamp(number_at(far * (1.0 + 0x1p-16f) / params.dt) + 2.0, 0.0, MOST_STEPS));
    //# else
    let begin = u32(clamp(near * (1.0 - 0x1p-16f) / params.dt - 1.0, 0.0, MOST_STEPS));
    let end = u32(clamp(far * (1.0 + 0x1p-16f) / params.dt + 2.0, 0.0, MOST_STEPS));
    //# endif
    return Ray(
        origin,
        direction,
        jitter[r],
        begin,
        // A diagonal of the cube, and the margins: it ends even where numbers are no numbers.
        min(end, begin + ${lattice ~ "u" if cascades > 1 else "params.steps"} + 300u),
    );
}
//# if octave > 0

// The number k, with its fraction, of the place on the lattice that is so many of the shortest steps away.
fn number_at(away: f32) -> f32 {
    var octaves = 0.0;
    var length = 1.0;
    for (var o = 0u; o < ${cascades}u; o++) {
        if away >= ${octave}.0 * length {
            octaves += 1.0;
            length *= 2.0;
        }
    }
    // In octave o from 1 on steps are 2^(o - 1), and its first is number 0 of it at octave of them.
    let step = max(0.5 * length, 1.0);
    return select(away, ${octave}.0 * (octaves - 1.0) + away / step, octaves > 0.0);
}
//# endif

// Sample k of a ray, and whether its cell is occupied.
fn visit(ray: Ray, k: u32) -> Visit {
    //# if octave > 0
    let o = min(k / ${octave}u, ${cascades}u);
    let within = k - o * ${octave}u + select(0u, ${octave}u, o > 0u);
    let t = rounded((f32(within) + ray.jitter) * (params.dt * f32(1u << (max(o, 1u) - 1u))));
    //# else
    let t = rounded((f32(k) + ray.jitter) * params.dt);
    //# endif
    let position = ray.origin + rounded3(t * ray.direction);
    let sample = vec4<f32>(position, t);
    //# if cascades > 1
    // The first cascade in whose cube it is, by the exponent of its distance from the middle. The sum before it is rounded, too: Mesa 26.2 takes the middle off
    // the origin once a ray otherwise, and adds the product to that.
    let from_middle = rounded3(position) - 0.5;
    let away = max(max(abs(from_middle.x), abs(from_middle.y)), abs(from_middle.z)) * ${2 ** cascades}.0;
    let cascade = u32(clamp(i32(bitcast<u32>(away) >> 23u) - 126, 0, ${cascades}));
    if cascade >= ${cascades}u {
        return Visit(sample, false);
    }
    // Powers of two: exact, but for one sum. Rounded up it may be 1, which is the last cell's.
    let placed = from_middle * f32(1u << (${cascades - 1}u - cascade)) + 0.5;
    let c = min(vec3<u32>(placed * f32(params.resolution)), vec3<u32>(params.resolution - 1u));
    let index = c.x + params.resolution * (c.y + params.resolution * (c.z + params.resolution * cascade));
    //# else
    // Exact: the resolution is a power of two.
    let cell = floor(position * f32(params.resolution));
    if any(cell < vec3<f32>(0.0)) || any(cell >= vec3<f32>(f32(params.resolution))) {
        return Visit(sample, false);
    }
    let c = vec3<u32>(cell);
    let index = c.x + params.resolution * (c.y + params.resolution * c.z);
    //# endif
    return Visit(sample, ((bits[index / 32u] >> (index % 32u)) & 1u) == 1u);
}
//# if stage == "count"

@compute @workgroup_size(WORKGROUP)
fn march_count(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let r = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if r >= params.rays {
        return;
    }
    var count = 0u;
    if f32(r) < active_rays[0] {
        let ray = ray_at(r);
        for (var k = ray.begin; k < ray.end; k++) {
            count += u32(visit(ray, k).occupied);
        }
    }
    counts[r] = min(count, params.${"most" if cascades > 1 else "steps"});
}
//# else

@compute @workgroup_size(WORKGROUP)
fn march_write(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let r = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if r < params.rays {
        let ray = ray_at(r);
        var row = base[r];
        let end = min(base[r + 1u], params.samples);
        for (var k = ray.begin; k < ray.end && row < end; k++) {
            let at = visit(ray, k);
            if at.occupied {
                samples[row] = at.sample;
                row++;
            }
        }
        for (; row < end; row++) {
            samples[row] = vec4<f32>(0.0);
        }
    }
    if r < params.invocations {
        for (var row = base[params.rays] + r; row < params.samples; row += params.invocations) {
            samples[row] = vec4<f32>(0.0);
        }
    }
}
//# endif
