//! From what a decoder gives to what a model sees: 8 bits, no alpha, grey or RGB, one size.

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageBuffer, Pixel, RgbImage, RgbaImage};

/// A picture without alpha, in 8 bits.
pub(super) enum Flat {
    Grey(GrayImage),
    Colour(RgbImage),
}

/// Rec. 601 in 16 bits of fraction, the weights of Pillow, torchvision and OpenCV: (19595 R + 38470 G + 7471 B + 0x8000) >> 16.
pub(super) fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 0x8000) >> 16) as u8
}

/// The nearest of 8 bits.
fn eight(x: u16) -> u8 {
    ((u32::from(x) + 128) / 257) as u8
}

/// `colour` over `background`, rounded.
fn over(colour: u8, alpha: u8, background: u8) -> u8 {
    let sum =
        u32::from(colour) * u32::from(alpha) + u32::from(background) * (255 - u32::from(alpha));
    ((sum + 127) / 255) as u8
}

/// Values of pixel after pixel, made of those of each pixel of `channels`.
fn each<T: Copy, const IN: usize, const OUT: usize>(
    values: &[T],
    one: impl Fn([T; IN]) -> [u8; OUT],
) -> Vec<u8> {
    let (pixels, _) = values.as_chunks::<IN>();
    pixels.iter().flat_map(|&pixel| one(pixel)).collect()
}

fn grey_of(width: u32, height: u32, values: Vec<u8>) -> Flat {
    Flat::Grey(GrayImage::from_raw(width, height, values).unwrap_or_default())
}

fn colour_of(width: u32, height: u32, values: Vec<u8>) -> Flat {
    Flat::Colour(RgbImage::from_raw(width, height, values).unwrap_or_default())
}

/// The picture in 8 bits, composed over `background` where it is transparent, grey where that is asked for; and whether anything was
/// transparent.
pub(super) fn flat(picture: DynamicImage, wants_grey: bool, background: [u8; 3]) -> (Flat, bool) {
    let (w, h) = (picture.width(), picture.height());
    let even = background[0] == background[1] && background[1] == background[2];
    let paper = if wants_grey {
        grey(background)
    } else {
        background[0]
    };
    let compose = |[r, g, b, a]: [u8; 4]| -> [u8; 3] {
        [
            over(r, a, background[0]),
            over(g, a, background[1]),
            over(b, a, background[2]),
        ]
    };
    let rgba = |values: &[u8]| {
        if wants_grey {
            grey_of(w, h, each(values, |pixel| [grey(compose(pixel))]))
        } else {
            colour_of(w, h, each(values, compose))
        }
    };
    let luma_alpha = |values: &[u8]| {
        if wants_grey || even {
            grey_of(w, h, each(values, |[l, a]: [u8; 2]| [over(l, a, paper)]))
        } else {
            colour_of(w, h, each(values, |[l, a]: [u8; 2]| compose([l, l, l, a])))
        }
    };
    let hidden = |values: &[u8], channels: usize| {
        let mut alphas = values.iter().skip(channels - 1).step_by(channels);
        alphas.any(|&a| a < 255)
    };
    match picture {
        DynamicImage::ImageLuma8(luma) => (Flat::Grey(luma), false),
        DynamicImage::ImageLuma16(luma) => (
            grey_of(w, h, each(luma.as_raw(), |[l]: [u16; 1]| [eight(l)])),
            false,
        ),
        DynamicImage::ImageLumaA8(values) => {
            (luma_alpha(values.as_raw()), hidden(values.as_raw(), 2))
        }
        DynamicImage::ImageLumaA16(values) => {
            let values = each(values.as_raw(), |pixel: [u16; 2]| pixel.map(eight));
            (luma_alpha(&values), hidden(&values, 2))
        }
        DynamicImage::ImageRgb8(rgb) if !wants_grey => (Flat::Colour(rgb), false),
        DynamicImage::ImageRgb8(rgb) => (
            grey_of(w, h, each(rgb.as_raw(), |pixel| [grey(pixel)])),
            false,
        ),
        DynamicImage::ImageRgb16(rgb) if wants_grey => {
            let one = |pixel: [u16; 3]| [grey(pixel.map(eight))];
            (grey_of(w, h, each(rgb.as_raw(), one)), false)
        }
        DynamicImage::ImageRgb16(rgb) => (
            colour_of(w, h, each(rgb.as_raw(), |pixel: [u16; 3]| pixel.map(eight))),
            false,
        ),
        DynamicImage::ImageRgba8(values) => (rgba(values.as_raw()), hidden(values.as_raw(), 4)),
        other => {
            let values = each(other.into_rgba16().as_raw(), |pixel: [u16; 4]| {
                pixel.map(eight)
            });
            (rgba(&values), hidden(&values, 4))
        }
    }
}

/// The picture as straight RGBA in 8 bits, turned upright.
pub(super) fn straight(picture: DynamicImage, orientation: Orientation) -> RgbaImage {
    let (w, h) = (picture.width(), picture.height());
    let narrow = picture.color().bytes_per_pixel() == picture.color().channel_count();
    let rgba = if narrow {
        picture.into_rgba8()
    } else {
        let values = each(picture.into_rgba16().as_raw(), |pixel: [u16; 4]| {
            pixel.map(eight)
        });
        RgbaImage::from_raw(w, h, values).unwrap_or_default()
    };
    let mut picture = DynamicImage::ImageRgba8(rgba);
    picture.apply_orientation(orientation);
    picture.into_rgba8()
}

/// The picture `factor` times smaller along each side, each pixel the mean of its square: alpha's as it is, colours' by alpha, so that what is not
/// seen has no say. Columns and lines at the end that fill no square are left out.
pub(super) fn shrunk(picture: RgbaImage, factor: u32) -> RgbaImage {
    if factor <= 1 {
        return picture;
    }
    let (width, height) = (picture.width() / factor, picture.height() / factor);
    let count = u64::from(factor) * u64::from(factor);
    let mean = |sum: u64, of: u64| ((sum + of / 2) / of) as u8;
    RgbaImage::from_fn(width, height, |x, y| {
        let (mut plain, mut weighted, mut alpha) = ([0_u64; 3], [0_u64; 3], 0_u64);
        for row in 0..factor {
            for column in 0..factor {
                let [r, g, b, a] = picture.get_pixel(x * factor + column, y * factor + row).0;
                for (c, value) in [r, g, b].into_iter().map(u64::from).enumerate() {
                    plain[c] += value;
                    weighted[c] += value * u64::from(a);
                }
                alpha += u64::from(a);
            }
        }
        let [r, g, b] = if alpha == 0 {
            plain.map(|sum| mean(sum, count))
        } else {
            weighted.map(|sum| mean(sum, alpha))
        };
        image::Rgba([r, g, b, mean(alpha, count)])
    })
}

/// The largest square in the middle.
fn middle<P: Pixel + 'static>(
    picture: &ImageBuffer<P, Vec<P::Subpixel>>,
) -> ImageBuffer<P, Vec<P::Subpixel>> {
    let (width, height) = picture.dimensions();
    let side = width.min(height);
    let (x, y) = ((width - side) / 2, (height - side) / 2);
    imageops::crop_imm(picture, x, y, side, side).to_image()
}

fn sized<P: Pixel<Subpixel = u8> + 'static>(
    mut picture: ImageBuffer<P, Vec<u8>>,
    crop: bool,
    size: Option<u32>,
) -> ImageBuffer<P, Vec<u8>> {
    if crop && picture.width() != picture.height() {
        picture = middle(&picture);
    }
    match size {
        Some(size) if picture.dimensions() != (size, size) => {
            imageops::resize(&picture, size, size, FilterType::Triangle)
        }
        _ => picture,
    }
}

impl Flat {
    /// Width and height.
    pub(super) fn size(&self) -> (u32, u32) {
        match self {
            Self::Grey(picture) => picture.dimensions(),
            Self::Colour(picture) => picture.dimensions(),
        }
    }

    /// Turned upright.
    pub(super) fn turned(self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let mut picture = match self {
            Self::Grey(picture) => DynamicImage::ImageLuma8(picture),
            Self::Colour(picture) => DynamicImage::ImageRgb8(picture),
        };
        picture.apply_orientation(orientation);
        match picture {
            DynamicImage::ImageLuma8(picture) => Self::Grey(picture),
            other => Self::Colour(other.into_rgb8()),
        }
    }

    /// The square in the middle, where that is asked for, brought to `size`.
    pub(super) fn sized(self, crop: bool, size: Option<u32>) -> Self {
        match self {
            Self::Grey(picture) => Self::Grey(sized(picture, crop, size)),
            Self::Colour(picture) => Self::Colour(sized(picture, crop, size)),
        }
    }

    /// Bytes, grey or RGB: of a grey picture as RGB each value is there three times.
    pub(super) fn into_bytes(self, wants_grey: bool) -> Vec<u8> {
        match self {
            Self::Grey(picture) if wants_grey => picture.into_raw(),
            Self::Grey(picture) => each(picture.as_raw(), |[l]: [u8; 1]| [l; 3]),
            Self::Colour(picture) if wants_grey => each(picture.as_raw(), |pixel| [grey(pixel)]),
            Self::Colour(picture) => picture.into_raw(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_picture_has_the_mean_of_what_is_seen() {
        let dots = [
            [100, 0, 9, 255],
            [200, 4, 9, 255],
            [7, 7, 7, 0],
            [50, 8, 9, 51],
        ];
        let picture = RgbaImage::from_raw(2, 2, dots.concat()).unwrap();
        // 561 of alpha: (100 * 255 + 200 * 255 + 50 * 51) / 561, (4 * 255 + 8 * 51) / 561.
        let small = shrunk(picture.clone(), 2);
        assert_eq!(small.into_raw(), [141, 3, 9, 140]);
        assert_eq!(shrunk(picture, 1).into_raw(), dots.concat());
        // A column that fills no square is left out; of what is not seen the colours' mean.
        let picture = RgbaImage::from_fn(3, 2, |x, _| image::Rgba([x as u8 * 10, 0, 0, 0]));
        assert_eq!(shrunk(picture, 2).into_raw(), [5, 0, 0, 0]);
    }

    #[test]
    fn grey_and_composing_are_pillows() {
        // Pillow 13: Image.convert("L"), Image.alpha_composite over white.
        assert_eq!(
            [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]].map(grey),
            [76, 150, 29, 226]
        );
        assert!((0..=255).all(|v| grey([v; 3]) == v));
        assert!((0..=255).all(|v| over(v, 255, 9) == v && over(v, 0, 9) == 9));
        assert_eq!(over(0, 128, 255), 127);
        assert_eq!(
            [0, 127, 128, 129, 385, 386, 65534, 65535].map(eight),
            [0, 0, 0, 1, 1, 2, 255, 255]
        );
        let dot = DynamicImage::ImageLumaA8(ImageBuffer::from_pixel(1, 1, image::LumaA([200, 0])));
        let (flat, hidden) = flat(dot, false, [9, 8, 7]);
        assert_eq!((flat.into_bytes(false), hidden), (vec![9, 8, 7], true));
    }
}
