//! One picture: from a file's bytes to the pixels that a model sees.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::Options;
use super::gif;
use super::jpeg::Jpeg;
use super::kind::{self, HEAD};
use super::orientation::orientation;
use super::pixels::{flat, shrunk, straight};
use super::png;
use crate::error::{Error, Result};
use crate::tensor::ImageShape;

/// The largest side that is read.
const MAX_SIDE: u32 = 65_535;

/// The most bytes that one picture may decode to.
const MAX_BYTES: u64 = 1 << 30;

/// The largest file that is read as a picture.
const MAX_FILE: u64 = 1 << 30;

/// Bytes that may be decoded at a time, all pictures together; one alone may have more.
const AT_A_TIME: u64 = 1 << 30;

/// Room for pictures that are decoded at the same time: who finds none waits until another is done.
#[derive(Debug, Default)]
pub(super) struct Room {
    used: Mutex<u64>,
    freed: Condvar,
}

/// A part of the room, until it is dropped.
struct Taken<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    /// Whoever has room finishes without waiting for another, so nobody waits for ever.
    fn take(&self, bytes: u64) -> Taken<'_> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used > 0 && used.saturating_add(bytes) > AT_A_TIME {
            used = self
                .freed
                .wait(used)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        Taken { room: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut used = self
            .room
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *used -= self.bytes;
        self.room.freed.notify_all();
    }
}

/// What was in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    /// Width and height, upright.
    pub(super) size: (u32, u32),
    pub(super) colour: bool,
    /// Something was transparent.
    pub(super) alpha: bool,
    /// It was turned as its camera's tag says.
    pub(super) turned: bool,
}

/// A picture as a model sees it.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) shape: ImageShape,
    /// NHWC.
    pub(super) bytes: Vec<u8>,
    /// What was in the file.
    pub(super) stored: Stored,
}

/// Reads and decodes a file.
pub(super) fn read(path: &Path, options: &Options, room: &Room) -> Result<Picture> {
    decode(path, &bytes_of(path)?, options, room)
}

/// How large a picture is, known without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) struct Head {
    /// Width and height as they are stored.
    pub(in crate::data) stored: (u32, u32),
    /// Whether its camera's tag says to turn or mirror it.
    pub(in crate::data) turns: bool,
    /// Whether that lays it on its side.
    sideways: bool,
}

impl Head {
    /// Width and height, turned as the tag says or not.
    pub(in crate::data) fn size(&self, turned: bool) -> (u32, u32) {
        let (width, height) = self.stored;
        if turned && self.sideways {
            (height, width)
        } else {
            (width, height)
        }
    }
}

/// Reads a file's head.
pub(super) fn read_head(path: &Path) -> Result<Head> {
    let bytes = bytes_of(path)?;
    let begun = begin(&bytes).map_err(|message| Error::format(path, message))?;
    Ok(Head {
        stored: begun.size,
        turns: begun.orientation != Orientation::NoTransforms,
        sideways: matches!(
            begun.orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        ),
    })
}

/// Reads and decodes a file with its alpha: width, height and straight RGBA in 8 bits, turned as its tag says or as it is stored, `smaller` times
/// smaller along each side.
pub(super) fn read_straight(
    path: &Path,
    turned: bool,
    smaller: u32,
    room: &Room,
) -> Result<((u32, u32), Vec<u8>)> {
    let wrong = |message: String| Error::format(path, message);
    let (picture, orientation, taken) = opened(&bytes_of(path)?, room).map_err(wrong)?;
    let orientation = if turned {
        orientation
    } else {
        Orientation::NoTransforms
    };
    let picture = shrunk(straight(picture, orientation), smaller);
    drop(taken);
    Ok((picture.dimensions(), picture.into_raw()))
}

/// Reads and decodes a file as grey, as it is stored.
pub(super) fn read_grey(path: &Path, room: &Room) -> Result<((u32, u32), Vec<u8>)> {
    let wrong = |message: String| Error::format(path, message);
    let (picture, _, taken) = opened(&bytes_of(path)?, room).map_err(wrong)?;
    let picture = picture.into_luma8();
    drop(taken);
    Ok((picture.dimensions(), picture.into_raw()))
}

/// What is in a file.
fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let meta = std::fs::metadata(path).map_err(|e| {
        let link = path.symlink_metadata().is_ok_and(|m| m.is_symlink());
        if link && e.kind() == std::io::ErrorKind::NotFound {
            Error::format(path, "is a link to a file that is not there")
        } else {
            Error::io(path, e)
        }
    })?;
    if !meta.is_file() {
        return Err(Error::format(path, "is no plain file"));
    }
    if meta.len() > MAX_FILE {
        let message = format!(
            "has {} bytes; pictures of at most {MAX_FILE} are read: shrink it, or take it out of the folder",
            meta.len()
        );
        return Err(Error::format(path, message));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

/// Decodes one picture from memory.
pub(super) fn decode(path: &Path, bytes: &[u8], options: &Options, room: &Room) -> Result<Picture> {
    let wrong = |message: String| Error::format(path, message);
    let (picture, orientation, taken) = opened(bytes, room).map_err(wrong)?;
    let channels = picture.color().channel_count();
    let (flat, alpha) = flat(picture, options.grey, options.background.0);
    let flat = flat.turned(orientation);
    let stored = Stored {
        size: flat.size(),
        colour: channels > 2,
        alpha,
        turned: orientation != Orientation::NoTransforms,
    };
    let flat = flat.sized(options.crop, options.size);
    let (width, height) = flat.size();
    let bytes = flat.into_bytes(options.grey);
    drop(taken);
    Ok(Picture {
        shape: ImageShape {
            height: height as usize,
            width: width as usize,
            channels: if options.grey { 1 } else { 3 },
        },
        bytes,
        stored,
    })
}

type Opened<'a> = (DynamicImage, Orientation, Taken<'a>);

/// The decoded picture, how it is to be turned, and the room that it takes.
fn opened<'a>(bytes: &[u8], room: &'a Room) -> Result<Opened<'a>, String> {
    let begun = begin(bytes)?;
    // Beside what is decoded stands what is made of it.
    let taken = room.take(2 * begun.cost);
    let picture = match begun.decoder {
        Decoder::Jpeg(jpeg) => jpeg.decode()?,
        Decoder::Other(decoder) => DynamicImage::from_decoder(decoder).map_err(failed)?,
    };
    Ok((picture, begun.orientation, taken))
}

/// A picture whose header was read.
struct Begun<'a> {
    decoder: Decoder<'a>,
    size: (u32, u32),
    orientation: Orientation,
    /// Bytes that decoding takes.
    cost: u64,
}

enum Decoder<'a> {
    Jpeg(Box<Jpeg<'a>>),
    Other(Box<dyn ImageDecoder + 'a>),
}

fn failed(error: image::ImageError) -> String {
    format!("cannot be decoded: {error}")
}

/// Reads a header, and refuses what it claims where that cannot be.
fn begin(bytes: &[u8]) -> Result<Begun<'_>, String> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let Some(format) = kind::format(head) else {
        return Err(kind::described(head));
    };
    if format == ImageFormat::Jpeg {
        let jpeg = Jpeg::open(bytes)?;
        check(bytes, format, jpeg.size, jpeg.channels())?;
        let (exif, xmp) = jpeg.metadata();
        return Ok(Begun {
            size: jpeg.size,
            orientation: orientation(exif.as_deref(), xmp.as_deref()),
            cost: jpeg.cost,
            decoder: Decoder::Jpeg(Box::new(jpeg)),
        });
    }
    // The decoder of WebP takes the last pixels of a file cut short for what they are not.
    if let (ImageFormat::WebP, Some(size)) = (format, bytes.get(4..8)) {
        let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]);
        if u64::from(size) + 8 > bytes.len() as u64 {
            return Err(format!(
                "cut short: it has {} bytes of {}",
                bytes.len(),
                u64::from(size) + 8
            ));
        }
    }
    let with_room = match format {
        ImageFormat::Gif => gif::with_room(bytes),
        _ => bytes.into(),
    };
    let mut reader = ImageReader::with_format(Cursor::new(with_room), format);
    // What a header of a PNG claims is known before its decoder allocates a row.
    if let Some((size, bytes_of_pixel)) = png_header(bytes, format) {
        check(bytes, format, size, bytes_of_pixel)?;
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(
        believable(bytes, format)
            .saturating_add(1 << 20)
            .min(2 * MAX_BYTES),
    );
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let pixel = u64::from(decoder.color_type().bytes_per_pixel());
    check(bytes, format, decoder.dimensions(), pixel)?;
    let (exif, xmp) = match format {
        ImageFormat::Png => png::metadata(bytes),
        _ => (
            decoder.exif_metadata().unwrap_or_default(),
            decoder.xmp_metadata().unwrap_or_default(),
        ),
    };
    Ok(Begun {
        size: decoder.dimensions(),
        orientation: orientation(exif.as_deref(), xmp.as_deref()),
        cost: decoder.total_bytes(),
        decoder: Decoder::Other(Box::new(decoder)),
    })
}

/// Size and bytes of a decoded pixel by a PNG's header.
fn png_header(bytes: &[u8], format: ImageFormat) -> Option<((u32, u32), u64)> {
    let header = bytes.get(16..26).filter(|_| format == ImageFormat::Png)?;
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    // At least: with a transparent colour there is one more.
    let channels = match header[9] {
        0 => 1,
        4 => 2,
        6 => 4,
        _ => 3,
    };
    let bytes_of_channel = if header[8] == 16 { 2 } else { 1 };
    Some(((word(0), word(4)), channels * bytes_of_channel))
}

/// The most bytes that a file of these formats decodes to: beyond that its header lies, and nothing is allocated for it.
///
/// Deflate packs at most 1,032 to 1, and a byte of a PNG has at most 8 pixels, which become RGBA. The other formats pack less, but that
/// runs may be empty: a picture of one colour is next to nothing in WebP, and a BMP or GIF may leave out all of its pixels.
fn believable(bytes: &[u8], format: ImageFormat) -> u64 {
    let size = bytes.len() as u64;
    match format {
        ImageFormat::Png => {
            let bits = bytes.get(24).map_or(8, |&depth| u64::from(depth.max(1)));
            let pixels = if bits < 8 { 8 / bits } else { 1 };
            // Grey or an index in a byte of the file is up to four bytes decoded.
            size.saturating_mul(1032 * pixels * 4)
        }
        ImageFormat::Jpeg => size.saturating_mul(5000),
        ImageFormat::Gif | ImageFormat::Bmp => size.saturating_mul(16_384).max(64 << 20),
        _ => MAX_BYTES,
    }
    .saturating_add(1 << 18)
}

/// Refuses what is too large to be read, or claims to be larger than its bytes could make it.
fn check(bytes: &[u8], format: ImageFormat, size: (u32, u32), pixel: u64) -> Result<(), String> {
    let (width, height) = size;
    if width == 0 || height == 0 {
        return Err(format!("has no pixels: {width} x {height}"));
    }
    let decoded = u64::from(width) * u64::from(height) * pixel;
    let remedy = "shrink it, or take it out of the folder";
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!(
            "is {width} x {height}; pictures of at most {MAX_SIDE} pixels a side are read: {remedy}"
        ));
    }
    if decoded > MAX_BYTES {
        return Err(format!(
            "is {width} x {height}, {} MiB decoded; pictures of at most {} MiB are read: {remedy}",
            decoded >> 20,
            MAX_BYTES >> 20
        ));
    }
    if decoded > believable(bytes, format) {
        return Err(format!(
            "cannot be decoded: its header claims {width} x {height} pixels, more than its {} bytes can hold",
            bytes.len()
        ));
    }
    Ok(())
}
