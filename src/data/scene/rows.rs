//! Rows of rays, and the pictures that they are of.

use std::sync::Arc;

use super::pose::Pose;
use super::views::Views;
use super::world::World;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::kernels::camera::Camera;
use crate::kernels::camera_rays::{ROW_BYTES, row};
use crate::tensor::{Data, ImageShape};

/// What one example is: a row of a ray.
pub const RAY: ImageShape = ImageShape {
    height: 1,
    width: 1,
    channels: ROW_BYTES,
};

/// Rows of pictures, view after view.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// Of the views before, whether their rays are among the rows or not.
    pixels: u64,
    transparent: usize,
}

impl Rows {
    /// Room for the rows of so many pixels.
    pub(super) fn of(pixels: u64) -> Result<Self> {
        let wanted = usize::try_from(pixels).ok();
        let wanted = wanted.and_then(|pixels| pixels.checked_mul(ROW_BYTES));
        let mut bytes = Vec::new();
        let reserved = bytes.try_reserve_exact(wanted.unwrap_or(usize::MAX));
        reserved.map_err(|e| {
            Error::Usage(format!(
                "{pixels} pixels need {} MiB of memory ({e}): make pictures smaller with `scene_downscale`, or take fewer",
                pixels.saturating_mul(ROW_BYTES as u64) >> 20
            ))
        })?;
        Ok(Self {
            bytes,
            ..Self::default()
        })
    }

    /// Adds the pixels of the next view: those that are `kept`, without which all are.
    pub(super) fn add(&mut self, rgba: &[u8], kept: Option<&[bool]>) {
        let (pixels, _) = rgba.as_chunks::<4>();
        let is_kept = |i: usize| kept.is_none_or(|kept| kept.get(i).copied().unwrap_or(false));
        let seen = pixels.iter().enumerate().filter(|(i, _)| is_kept(*i));
        self.transparent += usize::from(seen.clone().any(|(_, p)| p[3] < 255));
        let first = self.pixels;
        let rows = seen.map(|(i, &p)| row(p, (first + i as u64) as u32));
        self.bytes.extend(rows.flatten());
        self.pixels += pixels.len() as u64;
    }

    /// Pixels that are no rows.
    pub(super) fn left_out(&self) -> u64 {
        self.pixels - (self.bytes.len() / ROW_BYTES) as u64
    }

    pub(super) fn dataset(
        self,
        name: String,
        cameras: Vec<Camera>,
        poses: Vec<Pose>,
        names: Vec<String>,
        world: World,
    ) -> Dataset {
        Dataset {
            name,
            shape: RAY,
            values: Data::U8(self.bytes),
            labels: None,
            classes: Vec::new(),
            views: Some(Arc::new(Views {
                cameras,
                poses,
                names,
                transparent: self.transparent,
                world,
            })),
        }
    }
}

/// View `chosen` of a data set of rays as a picture over `background`, RGB in [0, 1], and its shape; `None` of other data. Pixels whose rays are
/// not among the rows are of the background's colour.
pub fn picture(
    data: &Dataset,
    chosen: usize,
    background: [u8; 3],
) -> Option<(Vec<f32>, ImageShape)> {
    let (Some(views), Data::U8(rows)) = (&data.views, &data.values) else {
        return None;
    };
    let camera = views.cameras.get(chosen)?;
    let background = background.map(|x| f32::from(x) / 255.0);
    let mut values = background.repeat(camera.pixels());
    for (place, r) in of_view(views, rows, chosen) {
        let alpha = f32::from(r[3]) / 255.0;
        let pixel = &mut values[3 * place..][..3];
        for (c, value) in pixel.iter_mut().enumerate() {
            *value = f32::from(r[c]) / 255.0 * alpha + background[c] * (1.0 - alpha);
        }
    }
    let shape = ImageShape {
        height: camera.height,
        width: camera.width,
        channels: 3,
    };
    Some((values, shape))
}

/// Which pixels of view `chosen` have rays among the rows: not those that a mask leaves out. `None` of other data.
pub fn seen(data: &Dataset, chosen: usize) -> Option<Vec<bool>> {
    let (Some(views), Data::U8(rows)) = (&data.views, &data.values) else {
        return None;
    };
    let mut seen = vec![false; views.cameras.get(chosen)?.pixels()];
    for (place, _) in of_view(views, rows, chosen) {
        seen[place] = true;
    }
    Some(seen)
}

/// The rows of a view, each with its pixel's place in the picture.
fn of_view<'a>(
    views: &Views,
    rows: &'a [u8],
    chosen: usize,
) -> impl Iterator<Item = (usize, &'a [u8; ROW_BYTES])> {
    let before = views.cameras[..chosen].iter().map(|c| c.pixels() as u64);
    let first: u64 = before.sum();
    let pixels = views.cameras[chosen].pixels() as u64;
    let number = |r: &[u8; ROW_BYTES]| u64::from(u32::from_le_bytes([r[4], r[5], r[6], r[7]]));
    let (rows, _) = rows.as_chunks::<ROW_BYTES>();
    // Where nothing was left out or moved, a view's rows are its own: as many, and no pixel has two. Else they are anywhere.
    let is_own = move |r: &[u8; ROW_BYTES]| (first..first + pixels).contains(&number(r));
    let window = usize::try_from(first).ok().and_then(|first| {
        let window = rows.get(first..first.checked_add(pixels as usize)?)?;
        window.iter().all(is_own).then_some(window)
    });
    let own = window.unwrap_or(rows).iter().filter(move |r| is_own(r));
    own.map(move |r| ((number(r) - first) as usize, r))
}
