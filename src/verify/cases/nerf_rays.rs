//! Rays of posed cameras.

use super::{Case, Values, case, integers};
use crate::kernels::camera_rays::{Camera, CameraRays, ROW_BYTES, row};
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
            camera,
        };
        let pixels = (views * camera.pixels()) as u32;
        let rows = move |inputs: &mut [Data]| inputs[0] = rows(rays, pixels);
        let name = format!(
            "{rays} of {views} views of {} x {}, offset {}",
            camera.width, camera.height, camera.pixel_offset
        );
        cases.push(case(name, kernel, Values::Normal).changed(rows));
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
