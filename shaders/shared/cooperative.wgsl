//# set high = count[0]
//# set wide = count[1]
//# set across = subgroups // 2
// Tiles of f16 for matrix units, which multiply blocks of ${side} x ${side} of them and sum in f32. ${subgroups} subgroups, in two rows, have ${high} x ${wide} blocks of
// the result each.
//# if surplus
// Subgroups may be narrower than the widest that the device makes, and then there are more: those do again what the last of the ${subgroups} does, since matrices want
// control flow that is the same for all, and store it where nobody looks.
//# endif

//# set a_lines = a_along or transposed
//# set b_lines = b_along or transposed
//# set a_load = "coopLoadT" if a_lines else "coopLoad"
//# set b_load = "coopLoad" if b_lines else "coopLoadT"
//# if transposed
// Both operands lie in their tiles along k.
//# else
// An operand lies in its tile as it does in memory, along k or across: matrix units take either.
//# endif
// Lines are ${a_line} and ${b_line} apart: neither all in the same banks, nor out of line with 16 bytes.
var<workgroup> a_tile: array<f16, ${(height if a_lines else depth) * a_line}>;
var<workgroup> b_tile: array<f16, ${(width if b_lines else depth) * b_line}>;
// Results on their way from matrices to invocations: a block of each subgroup${" that there may be" if surplus}.
var<workgroup> scratch: array<f32, ${scratch}>;
//# macro keep(name, side, along, line)
        //# for i in range(side * depth // (4 * invocations))
        {
            let half = vec4<f16>(${name}_next${i});
            //# if along
            let at = (local / ${depth // 4}u + ${i * 4 * invocations // depth}u) * ${line}u + ${name}_own;
            //# elif transposed
            let at = local % ${side // 4}u * ${4 * line}u + ${name}_own + ${i * 4 * invocations // side}u;
            //# else
            let at = (${name}_own + ${i * 4 * invocations // side}u) * ${line}u + local % ${side // 4}u * 4u;
            //# endif
            //# for d in range(4)
            ${name}_tile[at + ${d * (line if transposed and not along else 1)}u] = half[${d}];
            //# endfor
        }
        //# endfor
//# endmacro
//# macro element(line, along, across, k)
(${across}) * ${line if along else 1}u + ${k * (1 if along else line)}u
//# endmacro

@compute @workgroup_size(${invocations})
fn ${entry}(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let batch = params.first_matrix + group.z;
    let row0 = (params.first_row + group.y) * ${height}u;
    let column0 = group.x * ${width}u;
    // Where in the tile this subgroup's blocks begin, and in the scratch.
    //# set own = "min(subgroup, " ~ (subgroups - 1) ~ "u)" if surplus else "subgroup"
    let block_row = ${own} / ${across}u * ${high * side}u;
    let block_column = ${own} % ${across}u * ${wide * side}u;
    let own_scratch = subgroup * ${side * side}u;
    //# for i in range(high)
    //# for j in range(wide)
    var sum${i}_${j} = coop_mat${side}x${side}<f32, C>();
    //# endfor
    //# endfor
    //# if row_sums
    // Of the terms that this invocation loads, before they are rounded.
    var row_sum = vec4<f32>();
    //# endif
${places("a", "row0", height, a_along)}${places("b", "column0", width, b_along)}
    //# if segmented
    let segment_count = segments(batch);
    for (var segment = 0u; segment < segment_count; segment++) {
    //# endif
${enter("a", height, a_along)}${enter("b", width, b_along)}
    for (var k = 0u; k < params.k; k += ${depth}u) {
${load_block("k", "let ")}
${keep("a", height, a_along, a_line)}${keep("b", width, b_along, b_line)}
        //# if row_sums
        //# for i in range(height * depth // (4 * invocations))
        row_sum += a_next${i};
        //# endfor
        //# endif
        workgroupBarrier();
        //# for p in range(depth // side)
        {
            //# for i in range(high)
            let a${i} = ${a_load}<coop_mat${side}x${side}<f16, A>>(&a_tile[${element(a_line, a_lines, "block_row + " ~ (i * side) ~ "u", p * side) | trim}], ${a_line}u);
            //# endfor
            //# for j in range(wide)
            let b${j} = ${b_load}<coop_mat${side}x${side}<f16, B>>(&b_tile[${element(b_line, b_lines, "block_column + " ~ (j * side) ~ "u", p * side) | trim}], ${b_line}u);
            //# endfor
            //# for i in range(high)
            //# for j in range(wide)
            sum${i}_${j} = coopMultiplyAdd(a${i}, b${j}, sum${i}_${j});
            //# endfor
            //# endfor
        }
        //# endfor
        workgroupBarrier();
    }
    //# if segmented
    }
    //# endif
    for (var block = 0u; block < ${high * wide}u; block++) {
        switch block {
            //# for i in range(high)
            //# for j in range(wide)
            //# if loop.last and i + 1 == high
            default: {
            //# else
            case ${i * wide + j}u: {
            //# endif
                coopStoreT(sum${i}_${j}, &scratch[own_scratch], ${side}u);
            }
            //# endfor
            //# endfor
        }
        workgroupBarrier();
        // Four columns of a row at a time, those of all subgroups by all invocations.
        for (var quad = local; quad < ${subgroups * side * side // 4}u; quad += ${invocations}u) {
            let owner = quad / ${side * side // 4}u;
            let row = quad % ${side * side // 4}u / ${side // 4}u;
            let column = quad % ${side // 4}u * 4u;
            let at = owner * ${side * side}u + row * ${side}u + column;
            let sums = vec4<f32>(scratch[at], scratch[at + 1u], scratch[at + 2u], scratch[at + 3u]);
            let c_place = place_c(batch, column0 + (owner % ${across}u * ${wide}u + block % ${wide}u) * ${side}u + column);
            store(c_place, row0 + (owner / ${across}u * ${high}u + block / ${wide}u) * ${side}u + row, sums);
        }
        workgroupBarrier();
    }
    //# if row_sums
    if group.x == 0u {
        //# for d in range(4)
        scratch[local * 4u + ${d}u] = row_sum[${d}];
        //# endfor
        workgroupBarrier();
        if local < ${height // 4}u {
            var sums = vec4<f32>();
            for (var i = local * 4u; i < ${4 * invocations}u; i += ${height}u) {
                sums += vec4<f32>(scratch[i], scratch[i + 1u], scratch[i + 2u], scratch[i + 3u]);
            }
            store_row_sums(batch, row0 + local * 4u, sums);
        }
    }
    //# endif
}
