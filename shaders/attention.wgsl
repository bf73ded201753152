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
// An invocation owns ${rows} row${"s" if rows > 1 else ""} of ${"the queries" if mode in ["forward", "log_sums", "by_query"] else "the keys"}, kept in registers, and goes over the rows of the other side, ${tile} at a time.
// Dispatch: ceil(batch * heads * blocks of rows / WORKGROUP), folded into x and y.
// Cost: ${flops} flops a pair of rows and channel, two exponentials or fewer a pair; memory grows with the rows alone.

override WORKGROUP: u32 = 64u;

struct Params {
    units: u32,        // batch * heads * blocks
    heads: u32,
    blocks: u32,       // of ${rows} own rows
    own: u32,          // own rows of a head
    others: u32,       // rows of the other side
    first_group: u32,  // workgroups of the line before this dispatch
    scale: f32,
}

//# include "shared/bindings.wgsl"

//# for name in vectors
fn load_${name}(row: u32, quad: u32) -> vec4<f32> {
    //# if size % 4 == 0
    return ${name}[row * ${size // 4}u + quad];
    //# else
    let first = row * ${size}u + 4u * quad;
    let left = ${size}u - 4u * quad;
    return vec4<f32>(
        ${name}[first],
        select(0.0, ${name}[min(first + 1u, row * ${size}u + ${size - 1}u)], left > 1u),
        select(0.0, ${name}[min(first + 2u, row * ${size}u + ${size - 1}u)], left > 2u),
        select(0.0, ${name}[min(first + 3u, row * ${size}u + ${size - 1}u)], left > 3u),
    );
    //# endif
}
//# endfor

@compute @workgroup_size(WORKGROUP)
fn attention(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let unit = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if unit >= params.units {
        return;
    }
    // Neighbouring invocations have the same head: they read the same rows of the other side.
    let head = unit / params.blocks % params.heads;
    let image = unit / params.blocks / params.heads;
    let own_first = image * params.own * params.heads + head;
    let other_first = image * params.others * params.heads + head;
    //# for r in range(rows)
    // Rows beyond the last are computed again, and not stored.
    let own${r} = own_first + min(unit % params.blocks * ${rows}u + ${r}u, params.own - 1u) * params.heads;
    //# endfor
    //# for name in owned
    //# for r in range(rows)
    //# for q in range(quads)
    let ${name}${r}_${q} = load_${name}(own${r}, ${q}u)${" * params.scale" if name == scaled else ""};
    //# endfor
    //# endfor
    //# endfor
    //# for r in range(rows)
    //# if mode in ["forward", "log_sums"]
    var largest${r} = -0x1p+120f;
    var sum${r} = 0.0;
    //# elif mode == "by_query"
    let log_sum${r} = log_sums[own${r}];
    let dot${r} = dots[own${r}];
    //# endif
    //# if mode != "log_sums"
    //# for q in range(quads)
    var result${r}_${q} = vec4<f32>(0.0);
    //# endfor
    //# endif
    //# endfor
    for (var first = 0u; first < params.others; first += ${tile}u) {
        //# for t in range(tile)
        let there${t} = other_first + min(first + ${t}u, params.others - 1u) * params.heads;
        let is${t} = first + ${t}u < params.others;
        //# if mode in ["by_key", "by_value"]
        let log_sum${t} = log_sums[there${t}];
        //# endif
        //# if mode == "by_key"
        let dot${t} = dots[there${t}];
        //# endif
        //# for name in others
        //# for q in range(quads)
        let ${name}${t}_${q} = load_${name}(there${t}, ${q}u);
        //# endfor
        //# endfor
        //# endfor
        //# for r in range(rows)
        {
            // The scores of the tile.
            //# for t in range(tile)
            var s${t} = 0.0;
            //# for q in range(quads)
            s${t} += dot(${own_score}${r}_${q}, ${other_score}${t}_${q});
            //# endfor
            //# endfor
            //# if mode in ["forward", "log_sums"]
            //# for t in range(tile)
            s${t} = select(-0x1p+120f, s${t}, is${t});
            //# endfor
            var next = largest${r};
            //# for t in range(tile)
            next = max(next, s${t});
            //# endfor
            let shrink = exp(largest${r} - next);
            largest${r} = next;
            //# for t in range(tile)
            let p${t} = select(0.0, exp(s${t} - next), is${t});
            //# endfor
            sum${r} = sum${r} * shrink${" + p" if tile}${range(tile) | join(" + p")};
            //# if mode == "forward"
            //# for q in range(quads)
            result${r}_${q} = result${r}_${q} * shrink;
            //# for t in range(tile)
            result${r}_${q} += p${t} * value${t}_${q};
            //# endfor
            //# endfor
            //# endif
            //# else
            //# for t in range(tile)
            let p${t} = select(0.0, exp(s${t} - log_sum${r if mode == "by_query" else t}), is${t});
            //# endfor
            //# if mode == "by_value"
            //# for q in range(quads)
            //# for t in range(tile)
            result${r}_${q} += p${t} * upstream${t}_${q};
            //# endfor
            //# endfor
            //# else
            //# for t in range(tile)
            var d${t} = 0.0;
            //# for q in range(quads)
            //# if mode == "by_query"
            d${t} += dot(upstream${r}_${q}, value${t}_${q});
            //# else
            d${t} += dot(value${r}_${q}, upstream${t}_${q});
            //# endif
            //# endfor
            d${t} = p${t} * (d${t} - dot${r if mode == "by_query" else t});
            //# endfor
            //# for q in range(quads)
            //# for t in range(tile)
            result${r}_${q} += d${t} * ${other_score}${t}_${q};
            //# endfor
            //# endfor
            //# endif
            //# endif
        }
        //# endfor
    }
    //# for r in range(rows)
    if unit % params.blocks * ${rows}u + ${r}u < params.own {
        //# if mode == "log_sums"
        out[own${r}] = largest${r} + log(sum${r});
        //# else
        //# if mode == "forward"
        let factor${r} = 1.0 / sum${r};
        //# elif mode == "by_value"
        let factor${r} = 1.0;
        //# else
        let factor${r} = params.scale;
        //# endif
        //# for q in range(quads)
        //# if size % 4 == 0
        out[own${r} * ${size // 4}u + ${q}u] = result${r}_${q} * factor${r};
        //# else
        //# for c in range([4, size - 4 * q] | min)
        out[own${r} * ${size}u + ${4 * q + c}u] = result${r}_${q}[${c}] * factor${r};
        //# endfor
        //# endif
        //# endfor
        //# endif
    }
    //# endfor
}
