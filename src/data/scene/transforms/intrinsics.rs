//! What a list of transforms says of cameras: focal lengths in one of three ways, where the axis is, the lens.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::kernels::camera::{Camera, Lens};

/// The widest field of view that is taken for that of a camera without a fisheye, in degrees.
pub(super) const WIDEST: f64 = 170.0;

/// What a file says of its camera; pictures say how large they are. Numbers that are none are `null`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(in crate::data::scene) struct Intrinsics {
    /// Degrees.
    x_fov: Option<f64>,
    y_fov: Option<f64>,
    /// Pixels of pictures of `w` x `h`.
    fl_x: Option<f64>,
    fl_y: Option<f64>,
    /// Radians.
    camera_angle_x: Option<f64>,
    camera_angle_y: Option<f64>,
    cx: Option<f64>,
    cy: Option<f64>,
    w: Option<f64>,
    h: Option<f64>,
    k1: Option<f64>,
    k2: Option<f64>,
    k3: Option<f64>,
    k4: Option<f64>,
    p1: Option<f64>,
    p2: Option<f64>,
    is_fisheye: Option<bool>,
    /// Words of nerfstudio, which are COLMAP's.
    camera_model: Option<Value>,
}

/// An axis of the picture: its name, what is said of it and how many pixels it has.
struct Along<'a> {
    axis: &'a str,
    degrees: Option<f64>,
    pixels: Option<f64>,
    radians: Option<f64>,
    size: usize,
    /// How many times larger the picture is than the one that is said.
    by: f64,
}

impl Intrinsics {
    /// What a frame says, and what its file says where it says nothing. A frame that says how wide it looks says so in its own way.
    pub(super) fn over(&self, file: &Self) -> Self {
        let own = [
            self.x_fov,
            self.y_fov,
            self.fl_x,
            self.fl_y,
            self.camera_angle_x,
            self.camera_angle_y,
        ];
        let none = Self::default();
        let focal = if own.iter().all(Option::is_none) {
            file
        } else {
            &none
        };
        Self {
            x_fov: self.x_fov.or(focal.x_fov),
            y_fov: self.y_fov.or(focal.y_fov),
            fl_x: self.fl_x.or(focal.fl_x),
            fl_y: self.fl_y.or(focal.fl_y),
            camera_angle_x: self.camera_angle_x.or(focal.camera_angle_x),
            camera_angle_y: self.camera_angle_y.or(focal.camera_angle_y),
            cx: self.cx.or(file.cx),
            cy: self.cy.or(file.cy),
            w: self.w.or(file.w),
            h: self.h.or(file.h),
            k1: self.k1.or(file.k1),
            k2: self.k2.or(file.k2),
            k3: self.k3.or(file.k3),
            k4: self.k4.or(file.k4),
            p1: self.p1.or(file.p1),
            p2: self.p2.or(file.p2),
            is_fisheye: self.is_fisheye.or(file.is_fisheye),
            camera_model: self.camera_model.clone().or(file.camera_model.clone()),
        }
    }

    /// The size of the pictures that it is of, where both sides are said.
    pub(in crate::data::scene) fn size(&self) -> Option<[f64; 2]> {
        let said = |side: Option<f64>| side.filter(|s| s.is_finite() && *s > 0.0);
        Some([said(self.w)?, said(self.h)?])
    }

    /// The camera of pictures of this size. Along an axis a field of view in degrees counts before a focal length, and that before an angle in
    /// radians; where one axis has none of them, pixels are square.
    pub(in crate::data::scene) fn camera(
        &self,
        path: &Path,
        width: usize,
        height: usize,
    ) -> Result<Camera> {
        let wrong = |why: String| Error::format(path, why);
        let lens = self.lens().map_err(wrong)?;
        // Whoever makes pictures smaller leaves the list as it was.
        let scale = |size: usize, said: Option<f64>| {
            let said = said.filter(|said| said.is_finite() && *said > 0.0)?;
            Some(size as f64 / said)
        };
        let (by_x, by_y) = (scale(width, self.w), scale(height, self.h));
        // A side that is not said was made smaller as the other was.
        let (by_x, by_y) = (by_x.or(by_y).unwrap_or(1.0), by_y.or(by_x).unwrap_or(1.0));
        if (by_x / by_y - 1.0).abs() > 0.02 {
            return Err(wrong(format!(
                "says that pictures are {} x {}, but they are {width} x {height}, of another shape",
                self.w.unwrap_or(width as f64),
                self.h.unwrap_or(height as f64)
            )));
        }
        let x = Along {
            axis: "x",
            degrees: self.x_fov,
            pixels: self.fl_x,
            radians: self.camera_angle_x,
            size: width,
            by: by_x,
        };
        let y = Along {
            axis: "y",
            degrees: self.y_fov,
            pixels: self.fl_y,
            radians: self.camera_angle_y,
            size: height,
            by: by_y,
        };
        let (fx, fy) = (x.focal().map_err(wrong)?, y.focal().map_err(wrong)?);
        // Pixels of the pictures as they were are square, not of those that were rounded to whole ones.
        let across = fx.or(fy.map(|fy| fy / by_y * by_x));
        let Some((fx, fy)) = across.zip(fy.or(fx.map(|fx| fx / by_x * by_y))) else {
            return Err(wrong(
                "says no camera_angle_x, fl_x or x_fov that is a number: how wide do the pictures look?"
                    .to_owned(),
            ));
        };
        let middle = Camera::centred(width, height, fx);
        let centre = |said: Option<f64>, by: f64, middle: f64| {
            said.filter(|c| c.is_finite()).map_or(middle, |c| c * by)
        };
        let camera = Camera {
            fy,
            cx: centre(self.cx, by_x, middle.cx),
            cy: centre(self.cy, by_y, middle.cy),
            lens,
            ..middle
        };
        let [x, y] = camera.field_of_view();
        if !matches!(lens, Lens::Fisheye { .. }) && (x > WIDEST || y > WIDEST) {
            return Err(wrong(format!(
                "focal lengths of {fx:.3} and {fy:.3} pixels make a field of view of {x:.1} x {y:.1} degrees; at most {WIDEST} are taken for a camera's"
            )));
        }
        Ok(camera)
    }

    /// The lens, or why there is none that is known here.
    fn lens(&self) -> Result<Lens, String> {
        let model = match &self.camera_model {
            None | Some(Value::Null) => "",
            Some(Value::String(name)) => name,
            Some(other) => return Err(format!("camera_model is {other}, which is no name")),
        };
        let fisheye = match model.to_uppercase().as_str() {
            "" => self.is_fisheye == Some(true),
            "PERSPECTIVE" | "PINHOLE" | "SIMPLE_PINHOLE" | "OPENCV" | "SIMPLE_RADIAL"
            | "RADIAL" => self.is_fisheye == Some(true),
            "FISHEYE" | "OPENCV_FISHEYE" | "SIMPLE_RADIAL_FISHEYE" | "RADIAL_FISHEYE" => true,
            _ => {
                return Err(format!(
                    "camera_model is {model}, which is not known; PINHOLE, SIMPLE_PINHOLE, SIMPLE_RADIAL, RADIAL, OPENCV, OPENCV_FISHEYE, \
                     SIMPLE_RADIAL_FISHEYE and RADIAL_FISHEYE are: undistort the pictures (colmap image_undistorter)"
                ));
            }
        };
        let all = [
            ("k1", self.k1),
            ("k2", self.k2),
            ("k3", self.k3),
            ("k4", self.k4),
            ("p1", self.p1),
            ("p2", self.p2),
        ];
        if let Some((name, k)) = all.iter().find(|(_, k)| k.is_some_and(|k| !k.is_finite())) {
            return Err(format!("{name} is {k:?}, which is no number"));
        }
        let [k1, k2, k3, k4, p1, p2] = all.map(|(_, k)| k.unwrap_or(0.0));
        if fisheye {
            if p1 != 0.0 || p2 != 0.0 {
                return Err(format!(
                    "p1 and p2 of a fisheye are {p1} and {p2}; OpenCV's fisheye has k1 to k4 alone"
                ));
            }
            return Ok(Lens::Fisheye { k1, k2, k3, k4 });
        }
        if k4 != 0.0 {
            return Err(format!(
                "k4 is {k4}: beside p1 and p2 there are k1, k2 and k3 (OpenCV's model); of a fisheye say is_fisheye or camera_model OPENCV_FISHEYE"
            ));
        }
        if [k1, k2, k3, p1, p2] == [0.0; 5] {
            return Ok(Lens::Pinhole);
        }
        Ok(Lens::Opencv { k1, k2, p1, p2, k3 })
    }
}

impl Along<'_> {
    /// The focal length along it, in pixels of the picture; none where nothing is said.
    fn focal(&self) -> Result<Option<f64>, String> {
        let axis = self.axis;
        match (self.degrees, self.pixels, self.radians) {
            (Some(degrees), ..) => self.of_angle(&format!("{axis}_fov"), degrees.to_radians()),
            (None, Some(pixels), _) if pixels.is_finite() && pixels > 0.0 => {
                Ok(Some(pixels * self.by))
            }
            (None, Some(pixels), _) => Err(format!(
                "fl_{axis} is {pixels}; a focal length must be above 0"
            )),
            (None, None, Some(angle)) => self.of_angle(&format!("camera_angle_{axis}"), angle),
            (None, None, None) => Ok(None),
        }
    }

    fn of_angle(&self, name: &str, angle: f64) -> Result<Option<f64>, String> {
        if angle > 0.0 && angle.to_degrees() <= WIDEST {
            return Ok(Some(0.5 * self.size as f64 / (0.5 * angle).tan()));
        }
        let hint = if name.starts_with("camera_angle") && angle > 0.0 {
            "; it is in radians"
        } else {
            ""
        };
        Err(format!(
            "{name} is {angle}, a field of view of {:.1} degrees: it must be above 0 and at most {WIDEST}{hint}",
            angle.to_degrees()
        ))
    }
}
