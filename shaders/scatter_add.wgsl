// out[row, :] = sum of updates[b, :] over all b with index[b] = row
//
// No atomics: positions are first sorted by index, equal ones in their order, so that the sum's order never changes.
// updates: [count, width], index: [count] u32, out: [rows, width]. Indices from `rows` on are dropped.
//
// rank_positions: order[rank(b)] = b, where rank counts the positions that come before b. One invocation a position; count^2
//   comparisons of integers. Dispatch: ceil(count / WORKGROUP), folded.
// scatter_add: one invocation an element of out finds its row's run by bisection and sums it; a row without positions is zero.
//   Dispatch: ceil(rows * width / WORKGROUP), folded.
// Cost: count * width flops; 4 bytes an element of updates and of out.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    rows: u32,
    width: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# if stage == "rank"
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read_write> order: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn rank_positions(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let b = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if b >= params.count {
        return;
    }
    let mine = index[b];
    var rank = 0u;
    for (var other = 0u; other < params.count; other++) {
        let theirs = index[other];
        rank += select(0u, 1u, theirs < mine || (theirs == mine && other < b));
    }
    order[rank] = b;
}
//# else
@group(0) @binding(0) var<storage, read> updates: array<f32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn scatter_add(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let element = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if element >= params.rows * params.width {
        return;
    }
    let row = element / params.width;
    let column = element % params.width;
    var low = 0u;
    var high = params.count;
    while low < high {
        let middle = (low + high) / 2u;
        if index[order[middle]] < row {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    var sum = 0.0;
    while low < params.count && index[order[low]] == row {
        sum += updates[order[low] * params.width + column];
        low++;
    }
    out[element] = sum;
}
//# endif
