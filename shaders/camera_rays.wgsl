// The rays of pixels of posed pinhole cameras (Mildenhall et al. 2020; get_rays of nerf-pytorch).
//
//   direction = R (u, v, -1),  u = (x + offset - cx) / fx,  v = -(y + offset - cy) / fy;   origin = t
//
// A camera looks along its -z, x right and y up (OpenGL); [R | t] is camera-to-world. Directions are not normalised: a distance along one
// is a depth along the camera's axis. offset is 0.5 for rays through the centres of pixels, 0 for rays through their corners.
// rays: [rays, 8] f32, the bytes of a row: red, green, blue, alpha, and the pixel's number (view * height + y) * width + x, its lowest byte
// first; poses: [views, 12] f32, the rows of [R | t]; out: [rays, 6], origin and direction. A view beyond the last is the last.
//
// One invocation makes one ray. Dispatch: ceil(rays / WORKGROUP), folded into x and y.
// Cost: 24 flops and 56 bytes a ray, and the poses.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    views: u32,
    width: u32,
    height: u32,
    shift_x: f32,      // offset - cx
    shift_y: f32,      // offset - cy
    per_focal_x: f32,  // 1 / fx
    per_focal_y: f32,
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"

@compute @workgroup_size(WORKGROUP)
fn camera_rays(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let ray = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if ray >= params.count {
        return;
    }
    let bytes = vec4<u32>(clamp(rays[2u * ray + 1u] + 0.5, vec4<f32>(0.0), vec4<f32>(255.0)));
    let pixel = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
    let line = pixel / params.width;
    let view = min(line / params.height, params.views - 1u);
    let u = (f32(pixel % params.width) + params.shift_x) * params.per_focal_x;
    let v = (f32(line % params.height) + params.shift_y) * -params.per_focal_y;
    for (var row = 0u; row < 3u; row++) {
        let pose = poses[3u * view + row];
        out[6u * ray + row] = pose.w;
        out[6u * ray + 3u + row] = pose.x * u + pose.y * v - pose.z;
    }
}
