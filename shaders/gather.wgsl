// out[b, :] = data[index[b], :] * scale + shift
//
// A batch from a data set that stays on the GPU. Bytes are stored four to a word and become floats here; scale and shift bring them to
// the model's range. ${"The batch begins at position state.cursor of the list of indices." if cursor else ""}
// data: [rows, width] ${dtype}; index: [indices] u32, clamped to the last row; out: [batch, width].
//
// A unit is ${width_each} neighbours of a row. One invocation makes ${per_thread}.
// Dispatch: ceil(units / (WORKGROUP * ${per_thread})), folded into x and y above 65,535.
// Cost: two flops an element; its bytes read once and 4 written.

override WORKGROUP: u32 = 64u;

struct Params {
    width: vec4<u32>,    // units of a row, to divide by
    indices: vec4<u32>,  // likewise
    units: u32,
    rows: u32,
    scale: f32,
    shift: f32,
    first_group: u32,  // workgroups of the line before this dispatch
    first_row: u32,    // of the batch: 0 but in a piece of a larger gather
}

//# include "shared/bindings.wgsl"
//# include "shared/divide.wgsl"

fn move_unit(unit: u32) {
    let b = divided(unit, params.width);
    let column = unit - b * params.width.x;
    let at = b + params.first_row${" + state[4]" if cursor else ""};
    let row = min(index[${"at - divided(at, params.indices) * params.indices.x" if wraps else "at"}], params.rows - 1u);
    let place = row * params.width.x + column;
    //# if dtype == "u32"
    out[unit] = data[place];
    //# else
    //# if dtype == "f32"
    let x = data[place];
    //# elif width_each == 4
    let x = vec4<f32>((vec4<u32>(data[place]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu));
    //# else
    let x = f32((data[place / 4u] >> (place % 4u * 8u)) & 0xffu);
    //# endif
    out[unit] = ${bindings[-1].wgsl}(x * params.scale + params.shift);
    //# endif
}

//# include "shared/moving.wgsl"
