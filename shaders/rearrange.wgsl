// out[i] = source[place(i)], or a fill value where that place lies outside
//
// Permute, transpose, slice, pad, copy: each axis of the result has a size, a stride in the source, an offset that is added to
// its coordinate, and the size that the coordinate must then stay below. Elements are moved as bits, whatever their type.
//
// One invocation moves ${"four neighbours of the last axis" if vector else "one element"}.
// Dispatch: ceil(units / WORKGROUP), folded into x and y above 65,535.
// Cost: no flops; 8 bytes an element.

alias item = ${"vec4<u32>" if vector else "u32"};

override WORKGROUP: u32 = 64u;

struct Axis {
    size: u32,
    stride: u32,
    offset: i32,
    bound: i32,
}

struct Params {
    units: u32,
    fill: u32,  // bits
    first_group: u32,  // workgroups of the line before this dispatch
    unused: u32,
    axes: array<Axis, 6>,  // innermost first, in units of one item
}

@group(0) @binding(0) var<storage, read> source: array<item>;
@group(0) @binding(1) var<storage, read_write> out: array<item>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn rearrange(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let unit = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if unit >= params.units {
        return;
    }
    var rest = unit;
    var place = 0u;
    var inside = true;
    //# for axis in range(rank)
    {
        let axis = params.axes[${axis}];
        let coordinate = bitcast<i32>(rest % axis.size) + axis.offset;
        rest /= axis.size;
        inside = inside && coordinate >= 0 && coordinate < axis.bound;
        place += bitcast<u32>(coordinate) * axis.stride;
    }
    //# endfor
    var moved = item(params.fill);
    if inside {
        moved = source[place];
    }
    out[unit] = moved;
}
