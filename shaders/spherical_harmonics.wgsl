// The 16 real spherical harmonics of degree 0 to 3 of a direction (x, y, z) of length 1, as polynomials, with the order and the signs of
// tiny-cuda-nn (Sloan 2008, "Stupid spherical harmonics tricks", appendix A2):
//
//   a                                                      a = 1 / (2 sqrt(pi))
//   -b y   b z   -b x                                      b = sqrt(3 / (4 pi))
//   c xy  -c yz   d (3zz - 1)  -c xz   c (xx - yy) / 2     c = sqrt(15 / (4 pi)),  d = sqrt(5 / (16 pi))
//   e y (yy - 3xx)   f xyz   g y (1 - 5zz)   h z (5zz - 3)   g x (1 - 5zz)   f z (xx - yy) / 2   e x (3yy - xx)
//                                                          e = sqrt(35 / (32 pi)),  f = sqrt(105 / (4 pi)),  g = sqrt(21 / (32 pi)),  h = sqrt(7 / (16 pi))
//
//# if gradient
// This one: out[n, :] = the sum over them of upstream[n, i] times the gradient of polynomial i by (x, y, z). upstream: [rows, 16]; out: [rows, 3].
//# else
// out: [rows, 16].
//# endif
// direction: [rows, 3]. The polynomials hold for any (x, y, z); harmonics they are on the sphere.
//
// One invocation has one row; sixteen values are four vec4. Dispatch: ceil(rows / WORKGROUP), folded into x and y.
// Cost: ${"about 90" if gradient else "about 40"} flops and ${88 if gradient else 76} bytes a row.

override WORKGROUP: u32 = 64u;

struct Params {
    rows: u32,
    first_group: u32,  // workgroups of the line before this dispatch
}

const A: f32 = 0.28209479177387814;
const B: f32 = 0.4886025119029199;
const C: f32 = 1.0925484305920792;
const D: f32 = 0.31539156525252005;
const E: f32 = 0.5900435899266435;
const F: f32 = 2.890611442640554;
const G: f32 = 0.4570457994644657;
const H: f32 = 0.3731763325901154;

//# include "shared/bindings.wgsl"


@compute @workgroup_size(WORKGROUP)
fn spherical_harmonics(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let row = (params.first_group + id.y * groups.x) * WORKGROUP + id.x;
    if row >= params.rows {
        return;
    }
    let x = direction[3u * row];
    let y = direction[3u * row + 1u];
    let z = direction[3u * row + 2u];
    let xx = x * x;
    let yy = y * y;
    let zz = z * z;
    //# if gradient
    let p = upstream[4u * row];
    let q = upstream[4u * row + 1u];
    let r = upstream[4u * row + 2u];
    let s = upstream[4u * row + 3u];
    // Degree by degree.
    var by_x = -B * p.w;
    var by_y = -B * p.y;
    var by_z = B * p.z;
    by_x += C * (y * q.x - z * q.w + x * r.x);
    by_y += C * (x * q.x - z * q.y - y * r.x);
    by_z += 6.0 * D * z * q.z - C * (y * q.y + x * q.w);
    by_x += F * (y * z * r.z + x * z * s.z) - 6.0 * E * x * y * r.y + G * (1.0 - 5.0 * zz) * s.y + 3.0 * E * (yy - xx) * s.w;
    by_y += F * (x * z * r.z - y * z * s.z) + 6.0 * E * x * y * s.w + G * (1.0 - 5.0 * zz) * r.w + 3.0 * E * (yy - xx) * r.y;
    by_z += F * (x * y * r.z + 0.5 * (xx - yy) * s.z) - 10.0 * G * z * (y * r.w + x * s.y) + H * (15.0 * zz - 3.0) * s.x;
    out[3u * row] = by_x;
    out[3u * row + 1u] = by_y;
    out[3u * row + 2u] = by_z;
    //# else
    out[4u * row] = vec4<f32>(A, -B * y, B * z, -B * x);
    out[4u * row + 1u] = vec4<f32>(C * x * y, -C * y * z, D * (3.0 * zz - 1.0), -C * x * z);
    out[4u * row + 2u] = vec4<f32>(0.5 * C * (xx - yy), E * y * (yy - 3.0 * xx), F * x * y * z, G * y * (1.0 - 5.0 * zz));
    out[4u * row + 3u] = vec4<f32>(H * z * (5.0 * zz - 3.0), G * x * (1.0 - 5.0 * zz), 0.5 * F * z * (xx - yy), E * x * (3.0 * yy - xx));
    //# endif
}
