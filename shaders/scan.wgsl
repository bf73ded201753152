// Where each ray's samples begin, and how many rays fit: base[i] = counts[0] + .. + counts[i - 1]
//
// k is the largest number of rays, from the first on, that have at most `capacity` samples together. base[i] = base[min(i, k)] for i = 0 ..= rays:
// the first ray that does not fit and all after it have no samples. base[rays + 1] = k.
// counts: [rays] u32, base: [rays + 2] u32.
//
// Sums saturate at capacity + 1, at most 2^31 - 1: two of them fit a u32, whatever the counts are, and saturating addition is associative, so that
// the order of the sums changes no bit.
// Tiles of 4 WORKGROUP rays, three dispatches (Blelloch 1990, "Prefix sums and their applications"):
//   tile_sums    totals[b] = the sum over tile b. A workgroup a tile, folded.
//   tile_starts  starts[b] = totals[0] + .. + totals[b - 1]; then k and base[k] behind them, from the tile in which `capacity` is passed.
//                One workgroup, which goes over the totals WORKGROUP at a time: 2^18 rays a turn.
//   write_base   base, from the tile's start on. A workgroup a tile, folded.
// Cost: about 12 integer operations and 12 bytes a ray.

override WORKGROUP: u32 = 256u;

struct Params {
    rays: u32,
    capacity: u32,
    tiles: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

var<workgroup> sums: array<u32, WORKGROUP>;

fn add(a: u32, b: u32) -> u32 {
    return min(a + b, params.capacity + 1u);
}

// The counts of an invocation's four rays; none beyond the end.
fn four_counts(first: u32) -> vec4<u32> {
    var four = vec4<u32>(0u);
    for (var i = 0u; i < 4u; i++) {
        if first + i < params.rays {
            four[i] = min(counts[first + i], params.capacity + 1u);
        }
    }
    return four;
}

// `own` summed over this invocation and all before it, which `sums` then holds of each.
fn inclusive_sum(local: u32, own: u32) -> u32 {
    workgroupBarrier();
    var sum = own;
    sums[local] = sum;
    workgroupBarrier();
    for (var reach = 1u; reach < WORKGROUP; reach *= 2u) {
        if local >= reach {
            sum = add(sum, sums[local - reach]);
        }
        workgroupBarrier();
        sums[local] = sum;
        workgroupBarrier();
    }
    return sum;
}

// The same over those before it alone. Not the difference: a saturated sum has none.
fn exclusive_sum(local: u32, own: u32) -> u32 {
    inclusive_sum(local, own);
    if local == 0u {
        return 0u;
    }
    return sums[local - 1u];
}

fn total(four: vec4<u32>) -> u32 {
    return add(add(four.x, four.y), add(four.z, four.w));
}
//# if stage == "sums"

@compute @workgroup_size(WORKGROUP)
fn tile_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = params.first_group + group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    let own = total(four_counts((tile * WORKGROUP + local) * 4u));
    let sum = inclusive_sum(local, own);
    if local == WORKGROUP - 1u {
        totals[tile] = sum;
    }
}
//# elif stage == "starts"

// The tile in which the capacity is passed, and the sum before it.
var<workgroup> over: u32;
var<workgroup> before: u32;

@compute @workgroup_size(WORKGROUP)
fn tile_starts(@builtin(local_invocation_index) local: u32) {
    if local == 0u {
        over = params.tiles;
        before = 0u;
    }
    var carry = 0u;
    for (var first = 0u; first < params.tiles; first += WORKGROUP) {
        let tile = first + local;
        var own = 0u;
        if tile < params.tiles {
            own = totals[tile];
        }
        let start = add(carry, exclusive_sum(local, own));
        if tile < params.tiles {
            starts[tile] = start;
            if start <= params.capacity && add(start, own) > params.capacity {
                over = tile;
                before = start;
            }
        }
        carry = add(carry, sums[WORKGROUP - 1u]);
    }
    workgroupBarrier();
    // Of no ray where all fit.
    let first = (over * WORKGROUP + local) * 4u;
    let four = four_counts(first);
    var sum = add(before, exclusive_sum(local, total(four)));
    for (var i = 0u; i < 4u; i++) {
        let after = add(sum, four[i]);
        if sum <= params.capacity && after > params.capacity {
            starts[params.tiles] = first + i;
            starts[params.tiles + 1u] = sum;
        }
        sum = after;
    }
    if local == 0u && over == params.tiles {
        starts[params.tiles] = params.rays;
        starts[params.tiles + 1u] = carry;
    }
}
//# else

@compute @workgroup_size(WORKGROUP)
fn write_base(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = params.first_group + group.y * groups.x + group.x;
    if tile >= params.tiles {
        return;
    }
    let first = (tile * WORKGROUP + local) * 4u;
    let four = four_counts(first);
    let last = starts[params.tiles + 1u];
    var sum = add(starts[tile], exclusive_sum(local, total(four)));
    for (var i = 0u; i < 4u; i++) {
        if first + i < params.rays {
            // No more than the last that fits.
            base[first + i] = min(sum, last);
        }
        sum = add(sum, four[i]);
    }
    if first == 0u {
        base[params.rays] = last;
        base[params.rays + 1u] = starts[params.tiles];
    }
}
//# endif
