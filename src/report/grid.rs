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

use std::io::Cursor;
use std::path::Path;

use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::jpeg::JpegEncoder;
use image::{Delay, Frame, ImageFormat, Rgb, RgbImage};

use crate::error::{Error, Result};
use crate::tensor::ImageShape;

/// Pixels between images.
const GAP: u32 = 2;

/// Whole factors by which small images are enlarged.
fn scale(shape: ImageShape) -> usize {
    (64 / shape.height.max(shape.width).max(1)).clamp(1, 4)
}

/// Width and height of the [`picture`] of `count` examples.
pub fn size(count: usize, shape: ImageShape, columns: usize) -> (usize, usize) {
    if shape.height == 1 && shape.width == 2 {
        return (SIDE as usize, SIDE as usize);
    }
    let columns = columns.clamp(1, count.max(1));
    let cell = |pixels: usize| pixels * scale(shape) + GAP as usize;
    (
        columns * cell(shape.width) + GAP as usize,
        count.div_ceil(columns) * cell(shape.height) + GAP as usize,
    )
}

/// Lays images with values in [0, 1], row after row, out in `columns`; values outside are clamped. Small images are enlarged by
/// whole factors, so that pixels stay pixels.
pub fn grid(values: &[f32], shape: ImageShape, columns: usize) -> RgbImage {
    let count = values.len() / shape.count().max(1);
    let columns = columns.clamp(1, count.max(1));
    let rows = count.div_ceil(columns);
    let scale = scale(shape) as u32;
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

/// One image with values in [0, 1], pixel by pixel, nothing round it; values outside are clamped.
pub fn plain(values: &[f32], shape: ImageShape) -> RgbImage {
    let channels = shape.channels.max(1);
    RgbImage::from_fn(shape.width as u32, shape.height as u32, |x, y| {
        let at = (y as usize * shape.width + x as usize) * channels;
        let byte = |c: usize| {
            let value = values.get(at + c.min(channels - 1)).copied();
            (value.unwrap_or(0.0).clamp(0.0, 1.0) * 255.0).round() as u8
        };
        Rgb([byte(0), byte(1), byte(2)])
    })
}

/// Pixels of a scatter plot's side.
const SIDE: u32 = 384;

/// Points of the plane as a picture: a square from -`half` to `half`.
pub fn scatter(points: &[f32], half: f32) -> RgbImage {
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

/// The bytes of a grey PNG of values in [0, 1], row after row; values outside are clamped.
///
/// # Errors
/// When there are not as many values as pixels.
pub fn grey_png(values: &[f32], width: usize, height: usize) -> Result<Vec<u8>> {
    let bytes = values
        .iter()
        .map(|x| (x.clamp(0.0, 1.0) * 255.0).round() as u8);
    let picture = image::GrayImage::from_raw(width as u32, height as u32, bytes.collect())
        .ok_or_else(|| {
            let why = format!(
                "{width} x {height} pixels take as many values, got {}",
                values.len()
            );
            Error::shape("grey_png", why)
        })?;
    let mut png = Cursor::new(Vec::new());
    picture
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|e| Error::Usage(format!("PNG: {e}")))?;
    Ok(png.into_inner())
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
    Format(ImageFormat::Png).encode(picture)
}

/// A format that pictures are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(ImageFormat);

/// JPEG's quality, of 100: at 75, what many programs take, the edges of digits are visibly dirty.
const QUALITY: u8 = 95;

impl Format {
    /// The format that a file's name asks for by its ending; PNG where it has none.
    ///
    /// ```
    /// use wgen::report::grid::Format;
    /// # use image::RgbImage;
    ///
    /// let jpeg = Format::of("digits.JPG".as_ref())?.encode(&RgbImage::new(8, 8))?;
    /// assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]));
    /// assert_eq!(Format::of("digits".as_ref())?, Format::of("digits.png".as_ref())?);
    /// assert!(Format::of("digits.tiff".as_ref()).unwrap_err().to_string().contains(".png"));
    /// # Ok::<(), wgen::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the ending is of no format that can be written, naming those that can.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default();
        if ending.is_empty() {
            return Ok(Self(ImageFormat::Png));
        }
        match ImageFormat::from_extension(ending).filter(ImageFormat::writing_enabled) {
            Some(format) => Ok(Self(format)),
            None => {
                let all = ImageFormat::all().filter(ImageFormat::writing_enabled);
                let mut endings: Vec<_> = all
                    .flat_map(|f| f.extensions_str().iter().map(|e| format!(".{e}")))
                    .collect();
                endings.sort_unstable();
                let why = format!(
                    "pictures are not written as .{}; there is {}, and PNG where a name has no ending",
                    ending.display(),
                    endings.join(", ")
                );
                Err(Error::format(path, why))
            }
        }
    }

    /// Refuses a picture that is too large for the format.
    ///
    /// # Errors
    /// When it is, saying how large it may be.
    pub fn check(self, (width, height): (usize, usize)) -> Result<()> {
        let most = match self.0 {
            ImageFormat::Jpeg | ImageFormat::Gif => 65_535,
            ImageFormat::WebP => 16_383,
            _ => 1 << 26,
        };
        if width.max(height) > most {
            return Err(Error::Usage(format!(
                "a picture of {width} x {height} pixels is too large for {}, which has at most {most} a side; lower `n` or choose .png",
                self.name()
            )));
        }
        Ok(())
    }

    /// Its name, as people write it.
    pub fn name(self) -> String {
        match self.0 {
            ImageFormat::WebP => "WebP".to_owned(),
            other => format!("{other:?}").to_uppercase(),
        }
    }

    /// A picture as a file's bytes.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn encode(self, picture: &RgbImage) -> Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        let encoded = match self.0 {
            ImageFormat::Jpeg => {
                picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))
            }
            format => picture.write_to(&mut bytes, format),
        };
        encoded.map_err(|e| Error::Usage(format!("the picture cannot be encoded: {e}")))?;
        Ok(bytes.into_inner())
    }
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
