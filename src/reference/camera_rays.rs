//! Twin of `shaders/camera_rays.wgsl`.

use super::twin;
use crate::kernels::camera_rays::{CameraRays, POSE_FLOATS, ROW_BYTES};
use crate::real::Real;
use crate::tensor::Data;

/// View, line and column of the pixel of a ray, by its row of bytes.
pub(crate) fn pixel_of<T: Real>(kernel: &CameraRays, row: &[T]) -> [usize; 3] {
    let byte = |i: usize| (row[4 + i].to_f64() + 0.5).clamp(0.0, 255.0) as usize;
    let pixel = byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
    let (width, height) = (kernel.camera.width, kernel.camera.height);
    let (view, line, column) = (
        pixel / width / height,
        pixel / width % height,
        pixel % width,
    );
    [view.min(kernel.views - 1), line, column]
}

/// `direction = R (u, v, -1)`, `u = (x + offset - cx) / fx`, `v = -(y + offset - cy) / fy`; `origin = t`.
pub(crate) fn camera_rays<T: Real>(kernel: &CameraRays, rows: &[T], poses: &[T]) -> Vec<T> {
    let [shift_x, shift_y, per_focal_x, per_focal_y] = kernel.scales().map(T::from_f64);
    let mut rays = Vec::with_capacity(6 * kernel.rays);
    for row in rows.chunks_exact(ROW_BYTES) {
        let [view, line, column] = pixel_of(kernel, row);
        let u = (T::from_f64(column as f64) + shift_x) * per_focal_x;
        let v = (T::from_f64(line as f64) + shift_y) * -per_focal_y;
        let pose = &poses[POSE_FLOATS * view..][..POSE_FLOATS];
        rays.extend([3, 7, 11].map(|at| pose[at]));
        rays.extend([0, 4, 8].map(|at| pose[at] * u + pose[at + 1] * v - pose[at + 2]));
    }
    rays
}

twin!(CameraRays, run);

fn run<T: Real>(kernel: &CameraRays, buffers: &mut [Data]) {
    let rays = camera_rays(kernel, T::of(&buffers[0]), T::of(&buffers[1]));
    buffers[2] = T::into_data(rays);
}
