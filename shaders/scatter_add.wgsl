// out[row, :] = sum of updates[b, :] over all b with index[b] = row
//
// No atomics: positions are first sorted by index, equal ones in their order, so that the sum's order never changes.
// updates: [count, width], index: [count] u32, out: [rows, width]. Indices from `rows` on are dropped.
// sorted: [count] of (index, position).
//
//# if stage == "tiles"
// sort_tiles: sorts each tile of 2^${tile} positions. One invocation a position counts those of its tile that come before it; 2^tile comparisons
//   of integers. Dispatch: ceil(count / WORKGROUP), folded.
//# elif stage == "merge"
// merge_runs: of each ${fan} sorted runs one. One invocation a position finds its place by bisection in each of the other runs: in those before its
//   own it comes behind its equals, in those after it before them, so that equal ones keep their order.
//   Dispatch: ceil(count / WORKGROUP), folded.
//# elif stage == "starts"
// find_starts: starts[row] = the first place in `sorted` whose index is at least `row`, for row = 0 ..= rows, by bisection.
//   Dispatch: ceil((rows + 1) / WORKGROUP), folded.
//# else
// scatter_add: sums the run of each row. One invocation makes ${span} ${"fours" if vector else "elements"} of a row, its neighbours' places in between.
//   Dispatch: ceil(units / WORKGROUP), folded.
//# endif
// Cost: count * width flops; 4 bytes an element of updates and of out; a position sorted takes 2^${tile} loads in its tile, and log2(run) in each run that is merged with its own.

override WORKGROUP: u32 = 64u;

//# if stage == "sum"
alias real = ${"vec4<f32>" if vector else "f32"};

struct Params {
    across: vec4<u32>,  // units of a row, to divide by
    units: u32,
    wide: u32,          // `real`s of a row
    first_group: u32,   // workgroups of the line before this dispatch
}

@group(0) @binding(0) var<storage, read> updates: array<real>;
@group(0) @binding(1) var<storage, read> sorted: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<real>;
@group(0) @binding(4) var<uniform> params: Params;

//# include "shared/divide.wgsl"
//# else
struct Params {
    count: u32,
    rows: u32,
    run: u32,          // log2 of a run's length; of a tile's
    first_group: u32,  // workgroups of the line before this dispatch
}
//# endif
//# if stage == "tiles"
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read_write> sorted: array<vec2<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn sort_tiles(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let b = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if b >= params.count {
        return;
    }
    let mine = index[b];
    let first = (b >> params.run) << params.run;
    let end = min(first + (1u << params.run), params.count);
    var rank = first;
    for (var other = first; other < end; other++) {
        let theirs = index[other];
        rank += select(0u, 1u, theirs < mine || (theirs == mine && other < b));
    }
    sorted[rank] = vec2<u32>(mine, b);
}
//# elif stage == "merge"
@group(0) @binding(0) var<storage, read> runs: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> sorted: array<vec2<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn merge_runs(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let place = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if place >= params.count {
        return;
    }
    let mine = runs[place];
    let own = place >> params.run;
    let first_run = own - own % ${fan}u;
    // How many of its own run come before it, and where the merged run begins.
    var rank = place - (own << params.run) + (first_run << params.run);
    for (var other = 1u; other < ${fan}u; other++) {
        let run = first_run + (own + other) % ${fan}u;
        let begin = min(run << params.run, params.count);
        let length = min(1u << params.run, params.count - begin);
        var before = 0u;
        for (var step = 1u << params.run; step > 0u; step /= 2u) {
            let reach = before + step;
            let theirs = runs[begin + min(reach, length) - 1u].x;
            let comes = theirs < mine.x || (theirs == mine.x && run < own);
            before = select(before, reach, reach <= length && comes);
        }
        rank += before;
    }
    sorted[rank] = mine;
}
//# elif stage == "starts"
@group(0) @binding(0) var<storage, read> sorted: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> starts: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn find_starts(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if row > params.rows {
        return;
    }
    var low = 0u;
    var high = params.count;
    while low < high {
        let middle = (low + high) / 2u;
        if sorted[middle].x < row {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    starts[row] = low;
}
//# else

@compute @workgroup_size(WORKGROUP)
fn scatter_add(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let unit = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if unit >= params.units {
        return;
    }
    let row = divided(unit, params.across);
    let column = unit - row * params.across.x;
    //# for s in range(span)
    var sum${s} = real(0.0);
    //# endfor
    let end = starts[row + 1u];
    for (var at = starts[row]; at < end; at++) {
        let from_row = sorted[at].y * params.wide + column;
        //# for s in range(span)
        sum${s} += updates[from_row${" + " ~ s ~ "u * params.across.x" if s > 0}];
        //# endfor
    }
    //# for s in range(span)
    out[row * params.wide + column${" + " ~ s ~ "u * params.across.x" if s > 0}] = sum${s};
    //# endfor
}
//# endif
