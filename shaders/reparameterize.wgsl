// z = mu + exp(log_variance / 2) * eps,   eps ~ N(0, 1)
//
// The reparameterisation of Kingma & Welling 2013, eq. 10, with its own noise.
// mu, log_variance, z: [count] f32, count = batch * latent.
//
// A unit is four consecutive elements; element i has the same noise whatever the workgroup size. One invocation makes ${per_thread}.
// Dispatch: ceil(units / (WORKGROUP * ${per_thread})), folded into x and y above 65,535.
// Cost: about 40 flops and 12 bytes an element.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    units: u32,
    stream: u32,       // hash of the node's name
    examples: u32,     // rows before the next draw begins, where noise belongs to (example, draw)
    draws: u32,
    width: u32,        // elements of a row
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"
//# include "shared/noise.wgsl"
//# include "shared/four_normals.wgsl"

fn move_unit(unit: u32) {
    let eps = four_normals(4u * unit);
    //# if vector
    z[unit] = mu[unit] + exp(0.5 * log_variance[unit]) * eps;
    //# else
    //# for c in ["x", "y", "z", "w"]
    let e${loop.index0} = 4u * unit + ${loop.index0}u;
    if e${loop.index0} < params.count {
        z[e${loop.index0}] = mu[e${loop.index0}] + exp(0.5 * log_variance[e${loop.index0}]) * eps.${c};
    }
    //# endfor
    //# endif
}

//# include "shared/moving.wgsl"
