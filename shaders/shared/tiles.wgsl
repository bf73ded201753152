// The body of a product that goes through workgroup memory: tiles of both operands, ${depth} terms at a time.
//
// Beside what product.wgsl asks of the including template, tiles want `first_a(at, k)`, once a segment: what `whole_a(first, k)` takes to load four elements at
// `k` more, none of which lies past the end of the sum. That `k` is the same in all invocations, so that little of the address is computed a block.

//# set a_along = layout != "tn"
//# set b_along = layout == "nt"
//# macro places(name, origin, side, along)
//# if along
    let ${name}_own = local % ${depth // 4}u * 4u;
    //# for i in range(side * depth // (4 * invocations))
    let ${name}_place${i} = place_${name}(batch, ${origin} + ${i * 4 * invocations // depth}u + local / ${depth // 4}u);
    //# endfor
//# else
    let ${name}_own = local / ${side // 4}u;
    let ${name}_place0 = place_${name}(batch, ${origin} + local % ${side // 4}u * 4u);
//# endif
//# endmacro
//# macro enter(name, side, along)
    //# for i in range(side * depth // (4 * invocations) if along else 1)
    let ${name}_at${i} = ${"enter_" ~ name ~ "(batch, " ~ name ~ "_place" ~ i ~ ", segment)" if segmented else name ~ "_place" ~ i};
    let ${name}_first${i} = first_${name}(${name}_at${i}, ${name}_own);
    //# endfor
//# endmacro
//# macro load(name, side, along, k, guarded, assign)
        //# for i in range(side * depth // (4 * invocations))
        //# set which = i if along else 0
        //# set at = k if along or i == 0 else k ~ " + " ~ (i * 4 * invocations // side) ~ "u"
        ${assign}${name}_next${i} = ${"load_" ~ name ~ "(" ~ name ~ "_at" ~ which ~ ", " ~ at ~ " + " ~ name ~ "_own)" if guarded else "whole_" ~ name ~ "(" ~ name ~ "_first" ~ which ~ ", " ~ at ~ ")"};
        //# endfor
//# endmacro
//# macro load_both(k, guarded, assign)
${load("a", height, a_along, k, guarded, assign)}${load("b", width, b_along, k, guarded, assign)}
//# endmacro
//# macro declare(name, side)
        //# for i in range(side * depth // (4 * invocations))
        var ${name}_next${i}: vec4<f32>;
        //# endfor
//# endmacro
//# macro load_block(k, assign)
        //# if tail
        //# if assign
${declare("a", height)}${declare("b", width)}
        //# endif
        if ${k} + ${depth}u <= params.k {
${load_both(k, false, "")}
        } else {
${load_both(k, true, "")}
        }
        //# else
${load_both(k, false, assign)}
        //# endif
//# endmacro
//# if variant == "cooperative"
//# include "shared/cooperative.wgsl"
//# else
//# if transposed
// Operands that lie along k are transposed on the way into workgroup memory: that takes fewer registers and more stores.
//# endif
//# if ahead
// The next block is loaded into registers before this one is multiplied.
//# endif
// An operand that lies across, or is transposed on the way, is [k][four columns]; one that lies along k [four rows][row][four k]. Arrays of arrays, so
// that a bounds check is of an index that no block changes: of one long array, each access would have its own. One vec4 keeps lines apart in the banks
// where neighbouring invocations touch different ones.
//# macro tile(name, side, along)
//# if along and not transposed
var<workgroup> ${name}_tile: array<array<array<vec4<f32>, ${depth // 4 + 1}>, 4>, ${side // 4}>;
//# else
var<workgroup> ${name}_tile: array<array<vec4<f32>, ${side // 4 + (1 if along else 0)}>, ${depth}>;
//# endif
//# endmacro
${tile("a", height, a_along)}${tile("b", width, b_along)}
//# macro keep(name, side, along)
        //# for i in range(side * depth // (4 * invocations))
        //# if not along
        ${name}_tile[${name}_own + ${i * 4 * invocations // side}u][local % ${side // 4}u] = ${name}_next${i};
        //# elif transposed
        //# for d in range(4)
        ${name}_tile[${name}_own + ${d}u][local / ${depth}u + ${i * invocations // depth}u][local / ${depth // 4}u % 4u] = ${name}_next${i}[${d}];
        //# endfor
        //# else
        ${name}_tile[local / ${depth}u + ${i * invocations // depth}u][local / ${depth // 4}u % 4u][local % ${depth // 4}u] = ${name}_next${i};
        //# endif
        //# endfor
//# endmacro
//# set a_across = transposed or not a_along
//# set b_across = transposed or not b_along
@compute @workgroup_size(${invocations})
fn ${entry}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let batch = params.first_matrix + group.z;
    let row0 = (params.first_row + group.y) * ${height}u;
    let column0 = group.x * ${width}u;
    let tx = local % ${threads}u;
    let ty = local / ${threads}u;
    //# for r in range(4 * row_quads)
    //# for q in range(quads)
    var sum${r}_${q} = vec4<f32>();
    //# endfor
    //# endfor
    //# if row_sums
    // Of the terms that this invocation loads.
    var row_sum = vec4<f32>();
    //# endif
${places("a", "row0", height, a_along)}${places("b", "column0", width, b_along)}
    //# if segmented
    let segment_count = segments(batch);
    for (var segment = 0u; segment < segment_count; segment++) {
    //# endif
${enter("a", height, a_along)}${enter("b", width, b_along)}
    //# if ahead
    let last_block = (params.k - 1u) / ${depth}u * ${depth}u;
${load_block("0u", "var ")}
    //# endif
    for (var k = 0u; k < params.k; k += ${depth}u) {
        // All loads are under way before the first of them is waited for.
        //# if not ahead
${load_block("k", "let ")}
        //# endif
${keep("a", height, a_along)}${keep("b", width, b_along)}
        //# if row_sums
        //# for i in range(height * depth // (4 * invocations))
        row_sum += a_next${i};
        //# endfor
        //# endif
        workgroupBarrier();
        //# if ahead
        let k_next = min(k + ${depth}u, last_block);
${load_block("k_next", "")}
        //# endif
        //# if a_across and b_across
        //# for p in range(depth)
        {
            //# for q in range(quads)
            let b${q} = b_tile[${p}][${q * threads}u + tx];
            //# endfor
            //# for g in range(row_quads)
            let a${g} = a_tile[${p}][${g * threads}u + ty];
            //# for c in range(4)
            //# for q in range(quads)
            sum${4 * g + c}_${q} += a${g}[${c}] * b${q};
            //# endfor
            //# endfor
            //# endfor
        }
        //# endfor
        //# else
        //# for kq in range(depth // 4)
        {
            //# for q in range(quads)
            //# for d in range(4)
            //# if b_across
            let b${d}_${q} = b_tile[${4 * kq + d}][${q * threads}u + tx];
            //# else
            let w${d}_${q} = b_tile[${q * threads}u + tx][${d}][${kq}];
            //# endif
            //# endfor
            //# if not b_across
            //# for d in range(4)
            let b${d}_${q} = vec4<f32>(w0_${q}[${d}], w1_${q}[${d}], w2_${q}[${d}], w3_${q}[${d}]);
            //# endfor
            //# endif
            //# endfor
            //# for g in range(row_quads)
            //# for c in range(4)
            let a${c}_${g} = a_tile[${g * threads}u + ty][${c}][${kq}];
            //# endfor
            //# for c in range(4)
            //# for d in range(4)
            //# for q in range(quads)
            sum${4 * g + c}_${q} += a${c}_${g}[${d}] * b${d}_${q};
            //# endfor
            //# endfor
            //# endfor
            //# endfor
        }
        //# endfor
        //# endif
        workgroupBarrier();
    }
    //# if segmented
    }
    //# endif
    //# for q in range(quads)
    let c_place${q} = place_c(batch, column0 + ${4 * q * threads}u + tx * 4u);
    //# for g in range(row_quads)
    //# for c in range(4)
    store(c_place${q}, row0 + ${4 * g * threads + c}u + ty * 4u, sum${4 * g + c}_${q});
    //# endfor
    //# endfor
    //# endfor
    //# if row_sums
    if group.x == 0u {
        a_tile[a_own][local % ${height // 4}u] = row_sum;
        workgroupBarrier();
        if local < ${height // 4}u {
            var sums = a_tile[0][local];
            //# for p in range(1, 4 * invocations // height)
            sums += a_tile[${p}][local];
            //# endfor
            store_row_sums(batch, row0 + local * 4u, sums);
        }
    }
    //# endif
}
//# endif
