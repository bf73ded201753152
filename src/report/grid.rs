//! Images in a grid, as PNG, and grids in time, as GIF; points of the plane as a scatter plot.
//!
//! ```
//! use wgen::data::digits::digits;
//! use wgen::report::grid;
//!
//! let data = digits(8, 1);
//! let picture = grid::grid(&data.scaled(), data.shape, 4);
//! // Small images are enlarged: twice here, with two pixels between them.
//! assert_eq!(picture.dimensions(), (4 * (2 * 28 + 2) + 2, 2 * (2 * 28 + 2) + 2));
//! # let dir = tempfile::tempdir().unwrap();
//! std::fs::write(dir.path().join("digits.png"), grid::png(&picture)?).unwrap();
//! # Ok::<(), wgen::Error>(())
//! ```

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, Rgb, RgbImage};

use crate::error::{Error, Result};
use crate::tensor::ImageShape;

/// Pixels between images.
const GAP: u32 = 2;

/// Lays images with values in [0, 1], row after row, out in `columns`; values outside are clamped. Small images are enlarged by
/// whole factors, so that pixels stay pixels.
pub fn grid(values: &[f32], shape: ImageShape, columns: usize) -> RgbImage {
    let count = values.len() / shape.count().max(1);
    let columns = columns.clamp(1, count.max(1));
    let rows = count.div_ceil(columns);
    let scale = (64 / shape.height.max(shape.width).max(1)).clamp(1, 4) as u32;
    let (cell_w, cell_h) = (
        shape.width as u32 * scale + GAP,
        shape.height as u32 * scale + GAP,
    );
    let mut picture = RgbImage::from_pixel(
        columns as u32 * cell_w + GAP,
        rows as u32 * cell_h + GAP,
        Rgb([40; 3]),
    );
    for (i, image) in values.chunks_exact(shape.count().max(1)).enumerate() {
        let (left, top) = (
            (i % columns) as u32 * cell_w + GAP,
            (i / columns) as u32 * cell_h + GAP,
        );
        for y in 0..shape.height as u32 * scale {
            for x in 0..shape.width as u32 * scale {
                let at =
                    ((y / scale) as usize * shape.width + (x / scale) as usize) * shape.channels;
                let byte = |c: usize| {
                    (image[at + c.min(shape.channels - 1)].clamp(0.0, 1.0) * 255.0).round() as u8
                };
                picture.put_pixel(left + x, top + y, Rgb([byte(0), byte(1), byte(2)]));
            }
        }
    }
    picture
}

/// Points of the plane as a picture: a square from -`half` to `half`.
pub fn scatter(points: &[f32], half: f32) -> RgbImage {
    const SIDE: u32 = 384;
    let mut picture = RgbImage::from_pixel(SIDE, SIDE, Rgb([255; 3]));
    for p in points.chunks_exact(2) {
        let place = |v: f32| ((v / half * 0.5 + 0.5) * SIDE as f32) as i64;
        let (x, y) = (place(p[0]), i64::from(SIDE) - place(p[1]));
        for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            if (0..i64::from(SIDE)).contains(&(x + dx)) && (0..i64::from(SIDE)).contains(&(y + dy))
            {
                let pixel = picture.get_pixel_mut((x + dx) as u32, (y + dy) as u32);
                let Rgb([r, g, b]) = *pixel;
                *pixel = Rgb([r / 2 + 15, g / 2 + 40, b / 2 + 90]);
            }
        }
    }
    picture
}

/// Images as a grid, points of the plane as a scatter plot.
pub fn picture(values: &[f32], shape: ImageShape, columns: usize) -> RgbImage {
    if shape.height == 1 && shape.width == 2 {
        scatter(values, 3.0)
    } else {
        grid(values, shape, columns)
    }
}

/// Moments of the same examples side by side, a row for each of the first `rows` examples; of points a picture for each moment.
pub fn chain(moments: &[Vec<f32>], shape: ImageShape, rows: usize) -> RgbImage {
    if shape.height == 1 {
        let each: Vec<_> = moments.iter().map(|m| picture(m, shape, 1)).collect();
        return beside(&each);
    }
    let width = shape.count();
    let of_row = |i: usize| moments.iter().map(move |m| &m[i * width..(i + 1) * width]);
    let values: Vec<&[f32]> = (0..rows).flat_map(of_row).collect();
    picture(&values.concat(), shape, moments.len())
}

/// The first `count` filters of `width` values each, stretched so that 0 is grey and the largest of a filter's pixels black or white.
pub fn stretched(filters: &[f32], width: usize, count: usize) -> Vec<f32> {
    let stretch = |filter: &[f32]| -> Vec<f32> {
        let largest = filter.iter().fold(1e-12_f32, |m, x| m.max(x.abs()));
        filter.iter().map(|x| 0.5 + 0.5 * x / largest).collect()
    };
    let filters = filters.chunks_exact(width).take(count);
    filters.flat_map(stretch).collect()
}

/// Pictures of one height beside each other.
pub fn beside(pictures: &[RgbImage]) -> RgbImage {
    let height = pictures.iter().map(RgbImage::height).max().unwrap_or(1);
    let width = pictures.iter().map(RgbImage::width).sum();
    let mut all = RgbImage::from_pixel(width, height, Rgb([40; 3]));
    let mut left = 0;
    for picture in pictures {
        image::imageops::replace(&mut all, picture, left, 0);
        left += i64::from(picture.width());
    }
    all
}

/// A picture as a PNG file's bytes.
///
/// # Errors
/// When it cannot be encoded.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|e| Error::Usage(format!("the picture cannot be encoded: {e}")))?;
    Ok(bytes.into_inner())
}

/// Pictures of a run of any length in bounded memory: as they become too many, every other one goes.
#[derive(Debug)]
pub struct Film {
    frames: Vec<RgbImage>,
    stride: usize,
    seen: usize,
}

/// The most frames of a film.
const FRAMES: usize = 64;

impl Default for Film {
    fn default() -> Self {
        Self {
            frames: Vec::new(),
            stride: 1,
            seen: 0,
        }
    }
}

impl Film {
    /// Takes a picture in, if its turn is now.
    pub fn push(&mut self, picture: RgbImage) {
        if self.seen.is_multiple_of(self.stride) {
            if self.frames.len() == FRAMES {
                let mut keep = false;
                self.frames.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.stride *= 2;
            }
            if self.seen.is_multiple_of(self.stride) {
                self.frames.push(picture);
            }
        }
        self.seen += 1;
    }

    /// The pictures, at equal distances in time.
    pub fn frames(&self) -> &[RgbImage] {
        &self.frames
    }
}

/// Pictures as an endless GIF file's bytes, `milliseconds` each, the last one four times as long.
///
/// # Errors
/// When they cannot be encoded.
pub fn gif(pictures: &[RgbImage], milliseconds: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
        let fail = |e| Error::Usage(format!("the animation cannot be encoded: {e}"));
        encoder.set_repeat(Repeat::Infinite).map_err(fail)?;
        for (i, picture) in pictures.iter().enumerate() {
            let time = if i + 1 == pictures.len() {
                4 * milliseconds
            } else {
                milliseconds
            };
            let rgba = image::DynamicImage::ImageRgb8(picture.clone()).into_rgba8();
            let frame = Frame::from_parts(rgba, 0, 0, Delay::from_numer_denom_ms(time, 1));
            encoder.encode_frame(frame).map_err(fail)?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_stays_short_and_its_frames_equally_spaced() {
        let mut film = Film::default();
        for i in 0..1000_u32 {
            film.push(RgbImage::from_pixel(
                1,
                1,
                Rgb([(i / 256) as u8, (i % 256) as u8, 0]),
            ));
            assert!(film.frames().len() <= FRAMES);
        }
        let times: Vec<u32> = film
            .frames()
            .iter()
            .map(|f| u32::from(f.get_pixel(0, 0).0[0]) * 256 + u32::from(f.get_pixel(0, 0).0[1]))
            .collect();
        assert!(times.len() > FRAMES / 2 - 1 && times[0] == 0);
        assert!(times.windows(2).all(|w| w[1] - w[0] == 16), "{times:?}");
    }
}
