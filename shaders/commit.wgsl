// values = next, unless the step was refused
//
// State that training replaces and no optimiser moves: the running statistics of batch normalisation, the vectors of spectral
// normalisation. A step's graph writes what they are to become beside them; here they become it, together with the weights.
// values, next: [count] f32, count a multiple of 4; control as in adam.wgsl.
//
// Dispatch: ceil(count / (4 * WORKGROUP)), folded into x and y above 65,535.
// Cost: 8 bytes an element.

//# include "shared/update.wgsl"

struct Params {
    units: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

@group(0) @binding(0) var<storage, read_write> values: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> next: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> control: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn commit(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = unit_of(id, groups);
    if i >= params.units || control[1] != 0.0 {
        return;
    }
    values[i] = next[i];
}
