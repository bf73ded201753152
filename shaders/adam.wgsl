// m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
// p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//
// Adam (Kingma & Ba 2015, algorithm 1), over all parameters of a segment at once. With decoupled weight decay it is AdamW
// (Loshchilov & Hutter 2019): p = p (1 - lr decay) first; otherwise decay p is added to g, as PyTorch's Adam does.
// param, gradient, moment1, moment2: [count] f32, count a multiple of 4. schedule: the current step's row, made in f64 on the host:
// learning rate, 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t). control: the factor that clipping gives the gradient, and whether
// the step was refused; then nothing is changed.
//
// Dispatch: ceil(count / (4 * WORKGROUP)), folded into x and y above 65,535.
// Cost: about 14 flops and 28 bytes an element.

//# include "shared/update.wgsl"

struct Params {
    units: u32,
    rate1: f32,  // 1 - beta1, rounded once: 1 - 0.999f would err by 1.3e-5
    beta2: f32,
    rate2: f32,  // 1 - beta2
    epsilon: f32,
    decay: f32,
    decoupled: u32,
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
fn adam(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = unit_of(id, groups);
    if i >= params.units || control[1] != 0.0 {
        return;
    }
    let rate = schedule[0];
    var p = param[i];
    var g = gradient[i] * control[0];
    if params.decoupled == 1u {
        p -= rate * params.decay * p;
    } else {
        g += params.decay * p;
    }
    let m = moment1[i] + params.rate1 * (g - moment1[i]);
    let v = params.beta2 * moment2[i] + params.rate2 * g * g;
    moment1[i] = m;
    moment2[i] = v;
    param[i] = p - rate * schedule[1] * m / (sqrt(v) * schedule[2] + params.epsilon);
}
