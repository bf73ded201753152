//! How much of its pictures a lens can be undone for.

use rayon::prelude::*;

use crate::kernels::camera::Camera;

/// Places along each side of a picture that are tried.
const TRIED: usize = 16;

/// Pixels along each side of a picture that are counted.
const COUNTED: usize = 512;

/// How far a place may come back from where it was, in focal lengths.
const TOLERANCE: f64 = 1e-6;

/// Whether the direction that is seen at a place is found: it is seen there, and what lies between it and the axis is seen between the two. The
/// polynomial of a lens turns back somewhere; behind that it means nothing.
fn is_undone(camera: &Camera, x: f64, y: f64) -> bool {
    let (u, v) = ((x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy);
    let [a, b, c] = camera.lens.undistorted(u, v);
    let Some(back) = camera.lens.distorted(a, b, c) else {
        return false;
    };
    let off = (back[0] - u).hypot(back[1] - v);
    if off.is_nan() || off > TOLERANCE {
        return false;
    }
    // From the axis outwards, by the angle's tangent, of a fisheye by the angle.
    let across = a.hypot(b);
    let along = |share: f64| {
        if camera.lens.coefficients().0 == 2 {
            let angle = share * across.atan2(c);
            let by = if across > 0.0 {
                angle.sin() / across
            } else {
                0.0
            };
            camera.lens.distorted(a * by, b * by, angle.cos())
        } else {
            camera.lens.distorted(share * a, share * b, c)
        }
    };
    let mut before = -1.0;
    (0..=8).all(|i| {
        let Some([x, y]) = along(f64::from(i) / 8.0) else {
            return false;
        };
        // With a lens that is not centred, the axis itself need not be the least.
        let out = x.hypot(y);
        let rises = out > before || i < 2;
        before = out;
        rises || across == 0.0
    })
}

/// Whether the lens of a camera can be undone along the border of its pictures, and so within.
pub(super) fn is_undone_everywhere(camera: &Camera) -> bool {
    let (w, h) = (camera.width as f64, camera.height as f64);
    camera.lens.is_pinhole()
        || (0..=TRIED).all(|i| {
            let along = i as f64 / TRIED as f64;
            [
                [along * w, 0.0],
                [along * w, h],
                [0.0, along * h],
                [w, along * h],
            ]
            .into_iter()
            .all(|[x, y]| is_undone(camera, x, y))
        })
}

/// The share of its pixels for which it cannot, of as many as [`COUNTED`] along each side at most; never 0 but where it can be undone everywhere.
pub(super) fn lost(camera: &Camera) -> f64 {
    if is_undone_everywhere(camera) {
        return 0.0;
    }
    let (w, h) = (camera.width.min(COUNTED), camera.height.min(COUNTED));
    let one = |i: usize| {
        let along = |n: usize, of: usize, size: usize| (n * size / of) as f64 + camera.pixel_offset;
        let (x, y) = (
            along(i % w, w, camera.width),
            along(i / w, h, camera.height),
        );
        usize::from(!is_undone(camera, x, y))
    };
    let lost: usize = (0..w * h).into_par_iter().map(one).sum();
    // Pixels at the border may be lost between those that are looked at.
    (lost as f64 / (w * h) as f64).max(1e-9)
}

/// Whether it can, pixel for pixel.
pub(super) fn undone_pixels(camera: &Camera) -> Vec<bool> {
    let one = |i: usize| {
        let (x, y) = ((i % camera.width) as f64, (i / camera.width) as f64);
        let offset = camera.pixel_offset;
        is_undone(camera, x + offset, y + offset)
    };
    (0..camera.pixels()).into_par_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::camera::Lens;

    #[test]
    fn a_lens_that_turns_back_within_the_picture_is_found() {
        let with = |lens| Camera {
            lens,
            ..Camera::centred(64, 48, 40.0)
        };
        let brown = |k1: f64| Lens::Opencv {
            k1,
            k2: 0.0,
            p1: 1e-4,
            p2: -2e-4,
            k3: 0.0,
        };
        for fine in [Lens::Pinhole, brown(-0.1), brown(0.3)] {
            assert!(is_undone_everywhere(&with(fine)), "{fine:?}");
        }
        // r (1 - 0.5 r^2) is at most 0.544, at r = 0.816; the corner is at 1.
        let bent = with(brown(-0.5));
        assert!(!is_undone_everywhere(&bent));
        let pixels = undone_pixels(&bent);
        let at = |x: usize, y: usize| pixels[y * 64 + x];
        assert!(at(32, 24) && at(50, 24) && at(32, 40) && !at(0, 0) && !at(63, 47) && !at(55, 24));
        // A fisheye of 180 degrees and more, and one whose circle ends within the picture.
        let fisheye = |k1: f64| Lens::Fisheye {
            k1,
            k2: 0.0,
            k3: 0.0,
            k4: 0.0,
        };
        let wide = Camera {
            fx: 18.0,
            fy: 18.0,
            ..with(fisheye(0.01))
        };
        assert!(wide.field_of_view()[0] > 180.0 && is_undone_everywhere(&wide));
        assert!(!is_undone_everywhere(&with(fisheye(-0.5))));
    }
}
