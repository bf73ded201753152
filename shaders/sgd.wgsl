// b = momentum b + g,   p = p - lr b   (Nesterov: p = p - lr (g + momentum b))
//
// Stochastic gradient descent with momentum, as torch.optim.SGD, over all parameters of a segment at once. The buffer b starts at
// zero, which makes the first step the same as PyTorch's. decay p is added to g.
// param, gradient, moment1: [count] f32, count a multiple of 4; schedule and control as in adam.wgsl.
//
// Dispatch: ceil(count / (4 * WORKGROUP)), folded into x and y above 65,535.
// Cost: about 6 flops and 20 bytes an element.

//# include "shared/update.wgsl"

struct Params {
    units: u32,
    momentum: f32,
    decay: f32,
    nesterov: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

@group(0) @binding(0) var<storage, read_write> param: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moment1: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> schedule: array<f32>;
@group(0) @binding(4) var<storage, read> control: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn sgd(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = unit_of(id, groups);
    if i >= params.units || control[1] != 0.0 {
        return;
    }
    let p = param[i];
    let g = gradient[i] * control[0] + params.decay * p;
    let b = params.momentum * moment1[i] + g;
    moment1[i] = b;
    var direction = b;
    if params.nesterov == 1u {
        direction = g + params.momentum * b;
    }
    param[i] = p - schedule[0] * direction;
}
