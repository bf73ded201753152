// The rays of pixels of posed cameras (Mildenhall et al. 2020; get_rays of nerf-pytorch).
//
//   direction = R (u, v, -1),  u = (x + offset - cx) / fx,  v = -(y + offset - cy) / fy;   origin = t
//
// A camera looks along its -z, x right and y up (OpenGL); [R | t] is camera-to-world. Directions are not normalised: a distance along one
// is a depth along the camera's axis. offset is 0.5 for rays through the centres of pixels, 0 for rays through their corners.
//# if table
// Every view has a camera of its own, with its lens (src/kernels/camera.rs): (u, -v) is what OpenCV's model or its fisheye shows at the pixel, by
// ${newton} of Newton's steps from where a pinhole would have it. Directions of a fisheye have length 1.
// cameras: [views, 16] f32: the number of the view's first pixel, its lower and its upper 16 bits; width; height; offset - cx; offset - cy; 1 / fx; 1 / fy;
// 0 a pinhole, 1 OpenCV's model, 2 its fisheye; k1, k2, k3, and p1, p2 of the one or k4 of the other. First pixels are in order.
//# endif
// rays: [rays, 8] f32, the bytes of a row: red, green, blue, alpha, and the pixel's number, its lowest byte first: ${"counted view after view, line after line" if table else "(view * height + y) * width + x"};
// poses: [views, 12] f32, the rows of [R | t]; out: ${"[rays, 7], origin, direction and the view's number" if table else "[rays, 6], origin and direction"}. A view beyond the last is the last.
//
// One invocation makes one ray. Dispatch: ceil(rays / WORKGROUP), folded into x and y.
// Cost: ${"24 flops, of a lens " ~ (newton * 50) ~ " more, and 60" if table else "24 flops and 56"} bytes a ray, and the poses.

override WORKGROUP: u32 = 64u;

struct Params {
    count: u32,
    views: u32,
    //# if not table
    width: u32,
    height: u32,
    shift_x: f32,      // offset - cx
    shift_y: f32,      // offset - cy
    per_focal_x: f32,  // 1 / fx
    per_focal_y: f32,
    //# endif
    first_group: u32,  // workgroups of the line before this dispatch
}

//# include "shared/bindings.wgsl"
//# if table
//# include "shared/lens.wgsl"

// The last view that begins at this pixel or before it.
fn view_of(pixel: u32) -> u32 {
    var low = 0u;
    var high = params.views - 1u;
    while low < high {
        let middle = (low + high + 1u) / 2u;
        if first_pixel(middle) <= pixel {
            low = middle;
        } else {
            high = middle - 1u;
        }
    }
    return low;
}

fn first_pixel(view: u32) -> u32 {
    let halves = vec2<u32>(cameras[4u * view].xy);
    return halves.x | (halves.y << 16u);
}
//# endif

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
    //# if table
    let view = view_of(pixel);
    let size = vec2<u32>(cameras[4u * view].zw);
    let within = pixel - min(first_pixel(view), pixel);
    let place = vec2<f32>(vec2<u32>(within % size.x, within / size.x % size.y));
    let intrinsics = cameras[4u * view + 1u];
    let lens = cameras[4u * view + 2u];
    let seen = (place + intrinsics.xy) * intrinsics.zw;
    // Right, down, forwards.
    let d = undistorted(seen, lens.x, vec4<f32>(lens.yzw, cameras[4u * view + 3u].x), cameras[4u * view + 3u].y);
    for (var row = 0u; row < 3u; row++) {
        let pose = poses[3u * view + row];
        out[7u * ray + row] = pose.w;
        out[7u * ray + 3u + row] = pose.x * d.x - pose.y * d.y - pose.z * d.z;
    }
    out[7u * ray + 6u] = f32(view);
    //# else
    let line = pixel / params.width;
    let view = min(line / params.height, params.views - 1u);
    let u = (f32(pixel % params.width) + params.shift_x) * params.per_focal_x;
    let v = (f32(line % params.height) + params.shift_y) * -params.per_focal_y;
    for (var row = 0u; row < 3u; row++) {
        let pose = poses[3u * view + row];
        out[6u * ray + row] = pose.w;
        out[6u * ray + 3u + row] = pose.x * u + pose.y * v - pose.z;
    }
    //# endif
}
