// z = mu + exp(log_variance / 2) * eps,   eps ~ N(0, 1)
//
// The reparameterisation of Kingma & Welling 2013, eq. 10, with its own noise.
// mu, log_variance, z: [count] f32, count = batch * latent.
//
// One invocation makes four consecutive elements; element i has the same noise whatever the workgroup size.
// Dispatch: ceil(count / (4 * WORKGROUP)), folded into x and y above 65,535.
// Cost: about 40 flops and 12 bytes an element.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    stream: u32,       // hash of the node's name
    by_example: u32,   // 1: noise belongs to (example, draw), else to the step
    examples: u32,     // rows before the next draw begins
    draws: u32,
    width: u32,        // elements of a row
    first_group: u32,  // workgroups of the line before this dispatch
}

@group(0) @binding(0) var<storage, read> mu: array<f32>;
@group(0) @binding(1) var<storage, read> log_variance: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> z: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

//# include "shared/noise.wgsl"
//# include "shared/four_normals.wgsl"

@compute @workgroup_size(WORKGROUP)
fn reparameterize(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let first = 4u * ((params.first_group + id.y * groups.x) * WORKGROUP + id.x);
    if first >= params.count {
        return;
    }
    let eps = four_normals(first);
    for (var i = 0u; i < min(4u, params.count - first); i++) {
        let e = first + i;
        z[e] = mu[e] + exp(0.5 * log_variance[e]) * eps[i];
    }
}
