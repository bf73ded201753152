// ray[s] = the ray that sample s belongs to: base[ray] <= s < base[ray + 1]; 0 for samples from the last on
//
// base: [rays + 2] u32 as scan writes it, ray: [samples] u32. Bisection: rays without samples are passed over, since base is the same at their end.
// Dispatch: ceil(samples / WORKGROUP), folded into x and y.
// Cost: log2(rays) reads and 4 bytes a sample.

override WORKGROUP: u32 = 64u;

struct Params {
    rays: u32,
    samples: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

@compute @workgroup_size(WORKGROUP)
fn ray_of(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let s = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if s >= params.samples {
        return;
    }
    if s >= base[params.rays] {
        ray[s] = 0u;
        return;
    }
    // The first ray that ends behind s.
    var low = 0u;
    var high = params.rays - 1u;
    while low < high {
        let middle = (low + high) / 2u;
        if base[middle + 1u] > s {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    ray[s] = low;
}
