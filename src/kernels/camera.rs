//! A camera: what turns a pixel's place into a direction.
//!
//! ```
//! use wgen::kernels::camera::Camera;
//!
//! // A field of view of a right angle: the focal length is half of the width.
//! let camera = Camera::centred(4, 4, 2.0);
//! assert_eq!(camera.direction(3.5, 2.5), [0.75, -0.25, -1.0]);
//! assert_eq!(camera.field_of_view(), [90.0, 90.0]);
//! ```

use serde::{Deserialize, Serialize};

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
