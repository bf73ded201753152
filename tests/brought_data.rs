//! Pictures that people bring: cut short, turned, transparent, in other formats than their names say, large.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};
use wgen::data::images::{Options, from_bytes, load};
use wgen::data::{Spec, idx::Part};
use wgen::tensor::ImageShape;

/// Smooth, with fine structure, and no two rows alike.
fn photo(width: u32, height: u32) -> RgbImage {
    let wave = |x: u32, f: f64| (128.0 + 100.0 * (f64::from(x) * f).sin()) as u8;
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([
            wave(x + 3 * y, 0.2),
            wave(2 * x + y, 0.3),
            wave(x * y, 0.05),
        ])
    })
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(picture)
        .unwrap();
    bytes
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
    fs::read(path.join(name)).unwrap()
}

fn read(bytes: &[u8], options: &Options) -> Result<(ImageShape, Vec<u8>), String> {
    from_bytes(Path::new("it.jpg"), bytes, options).map_err(|e| e.to_string())
}

fn pixels(bytes: &[u8], options: &Options) -> Vec<u8> {
    read(bytes, options).unwrap().1
}

fn refused(bytes: &[u8], words: &[&str]) {
    let error = read(bytes, &Options::default()).unwrap_err();
    for word in ["it.jpg"].iter().chain(words) {
        assert!(error.contains(word), "'{word}' is not in '{error}'");
    }
}

#[test]
fn jpegs_cut_short_anywhere_are_refused() {
    let mut whole = vec![jpeg(&photo(40, 24), 90), jpeg(&photo(17, 9), 20)];
    whole.extend(
        [
            "progressive.jpg",
            "restart.jpg",
            "cmyk.jpg",
            "grey.jpg",
            "turned.jpg",
        ]
        .map(fixture),
    );
    for bytes in whole {
        let all = pixels(&bytes, &Options::default());
        for length in 4..bytes.len() {
            refused(&bytes[..length], &["cut short"]);
        }
        // What a copy left empty, and what a download had not yet filled.
        for from in [bytes.len() / 2, bytes.len() - 1] {
            let mut holed = bytes.clone();
            holed[from..].fill(0);
            holed.extend([0; 64]);
            refused(&holed, &["cut short"]);
        }
        // Behind the end of the image anything may lie: films of phones, depth maps, another picture.
        for more in [&b"\0\0\0\x18ftypmp42"[..], &bytes, b"\xff", b"text"] {
            assert_eq!(pixels(&[&bytes, more].concat(), &Options::default()), all);
        }
    }
}

#[test]
fn other_formats_cut_short_are_refused_or_whole() {
    use ImageFormat::{Bmp, Gif, Png, WebP};
    for format in [Png, Gif, Bmp, WebP] {
        let bytes = encoded(photo(40, 24), format);
        let all = pixels(&bytes, &Options::default());
        let mut kept = 0;
        for length in 0..bytes.len() {
            if let Ok((_, pixels)) = read(&bytes[..length], &Options::default()) {
                // Only what comes after the pixels may be missing.
                assert_eq!(pixels, all, "{format:?}, {length} of {}", bytes.len());
                kept += 1;
            }
        }
        assert!(kept < 20, "{format:?}: {kept}");
    }
}

#[test]
fn whole_jpegs_of_every_kind_are_read() {
    // The middle of each quarter, as Pillow decodes it (tests/fixtures/pictures); chroma is upsampled a little otherwise.
    let colours = |a: [[i32; 3]; 4], name: &str| {
        let (shape, pixels) = read(&fixture(name), &Options::default()).unwrap();
        let (h, w) = (shape.height, shape.width);
        for ((y, x), want) in [(1, 1), (1, 3), (3, 1), (3, 3)].into_iter().zip(a) {
            let at = 3 * (y * h / 4 * w + x * w / 4);
            for c in 0..3 {
                let got = i32::from(pixels[at + c]);
                assert!(
                    (got - want[c]).abs() <= 6,
                    "{name}: {got} is not {}",
                    want[c]
                );
            }
        }
    };
    let drawn = [[220, 30, 30], [30, 200, 30], [30, 30, 210], [230, 220, 40]];
    colours(drawn, "cmyk.jpg");
    colours(drawn, "progressive.jpg");
    colours(drawn, "restart.jpg");
    colours([[87; 3], [130; 3], [51; 3], [202; 3]], "grey.jpg");
    for side in 1..20 {
        let bytes = jpeg(&photo(side, 21 - side), 75);
        assert_eq!(
            pixels(&bytes, &Options::default()).len(),
            3 * (side * (21 - side)) as usize
        );
    }
    // A comment, markers that fill, and bytes between segments that belong to none.
    let bytes = jpeg(&photo(16, 16), 90);
    let all = pixels(&bytes, &Options::default());
    let at = bytes.windows(2).position(|w| w == [0xff, 0xdb]).unwrap();
    for more in [&b"\xff\xfe\0\x06abcd"[..], b"\xff\xff\xff", b"stray bytes"] {
        let with = [&bytes[..at], more, &bytes[at..]].concat();
        assert_eq!(pixels(&with, &Options::default()), all);
    }
}

/// A JPEG with EXIF data of one tag, in either order of bytes.
fn with_orientation(bytes: &[u8], orientation: u8, big: bool) -> Vec<u8> {
    let tiff: Vec<u8> = if big {
        [
            &b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..],
            &[orientation],
            &[0; 6],
        ]
        .concat()
    } else {
        [
            &b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..],
            &[orientation],
            &[0; 7],
        ]
        .concat()
    };
    let segment = [b"Exif\0\0", &tiff[..]].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    [&bytes[..2], b"\xff\xe1", &length, &segment, &bytes[2..]].concat()
}

#[test]
fn pictures_are_turned_as_their_camera_says() {
    let picture = photo(24, 16);
    let bytes = jpeg(&picture, 95);
    let stored = DynamicImage::ImageRgb8(
        RgbImage::from_raw(24, 16, pixels(&bytes, &Options::default())).unwrap(),
    );
    // The standard's eight: mirrored, upside down, both, and the same of a picture on its side.
    let turned = [
        stored.clone(),
        stored.fliph(),
        stored.rotate180(),
        stored.flipv(),
        stored.rotate90().fliph(),
        stored.rotate90(),
        stored.rotate270().fliph(),
        stored.rotate270(),
    ];
    for (i, want) in turned.iter().enumerate() {
        for big in [false, true] {
            let bytes = with_orientation(&bytes, i as u8 + 1, big);
            let (shape, got) = read(&bytes, &Options::default()).unwrap();
            assert_eq!(
                (shape.width as u32, shape.height as u32),
                (want.width(), want.height())
            );
            assert!(got == want.as_bytes(), "orientation {}", i + 1);
        }
    }
    // No orientation, and none that there is.
    for wrong in [0, 9, 200] {
        assert!(
            pixels(&with_orientation(&bytes, wrong, false), &Options::default())
                == stored.as_bytes()
        );
    }
    // By Pillow: upright, the blue quarter is above on the left.
    for name in ["turned.png", "turned.webp", "turned.jpg"] {
        let (shape, pixels) = read(&fixture(name), &Options::default()).unwrap();
        assert_eq!((shape.width, shape.height), (16, 32), "{name}");
        let at = 3 * (8 * 16 + 4);
        assert!(pixels[at] < 40 && pixels[at + 2] > 200, "{name}");
    }
    // An XMP packet says the same.
    let packet = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>";
    let length = (packet.len() as u16 + 2).to_be_bytes();
    let with = [&bytes[..2], b"\xff\xe1", &length, packet, &bytes[2..]].concat();
    assert!(pixels(&with, &Options::default()) == turned[5].as_bytes());
}

#[test]
fn a_png_may_say_how_it_is_turned_anywhere_and_in_the_ways_of_other_programs() {
    let picture = photo(6, 4);
    let bytes = encoded(picture.clone(), ImageFormat::Png);
    let turned = DynamicImage::ImageRgb8(picture.clone()).rotate90();
    // TIFF's header, one entry: the tag as SHORT, LONG or BYTE.
    let exif = |kind: u8, value: u8| {
        let entry = [0x12, 1, kind, 0, 1, 0, 0, 0, value, 0, 0, 0];
        [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat()
    };
    let hex = |name: &str, bytes: &[u8]| {
        let mut text = format!("\n{name}\n{:8}", bytes.len());
        for (i, byte) in bytes.iter().enumerate() {
            text += if i % 36 == 0 { "\n" } else { "" };
            text += &format!("{byte:02x}");
        }
        text.into_bytes()
    };
    let xmp = br#"<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>"#;
    let app1 = [b"Exif\0\0", &exif(3, 6)[..]].concat();
    let raw = hex("exif", &app1);
    let said = [
        chunk(b"eXIf", &exif(3, 6)),
        chunk(b"eXIf", &exif(4, 6)),
        chunk(b"eXIf", &exif(1, 6)),
        chunk(b"eXIf", &app1),
        chunk(b"tEXt", &[b"Raw profile type exif\0", &raw[..]].concat()),
        chunk(
            b"zTXt",
            &[b"Raw profile type exif\0\0", &zlib(&raw)[..]].concat(),
        ),
        chunk(
            b"zTXt",
            &[
                b"Raw profile type APP1\0\0",
                &zlib(&hex("generic", &app1))[..],
            ]
            .concat(),
        ),
        chunk(
            b"iTXt",
            &[b"XML:com.adobe.xmp\0\0\0\0\0", &xmp[..]].concat(),
        ),
        chunk(
            b"iTXt",
            &[b"XML:com.adobe.xmp\0\x01\0\0\0", &zlib(xmp)[..]].concat(),
        ),
        chunk(
            b"zTXt",
            &[b"Raw profile type xmp\0\0", &zlib(&hex("xmp", xmp))[..]].concat(),
        ),
    ];
    let end = bytes.len() - 12;
    // Before the pixels, behind the header's 13 bytes; and behind them.
    for at in [33, end] {
        for (i, said) in said.iter().enumerate() {
            let with = [&bytes[..at], said, &bytes[at..]].concat();
            let (shape, got) = read(&with, &Options::default()).unwrap();
            assert_eq!((shape.width, shape.height), (4, 6), "{i} at {at}");
            assert!(got == turned.as_bytes(), "{i} at {at}");
        }
    }
    // What is damaged or something else turns nothing, and takes no memory.
    let bomb = zlib(&vec![b' '; 64 << 20]);
    for nothing in [
        chunk(b"eXIf", b""),
        chunk(b"eXIf", &exif(3, 6)[..12]),
        chunk(b"eXIf", &exif(2, 6)),
        chunk(b"tEXt", b"Raw profile type exif"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  99\n4949"),
        chunk(b"tEXt", &[b"Comment\0", &raw[..]].concat()),
        chunk(b"zTXt", b"Raw profile type exif\0\0none"),
        chunk(b"zTXt", &[b"XML:com.adobe.xmp\0\0", &bomb[..]].concat()),
    ] {
        let with = [&bytes[..end], &nothing, &bytes[end..]].concat();
        assert!(pixels(&with, &Options::default()) == *picture.as_raw());
    }
    // A camera whose JPEG has it as LONG.
    let bytes = jpeg(&picture, 95);
    let segment = [b"Exif\0\0", &exif(4, 6)[..]].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    let with = [&bytes[..2], b"\xff\xe1", &length, &segment, &bytes[2..]].concat();
    let (shape, _) = read(&with, &Options::default()).unwrap();
    assert_eq!((shape.width, shape.height), (4, 6));
}

#[test]
fn a_gif_is_as_large_as_its_first_picture() {
    let picture = RgbImage::from_fn(5, 3, |x, y| Rgb([(40 * x) as u8, (80 * y) as u8, 7]));
    let bytes = encoded(picture, ImageFormat::Gif);
    let whole = read(&bytes, &Options::default()).unwrap();
    assert_eq!((whole.0.width, whole.0.height), (5, 3));
    for screen in [[0, 0], [2, 0], [0, 2], [2, 2], [5, 1]] {
        let mut smaller = bytes.clone();
        (smaller[6], smaller[8]) = (screen[0], screen[1]);
        let got = read(&smaller, &Options::default()).unwrap();
        assert!(got == whole, "{screen:?}");
    }
    // On a larger one it lies in its place; the rest is transparent.
    let mut larger = bytes.clone();
    larger[6] = 9;
    let (shape, pixels) = read(&larger, &Options::default()).unwrap();
    assert_eq!((shape.width, shape.height), (9, 3));
    assert_eq!(pixels[..15], whole.1[..15]);
    assert_eq!(pixels[15..27], [255; 12]);
}

#[test]
fn grey_is_rec_601() {
    let colours = [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 0],
        [0, 255, 255],
        [10, 200, 99],
    ];
    let picture = RgbImage::from_fn(6, 1, |x, _| Rgb(colours[x as usize]));
    let grey = Options {
        grey: true,
        ..Options::default()
    };
    // Pillow's Image.convert("L").
    let pillow = [76, 150, 29, 226, 179, 132];
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        assert_eq!(
            pixels(&encoded(picture.clone(), format), &grey),
            pillow,
            "{format:?}"
        );
    }
    let wide = DynamicImage::ImageRgb8(picture).into_rgb16();
    assert_eq!(pixels(&encoded(wide, ImageFormat::Png), &grey), pillow);
    // Grey stays as it is.
    let ramp = GrayImage::from_fn(256, 1, |x, _| Luma([x as u8]));
    assert_eq!(
        pixels(&encoded(ramp.clone(), ImageFormat::Png), &grey),
        ramp.into_raw()
    );
}

#[test]
fn what_is_transparent_is_composed_over_the_background() {
    let over = |background: &str| Options {
        background: background.parse().unwrap(),
        ..Options::default()
    };
    let dots = [[200, 10, 30, 0], [200, 10, 30, 255], [200, 10, 30, 128]];
    let picture = RgbaImage::from_fn(3, 1, |x, _| Rgba(dots[x as usize]));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let bytes = encoded(picture.clone(), format);
        // Pillow's Image.alpha_composite over white, black and orange.
        assert_eq!(
            pixels(&bytes, &Options::default()),
            [255, 255, 255, 200, 10, 30, 227, 132, 142]
        );
        assert_eq!(
            pixels(&bytes, &over("black")),
            [0, 0, 0, 200, 10, 30, 100, 5, 15]
        );
        assert_eq!(pixels(&bytes, &over("#FF8000"))[..3], [255, 128, 0]);
    }
    let grey = image::ImageBuffer::from_fn(2, 1, |x, _| LumaA([50_u8, 255 * x as u8]));
    let bytes = encoded(DynamicImage::ImageLumaA8(grey), ImageFormat::Png);
    assert_eq!(pixels(&bytes, &over("ff8000")), [255, 128, 0, 50, 50, 50]);
    let wide = DynamicImage::ImageRgba8(picture.clone()).into_rgba16();
    assert_eq!(
        pixels(&encoded(wide, ImageFormat::Png), &Options::default())[..3],
        [255; 3]
    );
    // A GIF's transparent colour.
    let gif = encoded(picture, ImageFormat::Gif);
    assert_eq!(pixels(&gif, &Options::default())[..3], [255; 3]);
    for wrong in ["", "red", "fffff", "fffffff", "gggggg", "+fffff"] {
        assert!(
            wrong.parse::<wgen::data::images::Background>().is_err(),
            "{wrong}"
        );
    }
    // Composed before it is resized: the hidden colour does not bleed.
    let hidden = RgbaImage::from_fn(8, 8, |x, _| {
        if x < 4 {
            Rgba([255, 0, 0, 0])
        } else {
            Rgba([255; 4])
        }
    });
    let small = Options {
        size: Some(2),
        ..Options::default()
    };
    assert_eq!(
        pixels(&encoded(hidden, ImageFormat::Png), &small),
        [255; 12]
    );
}

#[test]
fn sixteen_bits_become_the_nearest_of_eight() {
    let values = [0_u16, 128, 129, 385, 386, 32_767, 65_406, 65_407, 65_535];
    let picture = image::ImageBuffer::from_fn(9, 1, |x, _| Luma([values[x as usize]]));
    let grey = Options {
        grey: true,
        ..Options::default()
    };
    let got = pixels(
        &encoded(DynamicImage::ImageLuma16(picture), ImageFormat::Png),
        &grey,
    );
    let want: Vec<u8> = values
        .iter()
        .map(|v| (f64::from(*v) / 257.0).round() as u8)
        .collect();
    assert_eq!(got, want);
}

#[test]
fn the_middle_is_cropped_and_what_is_stretched_is_said() {
    let dir = tempfile::tempdir().unwrap();
    // Red, white, red: the middle third is white.
    let bars = RgbImage::from_fn(12, 4, |x, _| {
        if (4..8).contains(&x) {
            Rgb([255; 3])
        } else {
            Rgb([255, 0, 0])
        }
    });
    bars.save(dir.path().join("wide.png")).unwrap();
    image::imageops::rotate90(&bars)
        .save(dir.path().join("tall.png"))
        .unwrap();
    let spec = Spec::Images(dir.path().to_owned());
    let read = |crop| {
        let options = Options {
            size: Some(4),
            crop,
            ..Options::default()
        };
        let read = spec.read(Part::Training, &options).unwrap();
        let pictures = read.report.pictures.unwrap();
        (
            read.data.values.to_f32(),
            (pictures.stretched, pictures.cropped),
        )
    };
    let (cropped, said) = read(true);
    assert!(cropped.iter().all(|v| *v == 255.0));
    assert_eq!(said, (0, 2));
    let (stretched, said) = read(false);
    assert!(stretched.contains(&0.0));
    assert_eq!(said, (2, 0));
}

fn save(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_no_picture_says_what_it_is() {
    let heic = [&b"\0\0\0\x18ftypheic"[..], &[0; 200]].concat();
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\n <HTML>", "web page"),
        (&heic, "HEIC"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "Git LFS",
        ),
        (b"not a picture", "is text (it begins with 'not a picture')"),
        (&[0; 100], "zeros"),
        (b"\x01\x02\x03\x04", "begins with 01 02 03 04"),
        (b"BM is a text\nthat begins like a BMP", "is text"),
    ] {
        refused(bytes, &[words]);
    }
    // By content where the ending lies.
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "a.jpg", &encoded(photo(8, 8), ImageFormat::Png));
    save(dir.path(), "b.png", &jpeg(&photo(8, 8), 90));
    save(dir.path(), "c.jpg_large", &jpeg(&photo(8, 8), 90));
    save(dir.path(), "d", &encoded(photo(8, 8), ImageFormat::WebP));
    save(dir.path(), "e.JFIF", &jpeg(&photo(8, 8), 90));
    save(dir.path(), "notes.csv", b"BM,1\n");
    assert_eq!(load(dir.path(), &Options::default()).unwrap().rows(), 5);
}

#[test]
fn broken_pictures_are_passed_over_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let whole = jpeg(&photo(16, 16), 90);
    save(dir.path(), "a.jpg", &whole);
    save(dir.path(), "b.jpg", &whole[..whole.len() / 2]);
    save(dir.path(), "c.png", b"");
    let spec = Spec::Images(dir.path().to_owned());
    let error = spec
        .load(Part::Training, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("b.jpg") && error.contains("`skip_broken`"),
        "{error}"
    );
    let skip = Options {
        skip_broken: true,
        ..Options::default()
    };
    let read = spec.read(Part::Training, &skip).unwrap();
    assert_eq!((read.data.rows(), read.report.broken.len()), (1, 2));
    assert!(read.report.broken[0].contains("b.jpg") && read.report.broken[1].contains("empty"));
    fs::remove_file(dir.path().join("a.jpg")).unwrap();
    let error = spec.load(Part::Training, &skip).unwrap_err().to_string();
    assert!(error.contains("none of the 2 pictures"), "{error}");
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A chunk of a PNG.
fn chunk(name: &[u8], data: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(name);
    crc.update(data);
    let length = (data.len() as u32).to_be_bytes();
    [&length, name, data, &crc.sum().to_be_bytes()].concat()
}

/// A PNG of one colour by hand: `depth` bits, colour type `kind`, rows of zeros.
fn blank_png(width: u32, height: u32, depth: u8, kind: u8) -> Vec<u8> {
    let samples = if kind == 2 { 3 } else { 1 };
    let row = (u64::from(width) * samples * u64::from(depth)).div_ceil(8) as usize + 1;
    let packed = zlib(&vec![0; row * height as usize]);
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[depth, kind, 0, 0, 0],
    ]
    .concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        if kind == 3 {
            chunk(b"PLTE", &[7, 8, 9, 1, 2, 3])
        } else {
            Vec::new()
        },
        chunk(b"IDAT", &packed),
        chunk(b"IEND", b""),
    ]
    .concat()
}

#[test]
fn large_pictures_are_read_and_larger_ones_named() {
    let small = Options {
        size: Some(2),
        grey: true,
        ..Options::default()
    };
    // One bit a pixel, a palette's index in a bit, and next to nothing at all for many pixels.
    assert_eq!(pixels(&blank_png(2400, 2400, 1, 0), &small), [0; 4]);
    assert_eq!(pixels(&blank_png(1600, 1600, 1, 3), &small), [8; 4]);
    let blank = encoded(
        RgbImage::from_pixel(1000, 1000, Rgb([9; 3])),
        ImageFormat::WebP,
    );
    assert!(blank.len() < 2000);
    assert_eq!(pixels(&blank, &small), [9; 4]);
    // Wider than 16,384 pixels.
    assert_eq!(
        read(&blank_png(60_000, 1, 8, 0), &Options::default())
            .unwrap()
            .0
            .width,
        60_000
    );
    refused(
        &blank_png(70_000, 1, 8, 0),
        &["70000 x 1", "at most 65535", "shrink it"],
    );
    // 108 megapixels would be 309 MiB; 400 are above 1 GiB.
    let mut claims = blank_png(20_000, 20_000, 8, 0);
    claims[25] = 2;
    let mut crc = Crc::new();
    crc.update(&claims[12..29]);
    claims[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    refused(
        &claims,
        &["20000 x 20000", "1144 MiB", "at most 1024 MiB", "shrink it"],
    );
    // A header that claims what its bytes cannot hold.
    let mut lies = blank_png(16, 16, 8, 0);
    lies[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    refused(&lies, &["claims 16384 x 16384"]);
}
