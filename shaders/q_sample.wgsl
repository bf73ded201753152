// The forward process of diffusion, each example at its own t with its own noise:
//
//   out[b, :] = signal[t[b]] x[b, :] + deviation[t[b]] eps,   eps ~ N(0, 1)
//
// With signal = sqrt(abar), deviation = sqrt(1 - abar) it is q(x_t | x_0) (Ho et al. 2020, eq. 4); with sqrt(1 - beta), sqrt(beta) the single
// step q(x_t | x_{t-1}) (eq. 2). x, out: [batch, width]; t: [batch]; table: [timesteps, 2], signal and deviation; t beyond the last is the last.
//
// One invocation makes four consecutive elements; element i has the same noise whatever the workgroup size.
// Dispatch: ceil(count / (4 * WORKGROUP)), folded into x and y.
// Cost: about 40 flops and 8 bytes an element.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    stream: u32,       // hash of the node's name
    examples: u32,     // rows before the next draw begins, where noise belongs to (example, draw)
    draws: u32,
    width: u32,        // elements of a row
    timesteps: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"
//# include "shared/noise.wgsl"
//# include "shared/four_normals.wgsl"

@compute @workgroup_size(WORKGROUP)
fn q_sample(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    keep_noise();
    let first = 4u * ((params.first_group + id.y * groups.x) * WORKGROUP + id.x);
    if first >= params.count {
        return;
    }
    let eps = four_normals(first);
    //# if vector
    let row = 2u * min(t[first / params.width], params.timesteps - 1u);
    out[first / 4u] = table[row] * x[first / 4u] + table[row + 1u] * eps;
    //# else
    for (var i = 0u; i < min(4u, params.count - first); i++) {
        let e = first + i;
        let row = 2u * min(t[e / params.width], params.timesteps - 1u);
        out[e] = table[row] * x[e] + table[row + 1u] * eps[i];
    }
    //# endif
}
