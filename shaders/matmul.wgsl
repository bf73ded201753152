// C[m, n] = finish(sum over k of A[m, k] B[k, n]),   for each matrix of a batch
//
// Layouts: nn as written; nt reads B as [n, k] (a linear layer's weight); tn reads A as [k, m] (the gradient of that weight).
// A: [batch, m, k], B: [batch, k, n], C: [batch, m, n], f32, row-major; a batch stride of zero repeats one matrix.
// `finish` is the epilogue: bias, activation, mask, residual, any element-wise expression of C's shape, with several results.
// In layout tn the kernel can also give the sums over k of A's columns: the gradient of a bias, for one addition a load.
//
// Variants: see shared/product.wgsl.
// Dispatch: (columns / tile, rows / tile, batch).
// Cost: 2 m n k flops; 4 (m k + k n + m n) bytes a matrix.

alias real = ${"vec4<f32>" if vector else "f32"};

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_batch: u32,  // elements between matrices of A
    b_batch: u32,
    first_row: u32,    // in workgroups: what of the grid lies before this dispatch
    first_matrix: u32,
    groups: array<vec4<u32>, ${[groups, 1] | max}>,
}

//# include "shared/bindings.wgsl"
//# include "shared/finish.wgsl"

//# macro along_k(name, extent, aligned)
// A row's start. Rows past the end repeat the last one, for their results are never stored.
fn place_${name}(batch: u32, row: u32) -> u32 {
    return batch * params.${name}_batch + min(row, params.${extent} - 1u) * params.k;
}

//# if variant == "tiled"
fn first_${name}(row: u32, k: u32) -> u32 {
    return ${"(row + k) / 4u" if aligned else "row + k"};
}

fn whole_${name}(first: u32, k: u32) -> vec4<f32> {
    //# if aligned
    return vec4<f32>(${name}[first + k / 4u]);
    //# else
    let at = first + k;
    return vec4<f32>(f32(${name}[at]), f32(${name}[at + 1u]), f32(${name}[at + 2u]), f32(${name}[at + 3u]));
    //# endif
}

//# endif
//# if variant != "tiled" or tail
// Four consecutive k of a row; k past the end is zero.
fn load_${name}(row: u32, k: u32) -> vec4<f32> {
    //# if guard_k
    if k >= params.k {
        return vec4<f32>();
    }
    //# endif
    let start = row + k;
    //# if aligned
    return vec4<f32>(${name}[start / 4u]);
    //# else
    let last = params.k - 1u - k;
    return vec4<f32>(
        f32(${name}[start]),
        select(0.0, f32(${name}[start + min(1u, last)]), last >= 1u),
        select(0.0, f32(${name}[start + min(2u, last)]), last >= 2u),
        select(0.0, f32(${name}[start + min(3u, last)]), last >= 3u),
    );
    //# endif
}
//# endif
//# endmacro
//# macro across(name, extent, aligned)
// The matrix' start and the first of four columns. Columns past the end repeat, for their results are never stored.
fn place_${name}(batch: u32, column: u32) -> vec2<u32> {
    return vec2<u32>(batch * params.${name}_batch, ${"min(column, params." ~ extent ~ " - 4u)" if aligned else "column"});
}

//# if variant == "tiled"
//# if aligned
fn first_${name}(place: vec2<u32>, k: u32) -> u32 {
    return (place.x + k * params.${extent} + place.y) / 4u;
}

fn whole_${name}(first: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(${name}[first + k * (params.${extent} / 4u)]);
}
//# else
fn first_${name}(place: vec2<u32>, k: u32) -> vec4<u32> {
    return place.x + k * params.${extent} + min(place.y + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.${extent} - 1u));
}

fn whole_${name}(first: vec4<u32>, k: u32) -> vec4<f32> {
    let at = first + k * params.${extent};
    return vec4<f32>(f32(${name}[at.x]), f32(${name}[at.y]), f32(${name}[at.z]), f32(${name}[at.w]));
}
//# endif

//# endif
//# if variant != "tiled" or tail
// Four consecutive columns at one k; k past the end is zero.
fn load_${name}(place: vec2<u32>, k: u32) -> vec4<f32> {
    //# if guard_k
    if k >= params.k {
        return vec4<f32>();
    }
    //# endif
    let start = place.x + k * params.${extent};
    //# if aligned
    return vec4<f32>(${name}[(start + place.y) / 4u]);
    //# else
    let last = params.${extent} - 1u;
    return vec4<f32>(
        f32(${name}[start + min(place.y, last)]),
        f32(${name}[start + min(place.y + 1u, last)]),
        f32(${name}[start + min(place.y + 2u, last)]),
        f32(${name}[start + min(place.y + 3u, last)]),
    );
    //# endif
}
//# endif
//# endmacro
${across("a", "m", a_vector) if layout == "tn" else along_k("a", "m", a_vector)}
${along_k("b", "n", b_vector) if layout == "nt" else across("b", "n", b_vector)}
// Where four columns of a matrix go: its first row among all matrices', and the first of them.
fn place_c(batch: u32, column: u32) -> vec2<u32> {
    begin_columns(${"min(column, params.n - 4u)" if vector else "column"});
    return vec2<u32>(batch * params.m, column);
}

fn store(place: vec2<u32>, row: u32, sums: vec4<f32>) {
    let column = place.y;
    if row >= params.m || column >= params.n {
        return;
    }
    let index = (place.x + row) * params.n + column;
    //# if vector
    finish(index, sums);
    //# else
    for (var i = 0u; i < min(4u, params.n - column); i++) {
        finish(index + i, sums[i]);
    }
    //# endif
}

//# include "shared/product.wgsl"
