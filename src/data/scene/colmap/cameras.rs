//! COLMAP's models of cameras.

use crate::kernels::camera::{Camera, Lens};

/// Number, name, and how many parameters it has.
const MODELS: [(i32, &str, usize); 11] = [
    (0, "SIMPLE_PINHOLE", 3),
    (1, "PINHOLE", 4),
    (2, "SIMPLE_RADIAL", 4),
    (3, "RADIAL", 5),
    (4, "OPENCV", 8),
    (5, "OPENCV_FISHEYE", 8),
    (6, "FULL_OPENCV", 12),
    (7, "FOV", 5),
    (8, "SIMPLE_RADIAL_FISHEYE", 4),
    (9, "RADIAL_FISHEYE", 5),
    (10, "THIN_PRISM_FISHEYE", 12),
];

/// The largest side of a camera's pictures.
const MAX_SIDE: u64 = 1 << 20;

/// A model by its number: its name and how many parameters it has.
pub(super) fn by_number(number: i32) -> Result<(&'static str, usize), String> {
    let found = MODELS.iter().find(|(n, ..)| *n == number);
    found
        .map(|(_, name, count)| (*name, *count))
        .ok_or_else(|| format!("has a camera of model {number}, which is none of COLMAP's 0 to 10"))
}

/// How many parameters a model has, by its name.
pub(super) fn by_name(name: &str) -> Result<usize, String> {
    let found = MODELS.iter().find(|(_, n, _)| *n == name);
    found.map(|(.., count)| *count).ok_or_else(|| {
        format!("has a camera of model {name}, which is none of COLMAP's from SIMPLE_PINHOLE to THIN_PRISM_FISHEYE")
    })
}

/// The camera of a model, or why it cannot be one.
pub(super) fn camera(
    model: &str,
    [width, height]: [u64; 2],
    parameters: &[f64],
) -> Result<Camera, String> {
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!(
            "has a camera of pictures of {width} x {height}; sides are from 1 to {MAX_SIDE}"
        ));
    }
    if let Some(wrong) = parameters.iter().find(|x| !x.is_finite()) {
        return Err(format!("has a camera ({model}) with the parameter {wrong}"));
    }
    let opencv = |k1, k2, p1, p2, k3| {
        if [k1, k2, p1, p2, k3] == [0.0; 5] {
            Lens::Pinhole
        } else {
            Lens::Opencv { k1, k2, p1, p2, k3 }
        }
    };
    let fisheye = |k1, k2, k3, k4| Lens::Fisheye { k1, k2, k3, k4 };
    let (fx, fy, cx, cy, lens) = match (model, parameters) {
        ("SIMPLE_PINHOLE", &[f, cx, cy]) => (f, f, cx, cy, Lens::Pinhole),
        ("PINHOLE", &[fx, fy, cx, cy]) => (fx, fy, cx, cy, Lens::Pinhole),
        ("SIMPLE_RADIAL", &[f, cx, cy, k]) => (f, f, cx, cy, opencv(k, 0.0, 0.0, 0.0, 0.0)),
        ("RADIAL", &[f, cx, cy, k1, k2]) => (f, f, cx, cy, opencv(k1, k2, 0.0, 0.0, 0.0)),
        ("OPENCV", &[fx, fy, cx, cy, k1, k2, p1, p2]) => {
            (fx, fy, cx, cy, opencv(k1, k2, p1, p2, 0.0))
        }
        ("FULL_OPENCV", &[fx, fy, cx, cy, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0]) => {
            (fx, fy, cx, cy, opencv(k1, k2, p1, p2, k3))
        }
        ("FULL_OPENCV", &[.., k4, k5, k6]) => {
            return Err(format!(
                "has a camera of model FULL_OPENCV whose k4, k5 and k6 are {k4}, {k5} and {k6}; only one where they are 0 is read: undistort the \
                 pictures (colmap image_undistorter), or take OPENCV"
            ));
        }
        ("OPENCV_FISHEYE", &[fx, fy, cx, cy, k1, k2, k3, k4]) => {
            (fx, fy, cx, cy, fisheye(k1, k2, k3, k4))
        }
        ("SIMPLE_RADIAL_FISHEYE", &[f, cx, cy, k]) => (f, f, cx, cy, fisheye(k, 0.0, 0.0, 0.0)),
        ("RADIAL_FISHEYE", &[f, cx, cy, k1, k2]) => (f, f, cx, cy, fisheye(k1, k2, 0.0, 0.0)),
        ("FOV" | "THIN_PRISM_FISHEYE", _) => {
            return Err(format!(
                "has a camera of model {model}, which is not read: undistort the pictures (colmap image_undistorter), or take OPENCV or OPENCV_FISHEYE"
            ));
        }
        _ => {
            let wanted = by_name(model)?;
            return Err(format!(
                "has a camera of model {model} with {} parameters, which has {wanted}",
                parameters.len()
            ));
        }
    };
    if !(fx > 0.0 && fy > 0.0) {
        return Err(format!(
            "has a camera ({model}) with the focal lengths {fx} and {fy}, which must be above 0"
        ));
    }
    Ok(Camera {
        fy,
        cx,
        cy,
        lens,
        ..Camera::centred(width as usize, height as usize, fx)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_colmaps_and_the_others_are_named() {
        let of = |model: &str, parameters: &[f64]| camera(model, [640, 480], parameters);
        let simple = of("SIMPLE_RADIAL", &[500.0, 320.0, 240.0, -0.1]).unwrap();
        assert_eq!((simple.fx, simple.fy, simple.cx), (500.0, 500.0, 320.0));
        assert_eq!(simple.lens.coefficients(), (1, [-0.1, 0.0, 0.0, 0.0, 0.0]));
        let full = [
            500.0, 501.0, 320.0, 240.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 0.0, 0.0,
        ];
        let camera = of("FULL_OPENCV", &full).unwrap();
        assert_eq!(camera.lens.coefficients(), (1, [0.1, 0.2, 0.5, 0.3, 0.4]));
        let fish = of("RADIAL_FISHEYE", &[500.0, 320.0, 240.0, 0.1, 0.2]).unwrap();
        assert_eq!(fish.lens.coefficients(), (2, [0.1, 0.2, 0.0, 0.0, 0.0]));
        let undistorted = of("OPENCV", &[500.0, 500.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(undistorted.unwrap().lens.is_pinhole());
        let mut rational = full;
        rational[10] = 0.01;
        for (model, parameters, words) in [
            (
                "FULL_OPENCV",
                &rational[..],
                "k4, k5 and k6 are 0, 0.01 and 0",
            ),
            ("FOV", &full[..5], "model FOV, which is not read"),
            ("THIN_PRISM_FISHEYE", &full[..], "THIN_PRISM_FISHEYE"),
            ("PINHOLE", &full[..3], "with 3 parameters, which has 4"),
            ("LATLONG", &full[..], "model LATLONG"),
            ("SIMPLE_PINHOLE", &[-1.0, 1.0, 1.0], "above 0"),
            ("SIMPLE_PINHOLE", &[f64::NAN, 1.0, 1.0], "parameter NaN"),
        ] {
            let message = of(model, parameters).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
        assert!(super::camera("PINHOLE", [0, 1], &full[..4]).is_err());
        assert!(by_number(11).unwrap_err().contains("model 11"));
        assert_eq!(by_number(10).unwrap().1, 12);
    }
}
