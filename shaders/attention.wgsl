// Scaled dot-product attention (Vaswani et al. 2017, eq. 1) of several heads, without the matrix of queries times keys in memory:
// tiled with a running softmax, and its gradient from the kept logarithms of the sums (Dao et al. 2022, "FlashAttention"). This one: ${mode}.
//
//   forward      out[i] = sum over j of p_ij value[j],  p_ij = exp(s_ij) / sum over j of exp(s_ij),  s_ij = scale query[i] . key[j]
//   log_sums     log_sums[i] = log of the sum over j of exp(s_ij)
//   by_query     out[i] = scale * sum over j of d_ij key[j],  d_ij = p_ij (upstream[i] . value[j] - dots[i]),  dots[i] = upstream[i] . result[i]
//   by_key       out[j] = scale * sum over i of d_ij query[i]
//   by_value     out[j] = sum over i of p_ij upstream[i]
//
// query, upstream: [batch, queries, heads, ${size}]; key, value: [batch, keys, heads, ${size}]; log_sums, dots: [batch, queries, heads].
// Four rows of ${"the queries" if owns_queries else "the keys"} belong to ${lanes} lanes, which go over the rows of the other side, ${tile} at a time. Each lane makes the weights (p or d) of
// the four rows and ${each} others${"" if mode == "log_sums" else ", which all of them then see in workgroup memory; each sums its " ~ sums ~ " vec4 of the four results"}.
//# if staged
// The other side's rows go through workgroup memory ${staged} vec4 at a time, read by neighbours together.
//# endif
// Dispatch: ceil(batch * heads * blocks of four rows / ${groups}), folded into x and y.
// Cost: ${flops} flops a pair of rows and channel, two exponentials or fewer a pair; memory grows with the rows alone.

struct Params {
    units: u32,        // batch * heads * blocks
    heads: u32,
    blocks: u32,       // of four own rows, of a head
    own: u32,          // own rows of a head
    others: u32,       // rows of the other side
    first_group: u32,  // workgroups of the line before this dispatch
    scale: f32,
    quads: u32,        // vec4 of a row. It and the next are no constants, so that no compiler unrolls the loops over them and holds all that they load
    lanes: u32,        // ${lanes}
}

//# include "shared/bindings.wgsl"

//# for name in vectors
// Four channels of a row.
fn load_${name}(row: u32, quad: u32) -> vec4<f32> {
    //# if size % 4 == 0
    return vec4<f32>(${name}[row * ${size // 4}u + quad]);
    //# else
    let first = row * ${size}u + 4u * quad;
    let left = ${size}u - 4u * quad;
    let last = row * ${size}u + ${size - 1}u;
    return vec4<f32>(
        f32(${name}[first]),
        select(0.0, f32(${name}[min(first + 1u, last)]), left > 1u),
        select(0.0, f32(${name}[min(first + 2u, last)]), left > 2u),
        select(0.0, f32(${name}[min(first + 3u, last)]), left > 3u),
    );
    //# endif
}
//# endfor

//# if staged
// [tile][${staged}] of the other side's rows, one more a row for the banks.
var<workgroup> staged: array<vec4<f32>, ${tile * (staged + 1)}>;
//# endif
//# if mode == "log_sums"
// Of each lane: the largest scores of the four rows, and the sums.
var<workgroup> peaks: array<vec4<f32>, ${lanes * groups}>;
var<workgroup> sums: array<vec4<f32>, ${lanes * groups}>;
//# else
//# if mode == "forward"
var<workgroup> peaks: array<vec4<f32>, ${lanes * groups}>;
//# endif
// [groups][tile]: of four own rows and one other. One more a group keeps the groups apart in the banks.
var<workgroup> weights: array<vec4<f32>, ${groups * (tile + 1)}>;
//# endif

@compute @workgroup_size(${lanes * groups})
fn attention(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first_unit = (params.first_group + workgroup.y * workgroups.x + workgroup.x) * ${groups}u;
    if first_unit >= params.units {
        return;
    }
    let lane = local % ${lanes}u;
    let group = local / ${lanes}u;
    // Spare groups of the last workgroup compute its last unit again, and store nothing.
    let unit = min(first_unit + group, params.units - 1u);
    let head = unit / params.blocks % params.heads;
    let image = unit / params.blocks / params.heads;
    let block = unit % params.blocks * 4u;
    let own_first = image * params.own * params.heads + head;
    let other_first = image * params.others * params.heads + head;
    // Rows beyond the last are computed again, and not stored.
    //# for r in range(4)
    let own${r} = own_first + min(block + ${r}u, params.own - 1u) * params.heads;
    //# endfor
    //# if mode in ["forward", "log_sums"]
    var largest = vec4<f32>(-0x1p+120f);
    var sum = vec4<f32>();
    //# elif mode == "by_query"
    let log_sum = vec4<f32>(log_sums[own0], log_sums[own1], log_sums[own2], log_sums[own3]);
    let dot_sum = vec4<f32>(dots[own0], dots[own1], dots[own2], dots[own3]);
    //# endif
    //# if mode != "log_sums"
    //# for r in range(4)
    //# for q in range(sums)
    var result${r}_${q} = vec4<f32>();
    //# endfor
    //# endfor
    //# endif
    for (var first = 0u; first < params.others; first += ${tile}u) {
        //# for e in range(each)
        let other${e} = first + lane + ${e * lanes}u;
        let row${e} = other_first + min(other${e}, params.others - 1u) * params.heads;
        //# for _, other in pairs
        var ${other}${e} = vec4<f32>();
        //# endfor
        //# endfor
        //# macro products(own, other, quad)
        //# for r in range(4)
        let ${own}_quad${r} = load_${own}(own${r}, ${quad});
        //# endfor
        //# for e in range(each)
        //# if staged
        let ${other}_quad${e} = staged[(lane + ${e * lanes}u) * ${staged + 1}u + q];
        //# else
        let ${other}_quad${e} = load_${other}(row${e}, ${quad});
        //# endif
        ${other}${e} += vec4<f32>(
            dot(${own}_quad0, ${other}_quad${e}),
            dot(${own}_quad1, ${other}_quad${e}),
            dot(${own}_quad2, ${other}_quad${e}),
            dot(${own}_quad3, ${other}_quad${e}),
        );
        //# endfor
        //# endmacro
        //# if staged
        //# for own, other in pairs
        for (var chunk = 0u; chunk < params.quads; chunk += ${staged}u) {
            //# if loop.first and mode != "log_sums"
            // What was staged for the tile before is done with: weights were shared since.
            if chunk > 0u {
                workgroupBarrier();
            }
            //# else
            workgroupBarrier();
            //# endif
            for (var i = local; i < ${tile * staged}u; i += ${lanes * groups}u) {
                let row = other_first + min(first + i / ${staged}u, params.others - 1u) * params.heads;
                let quad = min(chunk + i % ${staged}u, params.quads - 1u);
                staged[i / ${staged}u * ${staged + 1}u + i % ${staged}u] = load_${other}(row, quad);
            }
            workgroupBarrier();
            for (var q = 0u; q < min(${staged}u, params.quads - chunk); q++) {
${products(own, other, "chunk + q")}
            }
        }
        //# endfor
        //# else
        for (var q = 0u; q < params.quads; q++) {
            //# for own, other in pairs
${products(own, other, "q")}
            //# endfor
        }
        //# endif
        //# if mode in ["forward", "log_sums"]
        var peak = largest;
        //# for e in range(each)
        let s${e} = select(vec4<f32>(-0x1p+120f), key${e} * params.scale, other${e} < params.others);
        peak = max(peak, s${e});
        //# endfor
        //# if mode == "forward"
        peaks[local] = peak;
        workgroupBarrier();
        for (var i = 0u; i < params.lanes; i++) {
            peak = max(peak, peaks[group * ${lanes}u + i]);
        }
        //# endif
        let shrink = exp(largest - peak);
        largest = peak;
        //# for e in range(each)
        let p${e} = select(vec4<f32>(), exp(s${e} - peak), other${e} < params.others);
        //# endfor
        //# if mode == "log_sums"
        sum = sum * shrink${" + p" if each}${range(each) | join(" + p")};
        //# endif
        //# else
        //# set score = "key" if owns_queries else "query"
        //# for e in range(each)
        //# if owns_queries
        let p${e} = select(vec4<f32>(), exp(${score}${e} * params.scale - log_sum), other${e} < params.others);
        //# else
        let p${e} = select(vec4<f32>(), exp(${score}${e} * params.scale - log_sums[row${e}]), other${e} < params.others);
        //# endif
        //# endfor
        //# endif
        //# if mode != "log_sums"
        //# if not staged and mode != "forward"
        // The weights of the tile before are done with.
        workgroupBarrier();
        //# endif
        //# for e in range(each)
        weights[group * ${tile + 1}u + lane + ${e * lanes}u] = ${"p" ~ e if mode in ["forward", "by_value"] else "p" ~ e ~ " * (value" ~ e ~ " - dot_sum)" if mode == "by_query" else "p" ~ e ~ " * (upstream" ~ e ~ " - dots[row" ~ e ~ "])"};
        //# endfor
        workgroupBarrier();
        //# if mode == "forward"
        sum *= shrink;
        //# for r in range(4)
        //# for q in range(sums)
        result${r}_${q} *= shrink[${r}];
        //# endfor
        //# endfor
        //# endif
        for (var t = 0u; t < min(${tile}u, params.others - first); t++) {
            let weight = weights[group * ${tile + 1}u + t];
            let row = other_first + (first + t) * params.heads;
            //# if mode == "forward"
            sum += weight;
            //# endif
            //# for q in range(sums)
            let term${q} = load_${summed}(row, min(lane + ${q * lanes}u, params.quads - 1u));
            //# for r in range(4)
            result${r}_${q} += weight[${r}] * term${q};
            //# endfor
            //# endfor
        }
        //# endif
    }
    //# if mode == "log_sums"
    peaks[local] = largest;
    sums[local] = sum;
    workgroupBarrier();
    if lane > 0u || first_unit + group >= params.units {
        return;
    }
    for (var i = 1u; i < params.lanes; i++) {
        largest = max(largest, peaks[local + i]);
    }
    sum = vec4<f32>();
    for (var i = 0u; i < params.lanes; i++) {
        sum += sums[local + i] * exp(peaks[local + i] - largest);
    }
    //# elif mode == "forward"
    let factor = 1.0 / sum;
    //# elif mode == "by_value"
    let factor = vec4<f32>(1.0);
    //# else
    let factor = vec4<f32>(params.scale);
    //# endif
    //# for r in range(4)
    if first_unit + group < params.units && block + ${r}u < params.own {
        //# if mode == "log_sums"
        out[own${r}] = largest[${r}] + log(sum[${r}]);
        //# else
        //# for q in range(sums)
        if lane + ${q * lanes}u < params.quads {
            let quad = lane + ${q * lanes}u;
            //# if size % 4 == 0
            out[own${r} * ${size // 4}u + quad] = ${bindings[-1].wgsl}(result${r}_${q} * factor[${r}]);
            //# else
            let done = result${r}_${q} * factor[${r}];
            for (var c = 0u; c < min(4u, ${size}u - 4u * quad); c++) {
                out[own${r} * ${size}u + 4u * quad + c] = ${bindings[-1].wgsl}(done[c]);
            }
            //# endif
        }
        //# endfor
        //# endif
    }
    //# endfor
}
