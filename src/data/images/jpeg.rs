//! JPEGs. The decoder fills up with grey what a file cut short lacks; here every segment is walked to the end of the image first, and what
//! follows is decoded strictly, so that a picture is whole or refused.

use image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// What a JPEG's segments say before anything is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// There are bytes between segments that belong to none: decoders pass them over, strict ones do not.
    pub(super) stray: bool,
    /// Several scans refine the picture: all coefficients are in memory while it is decoded.
    pub(super) progressive: bool,
}

/// Goes through all segments and scans up to the end of the image (EOI). What lies behind it (a phone's film, a depth map) does not matter.
pub(super) fn walk(bytes: &[u8]) -> Result<Walk, String> {
    let cut = |what: &str| format!("cut short: its {} bytes end inside of {what}", bytes.len());
    let mut found = Walk {
        stray: false,
        progressive: false,
    };
    let (mut at, mut scans) = (2, 0);
    loop {
        // A marker: 0xff, as often as an encoder likes, and its number.
        while let Some(&byte) = bytes.get(at)
            && byte != 0xff
        {
            found.stray = true;
            at += 1;
        }
        while bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        let Some(&marker) = bytes.get(at) else {
            return Err(if scans > 0 {
                cut("the picture")
            } else {
                cut("its header")
            });
        };
        at += 1;
        match marker {
            0xd9 if scans > 0 => return Ok(found),
            0xd9 => return Err("has no picture: it ends before the first scan".to_owned()),
            0x00 | 0x01 | 0xd0..=0xd8 => {
                found.stray = true;
                continue;
            }
            0xc2 | 0xc6 | 0xca | 0xce => found.progressive = true,
            _ => {}
        }
        let Some(length) = bytes.get(at..at + 2) else {
            return Err(cut("its header"));
        };
        at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
        if at > bytes.len() {
            return Err(cut(if scans > 0 {
                "the picture"
            } else {
                "its header"
            }));
        }
        if marker == 0xda {
            scans += 1;
            at = end_of_scan(bytes, at).ok_or_else(|| cut("the picture"))?;
        }
    }
}

/// Where the marker lies that ends the entropy-coded data at `at`: none that is stuffed (0xff 0x00), fills or restarts.
fn end_of_scan(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let ends = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | 0xff);
    rest.windows(2).position(ends).map(|p| at + p)
}

/// A JPEG whose header was read.
pub(super) struct Jpeg<'a> {
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    grey: bool,
    /// Its size as it is stored.
    pub(super) size: (u32, u32),
    /// Bytes that decoding takes.
    pub(super) cost: u64,
}

impl<'a> Jpeg<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let walk = walk(bytes)?;
        let options = DecoderOptions::default()
            .set_strict_mode(!walk.stray)
            .set_max_width(usize::MAX)
            .set_max_height(usize::MAX);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder
            .decode_headers()
            .map_err(|e| format!("cannot be decoded: {e}"))?;
        let (Some((width, height)), Some(stored)) =
            (decoder.dimensions(), decoder.input_colorspace())
        else {
            return Err("cannot be decoded: its header is none".to_owned());
        };
        let grey = stored == ColorSpace::Luma;
        let out = if grey {
            ColorSpace::Luma
        } else {
            ColorSpace::RGB
        };
        decoder.set_options(options.jpeg_set_out_colorspace(out));
        let size = (width as u32, height as u32);
        let values = u64::from(size.0) * u64::from(size.1) * if grey { 1 } else { 3 };
        Ok(Self {
            decoder,
            grey,
            size,
            cost: values * if walk.progressive { 3 } else { 1 },
        })
    }

    /// Channels of a decoded pixel.
    pub(super) fn channels(&self) -> u64 {
        if self.grey { 1 } else { 3 }
    }

    /// Its EXIF and XMP data.
    pub(super) fn metadata(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        (self.decoder.exif().cloned(), self.decoder.xmp().cloned())
    }

    pub(super) fn decode(mut self) -> Result<DynamicImage, String> {
        let (width, height) = self.size;
        let mut pixels = vec![0; (u64::from(width) * u64::from(height) * self.channels()) as usize];
        self.decoder
            .decode_into(&mut pixels)
            .map_err(|e| format!("cannot be decoded: {e}"))?;
        let picture = if self.grey {
            GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8)
        } else {
            RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
        };
        picture.ok_or_else(|| "cannot be decoded: its sizes do not fit".to_owned())
    }
}
