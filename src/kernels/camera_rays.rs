//! The rays of pixels of posed cameras: `shaders/camera_rays.wgsl`.
//!
//! A ray of a data set is a row of eight bytes ([`ROW_BYTES`]): the pixel's red, green, blue and alpha, and its number, counted view after
//! view ([`Camera::pixel`]).
//!
//! ```
//! use wgen::Twin;
//! use wgen::kernels::camera_rays::{Camera, CameraRays, NEWTON_STEPS, row};
//! use wgen::tensor::Data;
//!
//! // A field of view of a right angle: the focal length is half of the width. The picture's middle is a corner of pixels.
//! let camera = Camera::centred(4, 4, 2.0);
//! let kernel = CameraRays { rays: 1, views: 1, camera: Some(camera), newton: NEWTON_STEPS };
//! let bytes = row([255, 0, 0, 255], camera.pixel(0, 3, 2)).map(f64::from).to_vec();
//! let pose = vec![1.0, 0.0, 0.0, 7.0, 0.0, 1.0, 0.0, 8.0, 0.0, 0.0, 1.0, 9.0]; // at (7, 8, 9), not turned
//! let mut buffers = [bytes, pose, vec![0.0; 6]].map(Data::F64);
//! kernel.reference(&mut buffers);
//! assert_eq!(buffers[2], Data::F64(vec![7.0, 8.0, 9.0, 0.75, -0.25, -1.0]));
//! ```

use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, bytes_of, fold};
use crate::tensor::DType;

pub use super::camera::Camera;
pub use super::camera::NEWTON_STEPS;

/// Bytes of a ray: red, green, blue, alpha, and the pixel's number as u32, its lowest byte first.
pub const ROW_BYTES: usize = 8;

/// Floats of a pose: the rows of the 3x4 matrix from camera to world.
pub const POSE_FLOATS: usize = 12;

/// Floats of a ray: origin and direction.
pub const RAY_FLOATS: usize = 6;

/// Floats of a camera in a table of them.
pub const CAMERA_FLOATS: usize = 16;

/// The cameras of views as `shaders/camera_rays.wgsl` reads them, [`CAMERA_FLOATS`] each: where each view's pixels begin, size, intrinsics, lens.
pub fn table(cameras: &[Camera]) -> Vec<f32> {
    let mut first = 0_u64;
    let mut floats = Vec::with_capacity(CAMERA_FLOATS * cameras.len());
    for c in cameras {
        let begins = [first & 0xffff, first >> 16].map(|half| half as f64);
        let (kind, k) = c.lens.coefficients();
        floats.extend(begins);
        floats.extend([c.width as f64, c.height as f64]);
        floats.extend(scales(c));
        floats.push(f64::from(kind));
        floats.extend(k);
        floats.extend([0.0; 2]);
        first += c.pixels() as u64;
    }
    floats.into_iter().map(|x| x as f32).collect()
}

/// What is added to columns and lines, and what they are then multiplied by.
pub(crate) fn scales(c: &Camera) -> [f64; 4] {
    [
        c.pixel_offset - c.cx,
        c.pixel_offset - c.cy,
        1.0 / c.fx,
        1.0 / c.fy,
    ]
}

/// The row of a ray.
pub fn row(rgba: [u8; 4], pixel: u32) -> [u8; ROW_BYTES] {
    let ([r, g, b, a], [p, q, s, t]) = (rgba, pixel.to_le_bytes());
    [r, g, b, a, p, q, s, t]
}

/// Origins and directions of rays `[rays, 6]` from their rows `[rays, 8]` and the poses `[views, 12]`; by a [`table`] of cameras `[views, 16]` also the
/// number of the view, `[rays, 7]`.
#[derive(Clone, Debug)]
pub struct CameraRays {
    /// Rays.
    pub rays: usize,
    /// Poses.
    pub views: usize,
    /// The camera of all of them, a pinhole; `None` where each has its own in a table.
    pub camera: Option<Camera>,
    /// Newton's steps by which a lens is undone: [`NEWTON_STEPS`], or fewer, of which one can be told from another.
    pub newton: usize,
}

impl CameraRays {
    /// Floats of a ray that it makes.
    pub fn floats(&self) -> usize {
        RAY_FLOATS + usize::from(self.camera.is_none())
    }
}

impl Kernel for CameraRays {
    fn family(&self) -> &'static str {
        "camera_rays"
    }

    fn variant(&self) -> String {
        let whose = match self.camera {
            Some(_) => "one camera",
            None => "a camera a view",
        };
        format!("a ray each, {whose}")
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![
            Binding::read("rays", DType::F32, ROW_BYTES * self.rays).vector(true),
            Binding::read("poses", DType::F32, POSE_FLOATS * self.views).vector(true),
        ];
        if self.camera.is_none() {
            let table = Binding::read("cameras", DType::F32, CAMERA_FLOATS * self.views);
            bindings.push(table.vector(true));
        }
        bindings.push(Binding::write("out", DType::F32, self.floats() * self.rays));
        bindings
    }

    fn launch(&self) -> Launch {
        let mut params = vec![self.rays as u32, self.views as u32];
        if let Some(camera) = &self.camera {
            params.extend([camera.width as u32, camera.height as u32]);
            params.extend(scales(camera).map(|x| (x as f32).to_bits()));
        }
        let first = params.len();
        params.push(0);
        Launch {
            template: "camera_rays",
            entry: "camera_rays",
            context: json!({
                "table": self.camera.is_none(),
                "newton": self.newton,
                "bindings": super::wgsl_bindings(&self.bindings()),
            }),
            constants: vec![("WORKGROUP", 64.0)],
            params,
            workgroups: fold(self.rays.div_ceil(64) as u64),
            grid: Grid::Line { first },
            subgroups: false,
        }
    }

    fn cost(&self) -> Cost {
        // A lens is undone where there is one, which the device knows.
        let lens = self.camera.map_or(50 * self.newton, |_| 0);
        Cost {
            flops: (24 + lens) as f64 * self.rays as f64,
            bytes: bytes_of(&self.bindings()),
        }
    }
}
