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
//# set a_across = layout == "tn"
//# set b_across = layout != "nt"
//# set a_stride = height // 4 + 1 if a_across else depth // 4 + 1
//# set b_stride = width // 4 + 1 if b_across else depth // 4 + 1
// Each tile lies as its operand does, vec4 along the same axis, so that nothing is transposed on the way; one vec4 of padding a line
// is meant to keep the lines apart in the banks (not measured: no GPU was at hand).
var<workgroup> a_tile: array<vec4<f32>, ${a_stride * (depth if a_across else height)}>;
var<workgroup> b_tile: array<vec4<f32>, ${b_stride * (depth if b_across else width)}>;

@compute @workgroup_size(${threads * threads})
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
    //# for g in range(row_quads)
    var row_sum${g} = vec4<f32>();
    //# endfor
    //# endif
    //# for i in range(row_quads * depth // threads)
    //# set v = "(local + " ~ (i * threads * threads) ~ "u)"
    let a_place${i} = place_a(batch, row0 + ${v ~ " % " ~ (height // 4) ~ "u * 4u" if a_across else v ~ " / " ~ (depth // 4) ~ "u"});
    //# endfor
    //# for i in range(quads * depth // threads)
    //# set v = "(local + " ~ (i * threads * threads) ~ "u)"
    let b_place${i} = place_b(batch, column0 + ${v ~ " % " ~ (width // 4) ~ "u * 4u" if b_across else v ~ " / " ~ (depth // 4) ~ "u"});
    //# endfor
    //# if segmented
    let segment_count = segments(batch);
    for (var segment = 0u; segment < segment_count; segment++) {
    //# endif
    //# for i in range(row_quads * depth // threads)
    let a_at${i} = ${"enter_a(batch, a_place" ~ i ~ ", segment)" if segmented else "a_place" ~ i};
    //# endfor
    //# for i in range(quads * depth // threads)
    let b_at${i} = ${"enter_b(batch, b_place" ~ i ~ ", segment)" if segmented else "b_place" ~ i};
    //# endfor
    for (var k = 0u; k < params.k; k += ${depth}u) {
        //# for i in range(row_quads * depth // threads)
        {
            let v = local + ${i * threads * threads}u;
            //# if a_across
            a_tile[v / ${height // 4}u * ${a_stride}u + v % ${height // 4}u] = load_a(a_at${i}, k + v / ${height // 4}u);
            //# else
            a_tile[v / ${depth // 4}u * ${a_stride}u + v % ${depth // 4}u] = load_a(a_at${i}, k + v % ${depth // 4}u * 4u);
            //# endif
        }
        //# endfor
        //# for i in range(quads * depth // threads)
        {
            let v = local + ${i * threads * threads}u;
            //# if b_across
            b_tile[v / ${width // 4}u * ${b_stride}u + v % ${width // 4}u] = load_b(b_at${i}, k + v / ${width // 4}u);
            //# else
            b_tile[v / ${depth // 4}u * ${b_stride}u + v % ${depth // 4}u] = load_b(b_at${i}, k + v % ${depth // 4}u * 4u);
            //# endif
        }
        //# endfor
        workgroupBarrier();
        //# for kq in range(depth // 4)
        {
            //# for q in range(quads)
            //# for d in range(4)
            //# if b_across
            let b${d}_${q} = b_tile[${(4 * kq + d) * b_stride + q * threads}u + tx];
            //# else
            let w${d}_${q} = b_tile[(${4 * q * threads + d}u + tx * 4u) * ${b_stride}u + ${kq}u];
            //# endif
            //# endfor
            //# if not b_across
            //# for d in range(4)
            let b${d}_${q} = vec4<f32>(w0_${q}[${d}], w1_${q}[${d}], w2_${q}[${d}], w3_${q}[${d}]);
            //# endfor
            //# endif
            //# endfor
            //# for g in range(row_quads)
            //# for d in range(4)
            //# if a_across
            let a${d}_${g} = a_tile[${(4 * kq + d) * a_stride + g * threads}u + ty];
            //# if row_sums
            row_sum${g} += a${d}_${g};
            //# endif
            //# else
            let a${d}_${g} = a_tile[(${4 * g * threads + d}u + ty * 4u) * ${a_stride}u + ${kq}u];
            //# endif
            //# endfor
            //# for c in range(4)
            //# for d in range(4)
            //# for q in range(quads)
            sum${4 * g + c}_${q} += ${"a" ~ d ~ "_" ~ g ~ "[" ~ c ~ "]" if a_across else "a" ~ c ~ "_" ~ g ~ "[" ~ d ~ "]"} * b${d}_${q};
            //# endfor
            //# endfor
            //# endfor
            //# endfor
        }
        //# endfor
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
    //# for g in range(row_quads)
    //# if row_sums
    if group.x == 0u && tx == 0u {
        store_row_sums(batch, row0 + ${4 * g * threads}u + ty * 4u, row_sum${g});
    }
    //# endif
    //# endfor
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
