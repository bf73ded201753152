// out[b, :] = data[index[b], :] * scale + shift
//
// A batch from a data set that stays on the GPU. Bytes are stored four to a word and become floats here; scale and shift bring them to
// the model's range. ${"The batch begins at position state.cursor of the list of indices." if cursor else ""}
// data: [rows, width] ${dtype}; index: [indices] u32, clamped to the last row; out: [batch, width].
//
// One invocation makes ${width_each} neighbours of a row.
// Dispatch: ceil(batch * width / (${width_each} * WORKGROUP)), folded into x and y above 65,535.
// Cost: two flops an element; its bytes read once and 4 written.

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,
    width: u32,
    rows: u32,
    indices: u32,
    scale: f32,
    shift: f32,
    first_group: u32,  // workgroups of the line before this dispatch
    first_row: u32,    // of the batch: 0 but in a piece of a larger gather
}

//# include "shared/bindings.wgsl"

@compute @workgroup_size(WORKGROUP)
fn gather(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let unit = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if unit >= params.units {
        return;
    }
    let element = unit * ${width_each}u;
    let b = element / params.width + params.first_row;
    let column = element % params.width;
    let row = min(index[(b${" + state[4]" if cursor else ""}) % params.indices], params.rows - 1u);
    let place = row * params.width + column;
    //# if dtype == "u8"
    //# if width_each == 4
    let bytes = (vec4<u32>(data[place / 4u]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    out[unit] = ${bindings[-1].wgsl}(vec4<f32>(bytes) * params.scale + params.shift);
    //# else
    out[unit] = ${bindings[-1].wgsl}(f32((data[place / 4u] >> (place % 4u * 8u)) & 0xffu) * params.scale + params.shift);
    //# endif
    //# elif dtype == "f32"
    out[unit] = ${bindings[-1].wgsl}(data[place${" / 4u" if width_each == 4 else ""}] * params.scale + params.shift);
    //# else
    out[unit] = data[place];
    //# endif
}
