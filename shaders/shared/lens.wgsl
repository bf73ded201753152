// What a lens shows at a place, in focal lengths from the axis, right and down: a direction right, down and forwards. The twin is `Lens::undistorted`
// in src/kernels/camera.rs, formulas beside `Lens`. Templates that include it say how many steps of Newton's are made (newton).

//# include "shared/sine.wgsl"

fn undistorted(seen: vec2<f32>, kind: f32, k: vec4<f32>, p: f32) -> vec3<f32> {
    if kind > 1.5 {
        return fisheye_undistorted(seen, k);
    }
    if kind > 0.5 {
        return vec3<f32>(opencv_undistorted(seen, k.xyz, vec2<f32>(k.w, p)), 1.0);
    }
    return vec3<f32>(seen, 1.0);
}

fn opencv_undistorted(seen: vec2<f32>, k: vec3<f32>, p: vec2<f32>) -> vec2<f32> {
    var at = seen;
    for (var step = 0u; step < ${newton}u; step++) {
        let r = dot(at, at);
        let product = at.x * at.y;
        let radial = 1.0 + r * (k.x + r * (k.y + r * k.z));
        let slope = 2.0 * (k.x + r * (2.0 * k.y + r * 3.0 * k.z));
        let shown = at * radial + 2.0 * product * p + p.yx * (r + 2.0 * at * at);
        let off = shown - seen;
        let diagonal = radial + slope * at * at + 2.0 * p * at.yx + 6.0 * p.yx * at;
        let other = slope * product + 2.0 * dot(p, at);
        let determinant = diagonal.x * diagonal.y - other * other;
        at -= (diagonal.yx * off - other * off.yx) / determinant;
    }
    return at;
}

// Of length 1.
fn fisheye_undistorted(seen: vec2<f32>, k: vec4<f32>) -> vec3<f32> {
    let distance = length(seen);
    var theta = distance;
    for (var step = 0u; step < ${newton}u; step++) {
        let t = theta * theta;
        let shown = theta * (1.0 + t * (k.x + t * (k.y + t * (k.z + t * k.w))));
        let slope = 1.0 + t * (3.0 * k.x + t * (5.0 * k.y + t * (7.0 * k.z + t * 9.0 * k.w)));
        theta -= (shown - distance) / slope;
    }
    let turned = sine_cosine(theta, 0u, 0u);
    // On the axis any number: it multiplies zeros.
    let by = turned.x / max(distance, 1e-30);
    return vec3<f32>(seen * by, turned.y);
}
