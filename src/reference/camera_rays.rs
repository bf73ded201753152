//! Twins of `shaders/camera_rays.wgsl`.

use super::twin;
use crate::kernels::camera::{Camera, fisheye_step, opencv_step};
use crate::kernels::camera_rays::{CAMERA_FLOATS, CameraRays, POSE_FLOATS, ROW_BYTES, scales};
use crate::real::Real;
use crate::tensor::Data;

/// The number of the pixel of a ray, by its row of bytes.
pub(crate) fn pixel_of<T: Real>(row: &[T]) -> usize {
    let byte = |i: usize| (row[4 + i].to_f64() + 0.5).clamp(0.0, 255.0) as usize;
    byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
}

/// `direction = R (u, v, -1)`, `u = (x + offset - cx) / fx`, `v = -(y + offset - cy) / fy`; `origin = t`: of one camera.
pub(crate) fn camera_rays<T: Real>(camera: &Camera, rows: &[T], poses: &[T]) -> Vec<T> {
    let [shift_x, shift_y, per_focal_x, per_focal_y] = scales(camera).map(T::from_f64);
    let (width, views) = (camera.width, poses.len() / POSE_FLOATS);
    let mut rays = Vec::with_capacity(6 * rows.len() / ROW_BYTES);
    for row in rows.chunks_exact(ROW_BYTES) {
        let pixel = pixel_of(row);
        let (line, column) = (pixel / width % camera.height, pixel % width);
        let view = (pixel / width / camera.height).min(views - 1);
        let u = (T::from_f64(column as f64) + shift_x) * per_focal_x;
        let v = (T::from_f64(line as f64) + shift_y) * -per_focal_y;
        let pose = &poses[POSE_FLOATS * view..][..POSE_FLOATS];
        rays.extend([3, 7, 11].map(|at| pose[at]));
        rays.extend([0, 4, 8].map(|at| pose[at] * u + pose[at + 1] * v - pose[at + 2]));
    }
    rays
}

/// The same by a table of cameras, and the view's number behind each ray.
pub(crate) fn of_table<T: Real>(rows: &[T], poses: &[T], cameras: &[T], newton: usize) -> Vec<T> {
    let whole = |x: T| x.to_f64() as usize;
    let cameras: Vec<&[T]> = cameras.chunks_exact(CAMERA_FLOATS).collect();
    let first = |camera: &[T]| whole(camera[0]) | whole(camera[1]) << 16;
    let mut rays = Vec::with_capacity(7 * rows.len() / ROW_BYTES);
    for row in rows.chunks_exact(ROW_BYTES) {
        let pixel = pixel_of(row);
        let begun = cameras.iter().filter(|camera| first(camera) <= pixel);
        let view = begun.count().saturating_sub(1);
        let camera = cameras[view];
        let within = pixel.saturating_sub(first(camera));
        let (width, height) = (whole(camera[2]), whole(camera[3]));
        let place = [within % width, within / width % height].map(|x| T::from_f64(x as f64));
        let seen = [0, 1].map(|axis| (place[axis] + camera[4 + axis]) * camera[6 + axis]);
        let k = std::array::from_fn(|i| camera[9 + i]);
        let [right, down, forwards] = undistorted(whole(camera[8]), k, seen, newton);
        let pose = &poses[POSE_FLOATS * view..][..POSE_FLOATS];
        rays.extend([3, 7, 11].map(|at| pose[at]));
        let turned =
            [0, 4, 8].map(|at| pose[at] * right - pose[at + 1] * down - pose[at + 2] * forwards);
        rays.extend(turned);
        rays.push(T::from_f64(view as f64));
    }
    rays
}

/// What a lens of this number and these coefficients shows at a place. All of Newton's steps but the last are made in f64: what they leave of their
/// error is less than the last one's rounding.
fn undistorted<T: Real>(kind: usize, k: [T; 5], seen: [T; 2], newton: usize) -> [T; 3] {
    let (exact, [x, y]) = (k.map(T::to_f64), seen.map(T::to_f64));
    match kind {
        0 => [seen[0], seen[1], T::from_f64(1.0)],
        1 => {
            let mut at = [x, y];
            for _ in 1..newton {
                at = opencv_step(at, [x, y], exact);
            }
            let [u, v] = opencv_step(at.map(T::from_f64), seen, k);
            [u, v, T::from_f64(1.0)]
        }
        _ => {
            let distance = (seen[0] * seen[0] + seen[1] * seen[1]).sqrt();
            let mut theta = distance.to_f64();
            for _ in 1..newton {
                theta = fisheye_step(theta, distance.to_f64(), exact);
            }
            let theta = fisheye_step(T::from_f64(theta), distance, k);
            let by = theta.sin() / distance.max(T::from_f64(1e-30));
            [seen[0] * by, seen[1] * by, theta.cos()]
        }
    }
}

twin!(CameraRays, run);

fn run<T: Real>(kernel: &CameraRays, buffers: &mut [Data]) {
    let (rows, poses) = (T::of(&buffers[0]), T::of(&buffers[1]));
    let rays = match &kernel.camera {
        Some(camera) => camera_rays(camera, rows, poses),
        None => of_table(rows, poses, T::of(&buffers[2]), kernel.newton),
    };
    if let Some(out) = buffers.last_mut() {
        *out = T::into_data(rays);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::camera::{Lens, NEWTON_STEPS};

    #[test]
    fn a_lens_is_undone_as_the_host_undoes_it() {
        let lenses = [
            Lens::Pinhole,
            Lens::Opencv {
                k1: -0.2,
                k2: 0.06,
                p1: 1e-3,
                p2: -5e-4,
                k3: -0.008,
            },
            Lens::Fisheye {
                k1: 0.05,
                k2: -0.01,
                k3: 0.002,
                k4: -0.0003,
            },
        ];
        for lens in lenses {
            let (kind, k) = lens.coefficients();
            for seen in [[0.0, 0.0], [0.7, -0.4], [-1e-3, 0.5]] {
                let ours = undistorted(kind as usize, k, seen, NEWTON_STEPS);
                let theirs = lens.undistorted(seen[0], seen[1]);
                assert!((0..3).all(|i| (ours[i] - theirs[i]).abs() < 1e-14));
            }
        }
    }
}
