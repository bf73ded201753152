// average = average + (1 - decay) (param - average)
//
// Exponential moving average of all parameters of a segment. The decay is the current step's, in the schedule's row: it may warm up.
// average, param: [count] f32, count a multiple of 4; schedule and control as in adam.wgsl.
//
// Dispatch: ceil(count / (4 * WORKGROUP)), folded into x and y above 65,535.
// Cost: 3 flops and 12 bytes an element.

//# include "shared/update.wgsl"

struct Params {
    units: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

@group(0) @binding(0) var<storage, read_write> average: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> param: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> schedule: array<f32>;
@group(0) @binding(3) var<storage, read> control: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn ema(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = unit_of(id, groups);
    if i >= params.units || control[1] != 0.0 {
        return;
    }
    average[i] += schedule[3] * (param[i] - average[i]);
}
