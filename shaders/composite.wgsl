// Volume rendering: what becomes of the light along each ray, sample by sample from front to back.
//
//   alpha_k = 1 - exp(-tau_k),   w_k = T_k alpha_k,   T_0 = 1
//# if epsilon
//   T_{k+1} = T_k (1 - alpha_k + epsilon)
//
// As nerf-pytorch has it (raw2outputs), epsilon 1e-10: a sample without thickness lets a little more than all light through.
//# else
//   T_{k+1} = exp(-(tau_0 + .. + tau_k))
//
// Max 1995, "Optical models for direct volume rendering"; Mildenhall et al. 2020, eq. 3.
//# endif
//# if stage == "value"
//   out = (sum w_k colour_k, sum w_k, sum w_k t_k): red, green, blue, opacity, depth
// tau, t: [samples], colour: [samples, 3], out: [rays, 5].
//# elif stage == "weights"
//   out_k = w_k
// tau, out: [samples].
//# elif stage == "colour"
//   out_k = w_k g_rgb: the gradient by colour, g the upstream gradient of the ray.
// tau: [samples], upstream: [rays, 5], out: [samples, 3].
//# elif stage == "t"
//   out_k = w_k g_depth: the gradient by t, g the upstream gradient of the ray.
// tau, out: [samples], upstream: [rays, 5].
//# else
//   out_k = ${"(1 - alpha_k) / (1 - alpha_k + epsilon) " if epsilon}(T_{k+1} v_k - sum_{j > k} w_j v_j),   v_k = g_rgb . colour_k + g_opacity + g_depth t_k
// The gradient by tau, g the upstream gradient of the ray. What is behind a sample is the ray's value without what came up to it, so one
// pass does (instant-ngp, compute_loss_kernel_train_nerf); each of the five is summed as in the value, so that nothing remains at the end.
// tau, t, out: [samples], colour: [samples, 3], value, upstream: [rays, 5].
//# endif
//# if packed
// Ray r has the samples base[r] to base[r + 1]; base: [rays + 2], its last word unused. Those from base[rays] on belong to no ray.
//# endif
//
// One invocation a ray${", which writes zeros to some of the samples that belong to none" if packed and stage != "value"}.
// Dispatch: ceil(rays / WORKGROUP), folded into x and y.
// Cost: about ${flops} flops and ${bytes} bytes a sample.

override WORKGROUP: u32 = 64u;

struct Params {
    rays: u32,
    samples: u32,      // ${"of all rays, and room" if packed else "of a ray"}
    first_group: u32,  // workgroups of the line before this dispatch
    epsilon: f32,
}

//# include "shared/bindings.wgsl"

alias real = f32;
//# include "shared/functions.wgsl"

// A ray's light on its way.
struct Light {
    left: f32,       // T: the share that came so far
    //# if not epsilon
    thickness: f32,  // the sum of tau
    //# endif
}

// The weight of the sample that the light meets next.
fn meet(light: ptr<function, Light>, tau: f32) -> f32 {
    // Not 1 - exp(-tau), which would cancel: most samples are thin.
    let weight = -exp_minus_one(-tau) * (*light).left;
    //# if epsilon
    (*light).left *= exp(-tau) + params.epsilon;
    //# else
    (*light).thickness += tau;
    (*light).left = exp(-(*light).thickness);
    //# endif
    return weight;
}

// The first sample of a ray; of ray r + 1 the one behind the last of ray r.
fn first_sample(ray: u32) -> u32 {
    //# if packed
    return min(base[ray], params.samples);
    //# else
    return ray * params.samples;
    //# endif
}

@compute @workgroup_size(WORKGROUP)
fn composite_${stage}(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let ray = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if ray >= params.rays {
        return;
    }
    let end = first_sample(ray + 1u);
    var light = Light(1.0${"" if epsilon else ", 0.0"});
    //# if stage == "value" or stage == "tau"
    var rgb = vec3<f32>(0.0);
    var opacity = 0.0;
    var depth = 0.0;
    //# endif
    //# if stage in ["tau", "colour"]
    let g_rgb = vec3<f32>(upstream[5u * ray], upstream[5u * ray + 1u], upstream[5u * ray + 2u]);
    //# endif
    //# if stage == "tau"
    let g_opacity = upstream[5u * ray + 3u];
    //# endif
    //# if stage in ["tau", "t"]
    let g_depth = upstream[5u * ray + 4u];
    //# endif
    //# if stage == "tau"
    let all_rgb = vec3<f32>(value[5u * ray], value[5u * ray + 1u], value[5u * ray + 2u]);
    let all_opacity = value[5u * ray + 3u];
    let all_depth = value[5u * ray + 4u];
    //# endif
    for (var s = first_sample(ray); s < end; s++) {
        let weight = meet(&light, tau[s]);
        //# if stage == "value" or stage == "tau"
        let c = vec3<f32>(colour[3u * s], colour[3u * s + 1u], colour[3u * s + 2u]);
        rgb += weight * c;
        opacity += weight;
        depth += weight * t[s];
        //# endif
        //# if stage == "tau"
        let behind = dot(g_rgb, all_rgb - rgb) + g_opacity * (all_opacity - opacity) + g_depth * (all_depth - depth);
        let here = dot(g_rgb, c) + g_opacity + g_depth * t[s];
        //# if epsilon
        let through = exp(-tau[s]);
        out[s] = through / (through + params.epsilon) * (light.left * here - behind);
        //# else
        out[s] = light.left * here - behind;
        //# endif
        //# elif stage == "colour"
        out[3u * s] = weight * g_rgb.x;
        out[3u * s + 1u] = weight * g_rgb.y;
        out[3u * s + 2u] = weight * g_rgb.z;
        //# elif stage == "t"
        out[s] = weight * g_depth;
        //# elif stage == "weights"
        out[s] = weight;
        //# endif
    }
    //# if stage == "value"
    out[5u * ray] = rgb.x;
    out[5u * ray + 1u] = rgb.y;
    out[5u * ray + 2u] = rgb.z;
    out[5u * ray + 3u] = opacity;
    out[5u * ray + 4u] = depth;
    //# elif packed
    for (var s = first_sample(params.rays) + ray; s < params.samples; s += params.rays) {
        //# if stage == "colour"
        out[3u * s] = 0.0;
        out[3u * s + 1u] = 0.0;
        out[3u * s + 2u] = 0.0;
        //# else
        out[s] = 0.0;
        //# endif
    }
    //# endif
}
