// The body of matrix products, plain and implicit: sums over k of A[row, k] B[k, column], tile by tile.
//
// The including template says where operands lie: `place_a(batch, row)` and `place_b(batch, column)` once a tile, `load_a(at, k)` and
// `load_b(at, k)` for four elements, along k or across as the layout has it, and for the result `place_c(batch, column)`, once for four
// columns, and `store(place, row, sums)`. Where the sum is
// segmented (the taps of a convolution), `segments(batch)` says into how many, and `enter_a(batch, place, segment)` and `enter_b` make
// of a place what the loads of that segment take; k begins at 0 in each.
//
// Variants:
//   subgroup   a workgroup is one subgroup of ${lanes} lanes and owns ${rows} rows by 4 * ${lanes} * ${quads} columns. Each lane keeps
//              ${quads} vec4 of every row. A is read once, spread over the lanes, and each element handed to all lanes by a
//              broadcast from a constant lane. No workgroup memory, no barrier.
//   registers  the same with one lane: each invocation owns 8 x 8 elements. Needs no subgroups.
//   tiled      tiles in workgroup memory, ${depth} deep; ${threads} x ${threads} invocations, each with ${row_quads} x ${quads} blocks of 4 x 4 elements.

//# if variant == "tiled"
// Tiles also ask for `first_a(at, k)`, once a segment: what `whole_a(first, k)` takes to load four elements at `k` more, none of which lies past the
// end of the sum. That `k` is the same in all invocations, so that little of the address is computed a block.
//# if transposed
// Operands that lie along k are transposed on the way into workgroup memory: that takes fewer registers and more stores.
//# endif
//# if ahead
// The next block is loaded into registers before this one is multiplied.
//# endif

//# endif
//# if row_sums
fn store_row_sums(batch: u32, row: u32, sums: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        if row + i < params.m {
            row_sums[batch * params.m + row + i] ${"+=" if accumulate else "="} sums[i];
        }
    }
}
//# endif

//# if variant == "tiled"
//# set height = 4 * threads * row_quads
//# set width = 4 * threads * quads
//# set invocations = threads * threads
//# set a_along = layout != "tn"
//# set b_along = layout == "nt"
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
//# macro places(name, origin, quads, along)
//# if along
    let ${name}_own = local % ${depth // 4}u * 4u;
    //# for i in range(quads * depth // threads)
    let ${name}_place${i} = place_${name}(batch, ${origin} + ${i * 4 * invocations // depth}u + local / ${depth // 4}u);
    //# endfor
//# else
    let ${name}_own = local / ${threads * quads}u;
    let ${name}_place0 = place_${name}(batch, ${origin} + local % ${threads * quads}u * 4u);
//# endif
//# endmacro
//# macro enter(name, quads, along)
    //# for i in range(quads * depth // threads if along else 1)
    let ${name}_at${i} = ${"enter_" ~ name ~ "(batch, " ~ name ~ "_place" ~ i ~ ", segment)" if segmented else name ~ "_place" ~ i};
    let ${name}_first${i} = first_${name}(${name}_at${i}, ${name}_own);
    //# endfor
//# endmacro
//# macro load(name, quads, along, k, guarded, assign)
        //# for i in range(quads * depth // threads)
        //# set which = i if along else 0
        //# set at = k if along or i == 0 else k ~ " + " ~ (i * threads // quads) ~ "u"
        ${assign}${name}_next${i} = ${"load_" ~ name ~ "(" ~ name ~ "_at" ~ which ~ ", " ~ at ~ " + " ~ name ~ "_own)" if guarded else "whole_" ~ name ~ "(" ~ name ~ "_first" ~ which ~ ", " ~ at ~ ")"};
        //# endfor
//# endmacro
//# macro load_both(k, guarded, assign)
${load("a", row_quads, a_along, k, guarded, assign)}${load("b", quads, b_along, k, guarded, assign)}
//# endmacro
//# macro declare(name, quads)
        //# for i in range(quads * depth // threads)
        var ${name}_next${i}: vec4<f32>;
        //# endfor
//# endmacro
//# macro load_block(k, assign)
        //# if tail
        //# if assign
${declare("a", row_quads)}${declare("b", quads)}
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
//# macro keep(name, quads, along)
        //# for i in range(quads * depth // threads)
        //# if not along
        ${name}_tile[${name}_own + ${i * threads // quads}u][local % ${threads * quads}u] = ${name}_next${i};
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
${places("a", "row0", row_quads, a_along)}${places("b", "column0", quads, b_along)}
    //# if segmented
    let segment_count = segments(batch);
    for (var segment = 0u; segment < segment_count; segment++) {
    //# endif
${enter("a", row_quads, a_along)}${enter("b", quads, b_along)}
    //# if ahead
    let last_block = (params.k - 1u) / ${depth}u * ${depth}u;
${load_block("0u", "var ")}
    //# endif
    for (var k = 0u; k < params.k; k += ${depth}u) {
        // All loads are under way before the first of them is waited for.
        //# if not ahead
${load_block("k", "let ")}
        //# endif
${keep("a", row_quads, a_along)}${keep("b", quads, b_along)}
        //# if row_sums
        //# for i in range(row_quads * depth // threads)
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
        a_tile[a_own][local % ${threads * row_quads}u] = row_sum;
        workgroupBarrier();
        if local < ${threads * row_quads}u {
            var sums = a_tile[0][local];
            //# for p in range(1, threads // row_quads)
            sums += a_tile[${p}][local];
            //# endfor
            store_row_sums(batch, row0 + local * 4u, sums);
        }
    }
    //# endif
}
//# else
//# set letters = ["x", "y", "z", "w"]
//# set share = rows // lanes if layout != "tn" else rows // (4 * lanes)
//# if variant == "subgroup"
@compute @workgroup_size(${lanes})
fn ${entry}(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let batch = params.first_matrix + group.z;
    let row0 = (params.first_row + group.y) * ${rows}u;
    let column0 = group.x * ${4 * lanes * quads}u + lane * 4u;
//# else
@compute @workgroup_size(8, 8)
fn ${entry}(@builtin(workgroup_id) group: vec3<u32>, @builtin(global_invocation_id) id: vec3<u32>) {
    let lane = 0u;
    let batch = params.first_matrix + group.z;
    let row0 = (params.first_row * 8u + id.y) * ${rows}u;
    let column0 = id.x * ${4 * quads}u;
//# endif
    //# for r in range(rows)
    //# for q in range(quads)
    var sum${r}_${q} = vec4<f32>();
    //# endfor
    //# endfor
    //# if row_sums
    //# for j in range(share)
    var row_sum${j} = vec4<f32>();
    //# endfor
    //# endif
    //# macro load_block(k, assign)
    //# for q in range(quads)
    //# for d in range(4)
    ${assign}next_b${d}_${q} = load_b(b_at${q}, ${k} + ${d}u);
    //# endfor
    //# endfor
    //# for d in range(4)
    //# for j in range(share)
    ${assign}next_a${d}_${j} = load_a(a_at${j}, ${k} + ${d}u);
    //# endfor
    //# endfor
    //# endmacro
    //# for j in range(share)
    let a_place${j} = place_a(batch, row0 + ${"(" ~ (j * lanes) ~ "u + lane) * 4u" if layout == "tn" else "lane * " ~ share ~ "u + " ~ j ~ "u"});
    //# endfor
    //# for q in range(quads)
    //# if layout == "nt"
    //# for c in range(4)
    let b_place${4 * q + c} = place_b(batch, column0 + ${4 * lanes * q + c}u);
    //# endfor
    //# else
    let b_place${q} = place_b(batch, column0 + ${4 * lanes * q}u);
    //# endif
    //# endfor
    //# if segmented
    let segment_count = segments(batch);
    for (var segment = 0u; segment < segment_count; segment++) {
    //# endif
    //# for i in range(share)
    let a_at${i} = ${"enter_a(batch, a_place" ~ i ~ ", segment)" if segmented else "a_place" ~ i};
    //# endfor
    //# for i in range(quads * (4 if layout == "nt" else 1))
    let b_at${i} = ${"enter_b(batch, b_place" ~ i ~ ", segment)" if segmented else "b_place" ~ i};
    //# endfor
    // The number of terms, but not known to be of the uniforms alone: where all conditions hang on those, Mesa 22 (lavapipe) may copy the whole kernel at
    // every dispatch, to try them out, and keeps the copy until the pipeline goes.
    let terms = select(params.k, 0u, group.z == 0xffffffffu);
    //# if layout == "tn" and not segmented
    let begin = params.k - terms;  // 0
${load_block("begin", "var ")}
    //# endif
    for (var k = 0u; k < terms; k += 4u) {
        //# if layout == "tn"
        //# if segmented
${load_block("k", "let ")}
        //# endif
        //# for d in range(4)
        //# for q in range(quads)
        let b${d}_${q} = next_b${d}_${q};
        //# endfor
        //# for j in range(share)
        let a${d}_${j} = next_a${d}_${j};
        //# if row_sums
        row_sum${j} += a${d}_${j};
        //# endif
        //# endfor
        //# endfor
        //# if not segmented
        // The next block is under way while this one is multiplied. Segments are too short for that to pay.
        let ahead = min(k + 4u, (params.k - 1u) / 4u * 4u);
${load_block("ahead", "")}
        //# endif
        //# else
        //# for q in range(quads)
        //# if layout == "nt"
        //# for c in range(4)
        let w${q}_${c} = load_b(b_at${4 * q + c}, k);
        //# endfor
        //# for d in range(4)
        let b${d}_${q} = vec4<f32>(w${q}_0[${d}], w${q}_1[${d}], w${q}_2[${d}], w${q}_3[${d}]);
        //# endfor
        //# else
        //# for d in range(4)
        let b${d}_${q} = load_b(b_at${q}, k + ${d}u);
        //# endfor
        //# endif
        //# endfor
        //# endif
        //# if layout == "tn"
        // Four rows at a time through all four k: their sums stay in registers meanwhile.
        //# for g in range(rows // 4)
        //# for d in range(4)
        //# set source = "a" ~ d ~ "_" ~ (g // lanes)
        let s${d}_${g} = ${"subgroupBroadcast(" ~ source ~ ", " ~ (g % lanes) ~ "u)" if variant == "subgroup" else source};
        //# endfor
        //# for c in range(4)
        //# for d in range(4)
        //# for q in range(quads)
        sum${4 * g + c}_${q} += s${d}_${g}.${letters[c]} * b${d}_${q};
        //# endfor
        //# endfor
        //# endfor
        //# endfor
        //# else
        //# for j in range(share)
        let a${j} = load_a(a_at${j}, k);
        //# endfor
        //# for r in range(rows)
        //# set source = "a" ~ (r % share)
        let s${r} = ${"subgroupBroadcast(" ~ source ~ ", " ~ (r // share) ~ "u)" if variant == "subgroup" else source};
        //# for d in range(4)
        //# for q in range(quads)
        sum${r}_${q} += s${r}.${letters[d]} * b${d}_${q};
        //# endfor
        //# endfor
        //# endfor
        //# endif
    }
    //# if segmented
    }
    //# endif
    //# for q in range(quads)
    let c_place${q} = place_c(batch, column0 + ${4 * lanes * q}u);
    //# for r in range(rows)
    store(c_place${q}, row0 + ${r}u, sum${r}_${q});
    //# endfor
    //# endfor
    //# if row_sums
    if group.x == 0u${"" if variant == "subgroup" else " && id.x == 0u"} {
        //# for j in range(share)
        store_row_sums(batch, row0 + (${j * lanes}u + lane) * 4u, row_sum${j});
        //# endfor
    }
    //# endif
}
//# endif
