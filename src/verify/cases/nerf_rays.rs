//! Rays of posed cameras.

use super::{Case, Values, case, integers};
use crate::kernels::camera::{Camera, Lens};
use crate::kernels::camera_rays::{CameraRays, NEWTON_STEPS, ROW_BYTES, row, table};
use crate::tensor::Data;

pub(super) fn camera_rays(cases: &mut Vec<Case>) {
    let wide = Camera {
        fy: 31.0,
        cx: 20.25,
        cy: -3.0,
        ..Camera::centred(37, 11, 29.5)
    };
    let corners = Camera {
        pixel_offset: 0.0,
        ..Camera::centred(800, 800, 1111.111)
    };
    // One view and pixel; a prime of each; pixels whose numbers have bits in all four bytes; one more and one less than a workgroup.
    for (rays, views, camera) in [
        (0, 1, wide),
        (1, 1, Camera::centred(1, 1, 0.5)),
        (67, 3, wide),
        (63, 29, corners),
        (65, 6000, corners),
        (1031, 7, wide),
    ] {
        let kernel = CameraRays {
            rays,
            views,
            camera: Some(camera),
            newton: NEWTON_STEPS,
        };
        let pixels = (views * camera.pixels()) as u32;
        let rows = move |inputs: &mut [Data]| inputs[0] = rows(rays, pixels);
        let name = format!(
            "{rays} of {views} views of {} x {}, offset {}",
            camera.width, camera.height, camera.pixel_offset
        );
        cases.push(case(name, kernel, Values::Normal).changed(rows));
    }
    of_tables(cases);
}

/// Cameras of different sizes, without a lens and with every kind, which can be undone all over their pictures.
fn cameras(views: usize) -> Vec<Camera> {
    let opencv = |k1, k2, p1, p2, k3| Lens::Opencv { k1, k2, p1, p2, k3 };
    let fisheye = |k1, k2, k3, k4| Lens::Fisheye { k1, k2, k3, k4 };
    let one = |i: usize| Camera {
        fy: 76.0 + (i % 9) as f64,
        cx: 20.25 - (i % 5) as f64,
        pixel_offset: if i % 4 == 3 { 0.0 } else { 0.5 },
        lens: match i % 6 {
            0 => opencv(-0.28, 0.09, 7e-4, -2e-4, -0.012),
            1 => Lens::Pinhole,
            2 => opencv(0.12, -0.03, -3e-3, 2e-3, 4e-3),
            3 => fisheye(-0.02, 0.006, -0.003, 0.0005),
            // The smallest term alone.
            4 => opencv(0.0, 0.0, 1e-3, 0.0, 0.0),
            _ => fisheye(0.1, -0.05, 0.01, -0.002),
        },
        ..Camera::centred(37 + i % 40, 29 - i % 7, 75.0)
    };
    (0..views).map(one).collect()
}

/// The same so near and so wide that each term of a lens and of its slope is seen in one of Newton's steps: after sixteen of them a wrong slope has
/// led to the right place all the same.
fn near(views: usize) -> Vec<Camera> {
    let opencv = |k1, k2, p1, p2, k3| Lens::Opencv { k1, k2, p1, p2, k3 };
    let one = |(i, camera): (usize, Camera)| Camera {
        fx: 17.0 + (i % 3) as f64,
        fy: 18.5,
        lens: match i % 3 {
            0 => opencv(0.31, 0.22, 0.05, -0.04, 0.17),
            1 => opencv(0.21, 0.12, -0.06, 0.07, 0.11),
            _ => Lens::Fisheye {
                k1: 0.21,
                k2: 0.13,
                k3: 0.09,
                k4: 0.06,
            },
        },
        ..camera
    };
    cameras(views).into_iter().enumerate().map(one).collect()
}

fn of_tables(cases: &mut Vec<Case>) {
    // One view; pixels whose numbers have bits in the third byte; one more and one less than a workgroup.
    for (rays, views, newton) in [
        (0, 1, NEWTON_STEPS),
        (1, 1, NEWTON_STEPS),
        (67, 2, NEWTON_STEPS),
        (63, 6, NEWTON_STEPS),
        (65, 300, NEWTON_STEPS),
        (1031, 13, NEWTON_STEPS),
        (517, 9, 1),
    ] {
        let kernel = CameraRays {
            rays,
            views,
            camera: None,
            newton,
        };
        let cameras = match newton {
            NEWTON_STEPS => cameras(views),
            _ => near(views),
        };
        let pixels = cameras.iter().map(|c| c.pixels() as u32).sum();
        let name = format!("{rays} of {views} views, a camera each, {newton} steps");
        let built = case(name, kernel, Values::Normal).changed(move |inputs| {
            inputs[0] = rows(rays, pixels);
            inputs[2] = Data::F32(table(&cameras));
        });
        cases.push(built);
    }
}

/// Rows of pixels, the first and the last among them; one is beyond the last, and one has bytes that are none.
fn rows(rays: usize, pixels: u32) -> Data {
    let mut bytes: Vec<f32> = integers(3, pixels, rays)
        .as_u32()
        .iter()
        .enumerate()
        .flat_map(|(i, &pixel)| {
            let pixel = match i {
                0 => pixels - 1,
                1 => 0,
                2 => pixels + 5,
                _ => pixel,
            };
            row([i as u8, 1, 2, 255], pixel).map(f32::from)
        })
        .collect();
    if let Some(odd) = bytes.get_mut(3 * ROW_BYTES + 4..4 * ROW_BYTES) {
        odd.copy_from_slice(&[-1.0, 300.0, 0.4997, 0.0]);
    }
    Data::F32(bytes)
}
