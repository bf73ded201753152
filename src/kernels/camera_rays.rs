//! The rays of pixels of posed cameras: `shaders/camera_rays.wgsl`.
//!
//! A ray of a data set is a row of eight bytes ([`ROW_BYTES`]): the pixel's red, green, blue and alpha, and its number, counted view after
//! view ([`Camera::pixel`]).
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::camera_rays::{Camera, CameraRays, row};
//! use wgen::tensor::Data;
//!
//! // A field of view of a right angle: the focal length is half of the width. The picture's middle is a corner of pixels.
//! let camera = Camera::centred(4, 4, 2.0);
//! let kernel = CameraRays { rays: 1, views: 1, camera };
//! let bytes = row([255, 0, 0, 255], camera.pixel(0, 3, 2)).map(f64::from).to_vec();
//! let pose = vec![1.0, 0.0, 0.0, 7.0, 0.0, 1.0, 0.0, 8.0, 0.0, 0.0, 1.0, 9.0]; // at (7, 8, 9), not turned
//! let mut buffers = [bytes, pose, vec![0.0; 6]].map(Data::F64);
//! kernel.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F64(vec![7.0, 8.0, 9.0, 0.75, -0.25, -1.0]));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, fold};
use crate::tensor::DType;

pub use super::camera::Camera;

/// Bytes of a ray: red, green, blue, alpha, and the pixel's number as u32, its lowest byte first.
pub const ROW_BYTES: usize = 8;

/// Floats of a pose: the rows of the 3x4 matrix from camera to world.
pub const POSE_FLOATS: usize = 12;

/// Floats of a ray: origin and direction.
pub const RAY_FLOATS: usize = 6;

/// The row of a ray.
pub fn row(rgba: [u8; 4], pixel: u32) -> [u8; ROW_BYTES] {
    let ([r, g, b, a], [p, q, s, t]) = (rgba, pixel.to_le_bytes());
    [r, g, b, a, p, q, s, t]
}

/// Origins and directions of rays `[rays, 6]` from their rows `[rays, 8]` and the poses `[views, 12]`.
#[derive(Clone, Debug)]
pub struct CameraRays {
    /// Rays.
    pub rays: usize,
    /// Poses.
    pub views: usize,
    /// The camera of all of them.
    pub camera: Camera,
}

impl CameraRays {
    /// What is added to columns and lines, and what they are then multiplied by.
    pub(crate) fn scales(&self) -> [f64; 4] {
        let c = &self.camera;
        [
            c.pixel_offset - c.cx,
            c.pixel_offset - c.cy,
            1.0 / c.fx,
            1.0 / c.fy,
        ]
    }
}

impl Kernel for CameraRays {
    fn family(&self) -> &'static str {
        "camera_rays"
    }

    fn variant(&self) -> String {
        "a ray each".to_owned()
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read("rays", DType::F32, ROW_BYTES * self.rays).vector(true),
            Binding::read("poses", DType::F32, POSE_FLOATS * self.views).vector(true),
            Binding::write("out", DType::F32, RAY_FLOATS * self.rays),
        ]
    }

    fn launch(&self) -> Launch {
        let words = [self.rays, self.views, self.camera.width, self.camera.height];
        let mut params: Vec<u32> = words.iter().map(|&w| w as u32).collect();
        params.extend(self.scales().map(|x| (x as f32).to_bits()));
        let first = params.len();
        params.push(0);
        Launch {
            template: "camera_rays",
            entry: "camera_rays",
            context: json!({"bindings": super::wgsl_bindings(&self.bindings())}),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(self.rays.div_ceil(64) as u64),
            grid: Grid::Line { first },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 24.0 * self.rays as f64,
            bytes: 4.0 * ((ROW_BYTES + RAY_FLOATS) * self.rays + POSE_FLOATS * self.views) as f64,
        }
    }
}
