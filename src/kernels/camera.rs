//! A camera: what turns a pixel's place into a direction, and a direction into a place.
//!
//! ```
//! use wgen::kernels::camera::{Camera, Lens};
//!
//! // A field of view of a right angle: the focal length is half of the width.
//! let camera = Camera::centred(4, 4, 2.0);
//! assert_eq!(camera.direction(3.5, 2.5), [0.75, -0.25, -1.0]);
//! assert_eq!(camera.field_of_view(), [90.0, 90.0]);
//!
//! // A lens that bends lines outwards sees less at the picture's edge.
//! let lens = Lens::Opencv { k1: 0.1, k2: 0.0, p1: 0.0, p2: 0.0, k3: 0.0 };
//! let bent = Camera { lens, ..camera };
//! assert!(bent.direction(4.0, 2.0)[0] < camera.direction(4.0, 2.0)[0]);
//! let [x, y] = bent.place(bent.direction(3.5, 0.5)).unwrap();
//! assert!((x - 3.5).abs() < 1e-9 && (y - 0.5).abs() < 1e-9);
//! ```

use serde::{Deserialize, Serialize};

use crate::real::Real;

/// A camera without a place: what turns pixels into directions. It looks along its -z, x right, y up.
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
    /// What its lens does to the picture of a pinhole.
    #[serde(default, skip_serializing_if = "Lens::is_pinhole")]
    pub lens: Lens,
}

/// How a lens moves what a pinhole would show at (x, y), in focal lengths from the axis, x right and y down, r^2 = x^2 + y^2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Lens {
    /// Not at all.
    #[default]
    Pinhole,
    /// OpenCV's model (Brown 1966): (x, y) (1 + k1 r^2 + k2 r^4 + k3 r^6) + (2 p1 x y + p2 (r^2 + 2 x^2), p1 (r^2 + 2 y^2) + 2 p2 x y).
    Opencv {
        /// Of r^2.
        k1: f64,
        /// Of r^4.
        k2: f64,
        /// Of a lens that is not centred, along y.
        p1: f64,
        /// Along x.
        p2: f64,
        /// Of r^6.
        k3: f64,
    },
    /// OpenCV's fisheye (Kannala & Brandt 2006): at the distance theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8) from the axis, theta
    /// being the angle to it.
    Fisheye {
        /// Of theta^3.
        k1: f64,
        /// Of theta^5.
        k2: f64,
        /// Of theta^7.
        k3: f64,
        /// Of theta^9.
        k4: f64,
    },
}

/// Newton's steps in undoing a lens. What has not converged by then, at any place that real lenses have, does not.
pub const NEWTON_STEPS: usize = 16;

impl Lens {
    /// Whether it leaves pictures as they are.
    pub fn is_pinhole(&self) -> bool {
        *self == Self::Pinhole
    }

    /// Its number (0 a pinhole, 1 OpenCV's, 2 a fisheye) and its coefficients, as `shaders/camera_rays.wgsl` has them.
    pub fn coefficients(&self) -> (u32, [f64; 5]) {
        match *self {
            Self::Pinhole => (0, [0.0; 5]),
            Self::Opencv { k1, k2, p1, p2, k3 } => (1, [k1, k2, k3, p1, p2]),
            Self::Fisheye { k1, k2, k3, k4 } => (2, [k1, k2, k3, k4, 0.0]),
        }
    }

    /// Where it shows the direction (x, y) and `forwards` along the axis, in focal lengths from the axis; `None` behind a camera that is no fisheye.
    pub fn distorted(&self, x: f64, y: f64, forwards: f64) -> Option<[f64; 2]> {
        if let Self::Fisheye { k1, k2, k3, k4 } = *self {
            let r = x.hypot(y);
            let theta = r.atan2(forwards);
            let t = theta * theta;
            let at = theta * (1.0 + t * (k1 + t * (k2 + t * (k3 + t * k4))));
            let by = if r > 0.0 { at / r } else { 0.0 };
            return Some([x * by, y * by]);
        }
        if forwards <= 0.0 {
            return None;
        }
        let (x, y) = (x / forwards, y / forwards);
        let (_, [k1, k2, k3, p1, p2]) = self.coefficients();
        let r = x * x + y * y;
        let radial = 1.0 + r * (k1 + r * (k2 + r * k3));
        Some([
            x * radial + 2.0 * p1 * x * y + p2 * (r + 2.0 * x * x),
            y * radial + p1 * (r + 2.0 * y * y) + 2.0 * p2 * x * y,
        ])
    }

    /// The direction that it shows at (x, y): along the axis 1, of a fisheye of length 1. By Newton's method from where it would be without the lens.
    pub fn undistorted(&self, x: f64, y: f64) -> [f64; 3] {
        let (kind, k) = self.coefficients();
        match kind {
            0 => [x, y, 1.0],
            1 => {
                let mut at = [x, y];
                for _ in 0..NEWTON_STEPS {
                    at = opencv_step(at, [x, y], k);
                }
                [at[0], at[1], 1.0]
            }
            _ => {
                let distance = x.hypot(y);
                let mut theta = distance;
                for _ in 0..NEWTON_STEPS {
                    theta = fisheye_step(theta, distance, k);
                }
                let by = if distance > 0.0 {
                    theta.sin() / distance
                } else {
                    1.0
                };
                [x * by, y * by, theta.cos()]
            }
        }
    }
}

/// One of Newton's steps from (u, v) towards what OpenCV's model of coefficients k1, k2, k3, p1, p2 shows at `seen`.
pub(crate) fn opencv_step<T: Real>([u, v]: [T; 2], seen: [T; 2], k: [T; 5]) -> [T; 2] {
    let [k1, k2, k3, p1, p2] = k;
    let [one, two, three, six] = [1.0, 2.0, 3.0, 6.0].map(T::from_f64);
    let r = u * u + v * v;
    let radial = one + r * (k1 + r * (k2 + r * k3));
    // Its derivative by r^2, twice.
    let slope = two * (k1 + r * (two * k2 + r * three * k3));
    let x = u * radial + two * p1 * u * v + p2 * (r + two * u * u) - seen[0];
    let y = v * radial + p1 * (r + two * v * v) + two * p2 * u * v - seen[1];
    let xx = radial + slope * u * u + two * p1 * v + six * p2 * u;
    let xy = slope * u * v + two * p1 * u + two * p2 * v;
    let yy = radial + slope * v * v + six * p1 * v + two * p2 * u;
    let determinant = xx * yy - xy * xy;
    [
        u - (yy * x - xy * y) / determinant,
        v - (xx * y - xy * x) / determinant,
    ]
}

/// One of Newton's steps from the angle theta towards the one that a fisheye of coefficients k1 to k4 shows at `distance` from the axis.
pub(crate) fn fisheye_step<T: Real>(theta: T, distance: T, [k1, k2, k3, k4, _]: [T; 5]) -> T {
    let [one, three, five, seven, nine] = [1.0, 3.0, 5.0, 7.0, 9.0].map(T::from_f64);
    let t = theta * theta;
    let shown = theta * (one + t * (k1 + t * (k2 + t * (k3 + t * k4))));
    let slope = one + t * (three * k1 + t * (five * k2 + t * (seven * k3 + t * nine * k4)));
    theta - (shown - distance) / slope
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
            lens: Lens::Pinhole,
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
            ..*self
        }
    }

    /// The same without its lens: what it would show through a pinhole.
    #[must_use]
    pub fn pinhole(&self) -> Self {
        Self {
            lens: Lens::Pinhole,
            ..*self
        }
    }

    /// Pixels of a picture.
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// The number of the pixel in column `x` and line `y` of a view, where all views are this camera's.
    pub fn pixel(&self, view: usize, x: usize, y: usize) -> u32 {
        ((view * self.height + y) * self.width + x) as u32
    }

    /// The direction of the ray through a place in the picture, in pixels from the left and the top, in the camera's axes; of length 1 along
    /// the camera's axis, of a fisheye of length 1.
    pub fn direction(&self, x: f64, y: f64) -> [f64; 3] {
        let [x, y, forwards] = self
            .lens
            .undistorted((x - self.cx) / self.fx, (y - self.cy) / self.fy);
        [x, -y, -forwards]
    }

    /// Where in the picture a direction of the camera's axes is seen, in pixels from the left and the top; `None` behind the camera.
    pub fn place(&self, direction: [f64; 3]) -> Option<[f64; 2]> {
        let [x, y, z] = direction;
        let [x, y] = self.lens.distorted(x, -y, -z)?;
        Some([self.cx + self.fx * x, self.cy + self.fy * y])
    }

    /// The angles that a picture covers from left to right and from top to bottom, in degrees.
    pub fn field_of_view(&self) -> [f64; 2] {
        // To the axis, in the plane through it.
        let angle = |x: f64, y: f64| {
            let [x, y, z] = self.direction(x, y);
            x.hypot(y).atan2(-z).to_degrees()
        };
        let (w, h) = (self.width as f64, self.height as f64);
        [
            angle(0.0, self.cy).copysign(self.cx) + angle(w, self.cy).copysign(w - self.cx),
            angle(self.cx, 0.0).copysign(self.cy) + angle(self.cx, h).copysign(h - self.cy),
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
        // An axis beside the picture.
        let outside = Camera {
            cx: -200.0,
            fx: 200.0,
            ..camera
        };
        let covered = 2_f64.atan().to_degrees() - 45.0;
        assert!((outside.field_of_view()[0] - covered).abs() < 1e-12);
    }

    /// OpenCV's points and where it puts them (cv2.projectPoints, cv2.fisheye.distortPoints).
    #[test]
    fn lenses_are_opencvs_and_are_undone() {
        let brown = Lens::Opencv {
            k1: 0.1,
            k2: -0.05,
            p1: 0.001,
            p2: -0.002,
            k3: 0.0,
        };
        let fisheye = Lens::Fisheye {
            k1: 0.1,
            k2: -0.05,
            k3: 0.01,
            k4: -0.002,
        };
        let cases = [
            (brown, [0.302_906_5, -0.201_981]),
            (fisheye, [0.291_174_736, -0.194_116_490]),
        ];
        for (lens, expected) in cases {
            let seen = lens.distorted(0.3, -0.2, 1.0).unwrap();
            assert!(
                (0..2).all(|i| (seen[i] - expected[i]).abs() < 1e-9),
                "{lens:?}: {seen:?}"
            );
            let [x, y, z] = lens.undistorted(seen[0], seen[1]);
            assert!((x / z - 0.3).abs() < 1e-12 && (y / z + 0.2).abs() < 1e-12);
        }
    }

    #[test]
    fn a_place_is_where_its_direction_is_seen() {
        let lenses = [
            Lens::Pinhole,
            Lens::Opencv {
                k1: -0.28,
                k2: 0.09,
                p1: 7e-4,
                p2: -2e-4,
                k3: -0.012,
            },
            Lens::Fisheye {
                k1: -0.02,
                k2: 0.006,
                k3: -0.003,
                k4: 0.0005,
            },
        ];
        for lens in lenses {
            let camera = Camera {
                fy: 205.0,
                cx: 157.0,
                lens,
                ..Camera::centred(320, 240, 200.0)
            };
            for (x, y) in [(0.0, 0.0), (320.0, 240.0), (157.0, 120.0), (10.5, 200.25)] {
                let found = camera.place(camera.direction(x, y)).unwrap();
                assert!((found[0] - x).abs() < 1e-6 && (found[1] - y).abs() < 1e-6);
            }
        }
        // A fisheye looks also backwards, another camera does not.
        let wide = Lens::Fisheye {
            k1: 0.0,
            k2: 0.0,
            k3: 0.0,
            k4: 0.0,
        };
        assert!(wide.distorted(1.0, 0.0, -0.5).unwrap()[0] > 2.0);
        assert_eq!(Lens::Pinhole.distorted(1.0, 0.0, -0.5), None);
    }
}
