//! What a file is, by its first bytes and by its ending.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use image::ImageFormat;

/// Endings of the formats that are read.
pub(super) const ENDINGS: &[&str] = &[
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "jif", "jfi", "pjpeg", "pjp", "gif", "bmp", "dib",
    "webp",
];

/// Endings of pictures in formats that are not read.
const OTHER_ENDINGS: &[&str] = &[
    "tif", "tiff", "heic", "heif", "hif", "avif", "jxl", "jp2", "j2k", "jpx", "psd", "xcf", "svg",
    "ico", "icns", "tga", "dds", "exr", "hdr", "ppm", "pgm", "pbm", "pnm", "qoi", "pcx", "dng",
    "cr2", "cr3", "nef", "arw", "raf", "orf", "rw2",
];

/// Bytes that tell.
pub(super) const HEAD: usize = 32;

/// What a file is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A picture that is read, or has to be one by its ending.
    Picture,
    /// A picture in a format that is not read.
    Unread,
    /// Something else.
    Other,
}

/// The format that a file's first bytes are of, where it is read.
pub(super) fn format(head: &[u8]) -> Option<ImageFormat> {
    let size = |at: usize| {
        let word = head.get(at..at + 4)?;
        Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    };
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(ImageFormat::Png)
    } else if head.starts_with(b"\xff\xd8\xff") {
        Some(ImageFormat::Jpeg)
    } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        Some(ImageFormat::Gif)
    } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        Some(ImageFormat::WebP)
    // Two letters alone begin many a text: the size of the second header is one of a few.
    } else if head.starts_with(b"BM")
        && matches!(size(14), Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
    {
        Some(ImageFormat::Bmp)
    } else {
        None
    }
}

/// What bytes are that no picture which is read begins with, in words that go on from the file's name.
pub(super) fn described(head: &[u8]) -> String {
    let text = head
        .iter()
        .all(|b| matches!(b, 9 | 10 | 13 | 32..=126 | 128..));
    let lower: Vec<u8> = head.iter().map(u8::to_ascii_lowercase).collect();
    let trimmed = lower.trim_ascii_start();
    let convert = "convert it to PNG or JPEG, or take it out of the folder";
    if head.is_empty() {
        "is empty (0 bytes)".to_owned()
    } else if trimmed.starts_with(b"<!doctype") || trimmed.starts_with(b"<html") {
        "is a web page (HTML), not a picture: the download failed".to_owned()
    } else if trimmed.starts_with(b"<svg") || trimmed.starts_with(b"<?xml") {
        format!("is SVG or other XML, which is not read; {convert}")
    } else if head.get(4..8) == Some(b"ftyp") {
        let brand = String::from_utf8_lossy(head.get(8..12).unwrap_or_default()).into_owned();
        let name = match brand.as_str() {
            "heic" | "heix" | "heim" | "heis" | "hevc" | "mif1" | "msf1" => "HEIC",
            "avif" | "avis" => "AVIF",
            _ => "a film or another ISO container",
        };
        format!("is {name} (brand {brand}), which is not read; {convert}")
    } else if head.starts_with(b"II*\0") || head.starts_with(b"MM\0*") {
        format!("is TIFF or a camera's raw file, which is not read; {convert}")
    } else if head.starts_with(b"\xff\x0a") || head.get(4..8) == Some(b"JXL ") {
        format!("is JPEG XL, which is not read; {convert}")
    } else if head.get(4..8) == Some(b"jP  ") {
        format!("is JPEG 2000, which is not read; {convert}")
    } else if head.starts_with(b"8BPS") {
        format!("is a Photoshop file, which is not read; {convert}")
    } else if head.starts_with(&[0, 5, 0x16, 7]) {
        "is what macOS keeps beside a file (AppleDouble), not a picture; take it out of the folder"
            .to_owned()
    } else if head.starts_with(b"version https://git-lfs") {
        "is a pointer of Git LFS, not the picture itself; fetch it with git lfs pull".to_owned()
    } else if head.iter().all(|b| *b == 0) {
        "begins with zeros: a copy or download that was never filled".to_owned()
    } else if text {
        let words: String = String::from_utf8_lossy(&head[..head.len().min(16)])
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        format!("is text (it begins with '{}'), not a picture", words.trim())
    } else {
        let shown: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!(
            "is no picture that is read (PNG, JPEG, GIF, BMP, WebP): it begins with {}",
            shown.join(" ")
        )
    }
}

/// What a file is taken for: by its ending, or, where that says nothing, by its first bytes.
pub(super) fn of_file(path: &Path) -> Kind {
    let ending = path.extension().and_then(|e| e.to_str());
    let ending = ending.map(str::to_lowercase).unwrap_or_default();
    if ENDINGS.contains(&ending.as_str()) {
        return Kind::Picture;
    }
    let mut head = Vec::with_capacity(HEAD);
    let read = File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
    if read.is_ok() && format(&head).is_some() {
        Kind::Picture
    } else if OTHER_ENDINGS.contains(&ending.as_str()) {
        Kind::Unread
    } else {
        Kind::Other
    }
}
