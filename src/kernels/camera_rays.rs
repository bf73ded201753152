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

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Binding, Cost, Grid, Kernel, Launch, fold};
use crate::tensor::DType;

/// Bytes of a ray: red, green, blue, alpha, and the pixel's number as u32, its lowest byte first.
pub const ROW_BYTES: usize = 8;

/// Floats of a pose: the rows of the 3x4 matrix from camera to world.
pub const POSE_FLOATS: usize = 12;

/// Floats of a ray: origin and direction.
pub const RAY_FLOATS: usize = 6;

/// A pinhole camera without a place: what turns pixels into directions. It looks along its -z, x right, y up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// Columns of its pictures.
    pub width: usize,
    /// Rows of its pictures.
    pub height: usize,
    /// Focal length along x, in pixels.
    pub fx: f64,
    /// Focal length along y, in pixels.
    pub fy: f64,
    /// Where its axis meets the picture, in pixels from the left.
    pub cx: f64,
    /// The same from the top.
    pub cy: f64,
    /// Where in a pixel its ray passes, in pixels from its left and its top: 0.5 its centre; 0 its corner, as nerf-pytorch has it.
    pub pixel_offset: f64,
}

impl Camera {
    /// The camera of a focal length in pixels whose axis meets the middle of the picture, rays through the centres of pixels.
    pub fn centred(width: usize, height: usize, focal: f64) -> Self {
        Self {
            width,
            height,
            fx: focal,
            fy: focal,
            cx: width as f64 / 2.0,
            cy: height as f64 / 2.0,
            pixel_offset: 0.5,
        }
    }

    /// The same view in pictures of another size.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        let x = width as f64 / self.width as f64;
        let y = height as f64 / self.height as f64;
        Self {
            width,
            height,
            fx: self.fx * x,
            fy: self.fy * y,
            cx: self.cx * x,
            cy: self.cy * y,
            pixel_offset: self.pixel_offset,
        }
    }

    /// Pixels of a picture.
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// The number of the pixel in column `x` and line `y` of a view.
    pub fn pixel(&self, view: usize, x: usize, y: usize) -> u32 {
        ((view * self.height + y) * self.width + x) as u32
    }

    /// The direction of the ray through a place in the picture, in pixels from the left and the top, in the camera's axes; of length 1 along
    /// the camera's axis.
    pub fn direction(&self, x: f64, y: f64) -> [f64; 3] {
        [(x - self.cx) / self.fx, -(y - self.cy) / self.fy, -1.0]
    }

    /// The angles that a picture covers from left to right and from top to bottom, in degrees.
    pub fn field_of_view(&self) -> [f64; 2] {
        let angle = |before: f64, size: usize, focal: f64| {
            let after = size as f64 - before;
            ((before / focal).atan() + (after / focal).atan()).to_degrees()
        };
        [
            angle(self.cx, self.width, self.fx),
            angle(self.cy, self.height, self.fy),
        ]
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_view_are_of_the_whole_picture() {
        let camera = Camera::centred(200, 100, 100.0);
        let [x, y] = camera.field_of_view();
        assert!((x - 90.0).abs() < 1e-12 && (y - 2.0 * 0.5_f64.atan().to_degrees()).abs() < 1e-12);
        // An axis at the picture's edge: all of it on one side.
        let beside = Camera {
            cx: 0.0,
            fx: 200.0,
            ..camera
        };
        assert!((beside.field_of_view()[0] - 45.0).abs() < 1e-12);
    }
}
