// The body of matrix products, plain and implicit: sums over k of A[row, k] B[k, column], tile by tile.
//
// The including template says where operands lie: `place_a(batch, row)` and `place_b(batch, column)` once a tile, `load_a(at, k)` and
// `load_b(at, k)` for four elements, along k or across as the layout has it, and for the result `place_c(batch, column)`, once for four
// columns, and `store(place, row, sums)`. Where the sum is
// segmented (the taps of a convolution), `segments(batch)` says into how many, and `enter_a(batch, place, segment)` and `enter_b` make
// of a place what the loads of that segment take; k begins at 0 in each.
//
// Variants:
//   subgroup     a workgroup is one subgroup and owns some rows of four columns a lane, or of eight. A is read once, spread over the lanes, and each
//                element handed to all lanes by a broadcast from a constant lane. No workgroup memory, no barrier.
//   registers    the same with one lane: each invocation owns 8 x 8 elements. Needs no subgroups.
//   tiled        tiles in workgroup memory, each invocation with some blocks of 4 x 4 elements: tiles.wgsl
//   cooperative  the same for matrix units, which take operands rounded to f16: cooperative.wgsl

//# if row_sums
fn store_row_sums(batch: u32, row: u32, sums: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        if row + i < params.m {
            row_sums[batch * params.m + row + i] ${"+=" if accumulate else "="} sums[i];
        }
    }
}
//# endif

//# if tiles
//# include "shared/tiles.wgsl"
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
