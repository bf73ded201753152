// The fine samples of NeRF (Mildenhall et al. 2020, section 5.2), merged with the coarse ones: `sample_pdf` of nerf-pytorch and the sort after it.
//
// z: [rays, samples], ascending; weights: [rays, samples]; out: [rays, samples + count], ascending. Of each ray:
//
//   edges     e[j] = (z[j] + z[j + 1]) / 2,  j < samples - 1
//   masses    m[j] = weights[j + 1] + 1e-5 between e[j] and e[j + 1],  sums c[j] = m[0] + .. + m[j - 1]
//   a sample  u total, total = c[samples - 2], lies between c[j] and c[j + 1]:   e[j] + (u total - c[j]) / m[j] (e[j + 1] - e[j])
//
//# if given
// u: uniforms [rays, count], in [0, 1].
//# else
// u = i / (count - 1), i < count.
//# endif
// Where m[j] < 1e-5 total, total stands in place of m[j] in the quotient, so that the sample is at e[j]; u = 1 is the last edge. Both are theirs.
// What they divide first, we divide last: sums of masses have no rounding of a quotient in them, and the last one is the total.
//
// Nothing is sorted: the place of a number is how many come before it. Floats are compared as integers in the same order, so that whatever
// they are, each gets a place of its own.
// A workgroup has one ray; its first invocation adds up the masses, then all stride over the samples. Workgroup memory: 4 (2 samples + count) bytes.
// Dispatch: one workgroup a ray, folded into x and y.
// Cost: (samples + count)^2 comparisons a ray; 4 bytes of each number in and out.

override WORKGROUP: u32 = 64u;
override SAMPLES: u32 = 64u;
override COUNT: u32 = 128u;
override MERGED: u32 = 192u;  // SAMPLES + COUNT

struct Params {
    rays: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"


var<workgroup> sums: array<f32, SAMPLES>;
var<workgroup> keys: array<u32, MERGED>;

// Unsigned integers in the order of the floats, and back.
fn key_of(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >> 31u == 1u));
}

fn edge(first: u32, j: u32) -> f32 {
    return 0.5 * (z[first + j] + z[first + j + 1u]);
}

@compute @workgroup_size(WORKGROUP)
fn sample_pdf(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let ray = params.first_group + group.y * groups.x + group.x;
    if ray >= params.rays {
        return;
    }
    let first = ray * SAMPLES;
    let last = SAMPLES - 2u;
    if local == 0u {
        var sum = 0.0;
        sums[0] = sum;
        for (var j = 0u; j < last; j++) {
            sum += weights[first + j + 1u] + 1e-5;
            sums[j + 1u] = sum;
        }
    }
    for (var i = local; i < SAMPLES; i += WORKGROUP) {
        keys[i] = key_of(z[first + i]);
    }
    workgroupBarrier();
    let total = sums[last];
    for (var i = local; i < COUNT; i += WORKGROUP) {
        //# if given
        let u = uniforms[ray * COUNT + i];
        //# else
        // The last one is 1 whatever a quotient of equals is.
        let u = select(f32(i) / f32(max(COUNT, 2u) - 1u), 1.0, i > 0u && i + 1u == COUNT);
        //# endif
        let reached = u * total;
        // How many of the sums are not above it.
        var low = 0u;
        var high = last + 1u;
        while low < high {
            let middle = (low + high) / 2u;
            if sums[middle] <= reached {
                low = middle + 1u;
            } else {
                high = middle;
            }
        }
        let j = max(low, 1u) - 1u;
        var value = edge(first, j);
        if j < last {
            let mass = weights[first + j + 1u] + 1e-5;
            let share = (reached - sums[j]) / select(mass, total, mass < 1e-5 * total);
            value += share * (edge(first, j + 1u) - value);
        }
        keys[SAMPLES + i] = key_of(value);
    }
    workgroupBarrier();
    for (var i = local; i < MERGED; i += WORKGROUP) {
        let key = keys[i];
        var rank = 0u;
        for (var j = 0u; j < MERGED; j++) {
            let other = keys[j];
            rank += select(0u, 1u, other < key || (other == key && j < i));
        }
        out[ray * MERGED + rank] = value_of(key);
    }
}
