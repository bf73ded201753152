// out[i] = source[place(i)], or a fill value where that place lies outside
//
// Permute, transpose, slice, pad, copy: each axis of the result has a size, a stride in the source, an offset that is added to
// its coordinate, and the size that the coordinate must then stay below. Elements are moved as bits, whatever their type.
//
//# if block
// Here an axis whose neighbours are neighbours in the source does not come last: ${variant}. One invocation loads ${loads} vec4 along that
// axis, and stores ${stores | length} along the last one. Blocks lie in a plane: i along the result's last axis, j along the source's. A workgroup
// takes TILE_I by TILE_J of them, so that its neighbours load neighbours in some and store neighbours in other of the memory's lines.
// Dispatch: ceil(blocks of i / TILE_I) * ceil(blocks of j / TILE_J) * sizes of the other axes, folded into x and y above 65,535.
//# else
// A unit is ${"four neighbours of the last axis" if vector else "one element"}. One invocation moves ${per_thread}.
// Dispatch: ceil(units / (WORKGROUP * ${per_thread})), folded into x and y above 65,535.
//# endif
// Cost: no flops; 8 bytes an element.

//# include "shared/divide.wgsl"

//# if block
override TILE_I: u32 = 16u;
override TILE_J: u32 = 16u;

// Places and steps are in vec4.
struct Along {
    blocks: u32,
    source: u32,  // from one block to the next
    out: u32,
    step: u32,    // from one load of a block to the next; of j from one store to the next
}

struct Axis {
    size: vec4<u32>,  // to divide by
    source: u32,
    out: u32,
}

struct Params {
    tiles_i: vec4<u32>,  // to divide by
    tiles_j: vec4<u32>,  // likewise
    i: Along,
    j: Along,
    first_group: u32,    // workgroups of the line before this dispatch
    groups: u32,         // of the whole line
    axes: array<Axis, 6>,  // the others, innermost first
}

@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(TILE_I * TILE_J)
fn rearrange(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = params.first_group + group.y * groups.x + group.x;
    let row = divided(tile, params.tiles_i);
    var rest = divided(row, params.tiles_j);
    let i = (tile - row * params.tiles_i.x) * TILE_I + local % TILE_I;
    let j = (row - rest * params.tiles_j.x) * TILE_J + local / TILE_I;
    if tile >= params.groups || i >= params.i.blocks || j >= params.j.blocks {
        return;
    }
    var read_at = i * params.i.source + j * params.j.source;
    var write_at = i * params.i.out + j * params.j.out;
    //# for axis in axes
    {
        let axis = params.axes[${loop.index0}];
        //# if loop.last
        read_at += rest * axis.source;
        write_at += rest * axis.out;
        //# else
        let outer = divided(rest, axis.size);
        let at = rest - outer * axis.size.x;
        read_at += at * axis.source;
        write_at += at * axis.out;
        rest = outer;
        //# endif
    }
    //# endfor
    //# for k in range(loads)
    let v${k} = source[read_at + ${k}u * params.i.step];
    //# endfor
    //# for parts in stores
    out[write_at + ${loop.index0}u * params.j.step] = vec4<u32>(${parts | join(", ")});
    //# endfor
}
//# else
alias item = ${"vec4<u32>" if vector else "u32"};

override WORKGROUP: u32 = 64u;

struct Axis {
    size: vec4<u32>,  // to divide by
    stride: u32,
    offset: i32,
    bound: u32,
}

struct Params {
    units: u32,
    fill: u32,  // bits
    first_group: u32,  // workgroups of the line before this dispatch
    axes: array<Axis, 6>,  // innermost first, in units of one item
}

@group(0) @binding(0) var<storage, read> source: array<item>;
@group(0) @binding(1) var<storage, read_write> out: array<item>;
@group(0) @binding(2) var<uniform> params: Params;

fn move_unit(unit: u32) {
    var rest = unit;
    var place = 0u;
    //# if axes | rejectattr("whole") | list
    var inside = true;
    //# endif
    //# for axis in axes
    {
        let axis = params.axes[${loop.index0}];
        //# if loop.last
        let at = rest;
        //# else
        let outer = divided(rest, axis.size);
        let at = rest - outer * axis.size.x;
        rest = outer;
        //# endif
        //# if axis.whole
        place += at * axis.stride;
        //# else
        // A coordinate before the first is above every bound.
        let coordinate = bitcast<u32>(bitcast<i32>(at) + axis.offset);
        inside = inside && coordinate < axis.bound;
        place += coordinate * axis.stride;
        //# endif
    }
    //# endfor
    //# if axes | rejectattr("whole") | list
    var moved = item(params.fill);
    if inside {
        moved = source[place];
    }
    out[unit] = moved;
    //# else
    out[unit] = source[place];
    //# endif
}

//# include "shared/moving.wgsl"
//# endif
