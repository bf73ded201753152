// The k largest of each run of `length` in x [outer, length, inner]; among equals the first count.
//
// ${"out[outer, length, inner] = 1 where x is one of them, else 0" if mask else "out[outer, k, inner] = their positions in the run, the largest first"}
//
// Nothing is sorted. Floats are compared as integers that are in the same order; the k-th largest of these is found bit by bit from the
// top, by counting how many are not below a candidate: 32 passes over the run, whatever k is. Its equals are then cut off by position in
// the same way.
// A workgroup has one run, its invocations stride along it, and the counts are added in workgroup memory: integers, in any order.
// Dispatch: outer * inner workgroups, folded into x and y.
// Cost: 32 + log2(length) comparisons an element; 4 bytes an element of x and of the result.

override WORKGROUP: u32 = 64u;

struct Params {
    runs: u32,
    length: u32,
    inner: u32,
    k: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

// Two, used in turn: one is cleared while the other counts.
var<workgroup> total: array<atomic<u32>, 2>;

// Unsigned integers in the order of the floats; -0 and 0 are equal.
fn key_of(index: u32) -> u32 {
    let value = x[index];
    let bits = select(bitcast<u32>(value), 0u, value == 0.0);
    return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}

@compute @workgroup_size(WORKGROUP)
fn top_k(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let run = params.first_group + group.y * groups.x + group.x;
    if run >= params.runs {
        return;
    }
    let first = run / params.inner * params.length * params.inner + run % params.inner;
    if local < 2u {
        atomicStore(&total[local], 0u);
    }
    workgroupBarrier();
    var turn = 0u;
    // The largest key that at least k elements are not below: the k-th largest.
    var kth = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
        let candidate = kth | (0x80000000u >> bit);
        var own = 0u;
        for (var i = local; i < params.length; i += WORKGROUP) {
            own += select(0u, 1u, key_of(first + i * params.inner) >= candidate);
        }
        atomicAdd(&total[turn], own);
        workgroupBarrier();
        let count = atomicLoad(&total[turn]);
        if local == 0u {
            atomicStore(&total[1u - turn], 0u);
        }
        workgroupBarrier();
        turn = 1u - turn;
        kth = select(kth, candidate, count >= params.k);
    }
    // How many are above it: the others of the k are its equals, the first of them.
    var own = 0u;
    for (var i = local; i < params.length; i += WORKGROUP) {
        own += select(0u, 1u, key_of(first + i * params.inner) > kth);
    }
    atomicAdd(&total[turn], own);
    workgroupBarrier();
    let wanted = params.k - atomicLoad(&total[turn]);
    if local == 0u {
        atomicStore(&total[1u - turn], 0u);
    }
    workgroupBarrier();
    turn = 1u - turn;
    // The last position that is taken: before it are fewer equals than wanted.
    var last = 0u;
    for (var bit = firstLeadingBit(params.length) + 1u; bit > 0u; bit--) {
        let candidate = last | (1u << (bit - 1u));
        own = 0u;
        for (var i = local; i < min(candidate, params.length); i += WORKGROUP) {
            own += select(0u, 1u, key_of(first + i * params.inner) == kth);
        }
        atomicAdd(&total[turn], own);
        workgroupBarrier();
        let count = atomicLoad(&total[turn]);
        if local == 0u {
            atomicStore(&total[1u - turn], 0u);
        }
        workgroupBarrier();
        turn = 1u - turn;
        last = select(last, candidate, count < wanted);
    }
    for (var i = local; i < params.length; i += WORKGROUP) {
        let key = key_of(first + i * params.inner);
        let taken = key > kth || (key == kth && i <= last);
        //# if mask
        out[first + i * params.inner] = select(0.0, 1.0, taken);
        //# else
        if taken {
            var rank = 0u;
            for (var j = 0u; j < params.length; j++) {
                let other = key_of(first + j * params.inner);
                rank += select(0u, 1u, other > key || (other == key && j < i));
            }
            out[run / params.inner * params.k * params.inner + rank * params.inner + run % params.inner] = i;
        }
        //# endif
    }
}
