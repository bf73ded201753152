// A quantile of each row of x [rows, length], linear between neighbours in order (numpy's and PyTorch's usual kind):
//
//   out[row] = low + share (high - low),   low the element of rank `below` from 0 in rising order, high the next
//
// Nothing is sorted. Floats are compared as integers that are in the same order; the key of low is found a byte at a time from the top:
// a histogram of that byte over the elements that have the bytes before it says which one the rank falls into. High is an equal of low
// where there is one more, else the smallest key above it.
// A workgroup has one row, its invocations stride along it, and the histogram is counted in workgroup memory: integers, in any order.
// Dispatch: rows workgroups, folded into x and y.
// Cost: about 40 flops an element; 4 bytes an element of x and of the result.

override WORKGROUP: u32 = 64u;

struct Params {
    rows: u32,
    length: u32,
    below: u32,
    share: f32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

const NONE: u32 = 0xffffffffu;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> above: atomic<u32>;

// Unsigned integers in the order of the floats; -0 and 0 are equal.
fn key_of(index: u32) -> u32 {
    let value = x[index];
    let bits = select(bitcast<u32>(value), 0u, value == 0.0);
    return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >> 31u == 1u));
}

@compute @workgroup_size(WORKGROUP)
fn quantile(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = params.first_group + group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let first = row * params.length;
    // The bytes that are known, where they stand, the rank among the elements that have them, and how many those are.
    var known = 0u;
    var mask = 0u;
    var rank = params.below;
    var equals: u32;
    atomicStore(&above, NONE);
    for (var byte = 0u; byte < 4u; byte++) {
        let shift = 24u - 8u * byte;
        for (var i = local; i < 256u; i += WORKGROUP) {
            atomicStore(&histogram[i], 0u);
        }
        workgroupBarrier();
        for (var i = local; i < params.length; i += WORKGROUP) {
            let key = key_of(first + i);
            if (key & mask) == known {
                atomicAdd(&histogram[(key >> shift) & 255u], 1u);
            }
        }
        workgroupBarrier();
        // The first bin whose elements and those before it are more than the rank: every invocation finds the same.
        var bin = 0u;
        var before = 0u;
        for (var i = 0u; i < 255u; i++) {
            let through = before + atomicLoad(&histogram[i]);
            let passed = bin == i && through <= rank;
            before = select(before, through, passed);
            bin = select(bin, i + 1u, passed);
        }
        equals = atomicLoad(&histogram[bin]);
        rank -= before;
        known |= bin << shift;
        mask |= 255u << shift;
        workgroupBarrier();
    }
    for (var i = local; i < params.length; i += WORKGROUP) {
        let key = key_of(first + i);
        if key > known {
            atomicMin(&above, key);
        }
    }
    workgroupBarrier();
    let next = atomicLoad(&above);
    if local == 0u {
        let low = value_of(known);
        let high = value_of(select(next, known, rank + 1u < equals || next == NONE));
        out[row] = low + params.share * (high - low);
    }
}
