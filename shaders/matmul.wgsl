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

//# for name, extent, aligned, across in [["a", "m", a_vector, layout == "tn"], ["b", "n", b_vector, layout != "nt"]]
//# set operand = {"name": name, "aligned": aligned, "stride": "params." ~ extent, "extent": extent}
//# if across
// The matrix' start and the first of four columns. Columns past the end repeat, for their results are never stored.
fn place_${name}(batch: u32, column: u32) -> vec2<u32> {
    return vec2<u32>(batch * params.${name}_batch, ${"min(column, params." ~ extent ~ " - 4u)" if aligned else "column"});
}

//# include "shared/across_k.wgsl"
//# else
// A row's start. Rows past the end repeat the last one, for their results are never stored.
fn place_${name}(batch: u32, row: u32) -> u32 {
    return batch * params.${name}_batch + min(row, params.${extent} - 1u) * params.k;
}

//# include "shared/along_k.wgsl"
//# endif

//# endfor
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
