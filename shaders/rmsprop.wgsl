// v = alpha v + (1 - alpha) g^2,   p = p - lr g / (sqrt(v) + eps)
//
// RMSProp (Tieleman & Hinton 2012), as torch.optim.RMSprop, with momentum: b = momentum b + g / (sqrt(v) + eps), p = p - lr b.
// param, gradient, moment1 (b), moment2 (v): [count] f32, count a multiple of 4; schedule and control as in adam.wgsl.
//
// Dispatch: ceil(count / (4 * WORKGROUP)), folded into x and y above 65,535.
// Cost: about 10 flops and 28 bytes an element.

//# include "shared/update.wgsl"

struct Params {
    units: u32,
    alpha: f32,
    rate: f32,  // 1 - alpha, rounded once
    epsilon: f32,
    momentum: f32,
    decay: f32,
    first_group: u32,  // workgroups of the line before this dispatch
}

@group(0) @binding(0) var<storage, read_write> param: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moment1: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> moment2: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> schedule: array<f32>;
@group(0) @binding(5) var<storage, read> control: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn rmsprop(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = unit_of(id, groups);
    if i >= params.units || control[1] != 0.0 {
        return;
    }
    let p = param[i];
    let g = gradient[i] * control[0] + params.decay * p;
    let v = params.alpha * moment2[i] + params.rate * g * g;
    let b = params.momentum * moment1[i] + g / (sqrt(v) + params.epsilon);
    moment2[i] = v;
    moment1[i] = b;
    param[i] = p - schedule[0] * b;
}
