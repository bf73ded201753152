//! Depth, and any other numbers, as files that other programs read: NumPy's `.npy` in full precision, and a PNG of 16 bits whose scale is
//! written in it.
//!
//! ```
//! use wgen::report::depth::{depth_png, npy, scale};
//!
//! let depth = [2.0, 2.5, 3.0, 0.0, 4.0, 6.0];
//! let bytes = npy(&depth, &[2, 3])?; // numpy.load gives an array of shape (2, 3)
//! assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
//!
//! let bytes = depth_png(&depth, (3, 2), scale(&depth), "distance along the ray")?;
//! let picture = image::load_from_memory(&bytes).unwrap().into_luma16();
//! assert_eq!(picture.get_pixel(2, 1).0, [65_535]); // 6, the largest
//! assert_eq!(picture.get_pixel(2, 0).0, [32_768]);
//! # Ok::<(), wgen::Error>(())
//! ```

use crate::error::{Error, Result};

/// The keyword of the text in a depth's PNG that is what one step of grey stands for.
pub const SCALE: &str = "depth-scale";

/// The keyword of the text that says what depth it is.
pub const KIND: &str = "depth-kind";

/// Numbers `[shape]`, row-major, as a file of NumPy's format 1.0, element type `<f4`.
///
/// # Errors
/// When there are not as many numbers as `shape` says.
pub fn npy(values: &[f32], shape: &[usize]) -> Result<Vec<u8>> {
    let count: usize = shape.iter().product();
    if values.len() != count {
        let why = format!("{shape:?} has {count} numbers, got {}", values.len());
        return Err(Error::shape("npy", why));
    }
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one has a comma.
    let comma = if sizes.len() == 1 { "," } else { "" };
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}",
        sizes.join(", ")
    );
    // Magic, version and length take 10 bytes; numbers begin at a multiple of 64, behind a line's end.
    let length = (header.len() + 11).next_multiple_of(64) - 10;
    let words = u16::try_from(length)
        .map_err(|_| Error::shape("npy", format!("{} axes are too many", shape.len())))?;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(words.to_le_bytes());
    bytes.extend(format!("{header:<0$}\n", length - 1).bytes());
    bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    Ok(bytes)
}

/// What a step of grey stands for if the largest of `values` is to be white; 1 where none is above 0. Of several frames take the largest.
pub fn scale(values: &[f32]) -> f64 {
    let finite = values.iter().filter(|x| x.is_finite());
    match finite.fold(0.0, |most: f32, &x| most.max(x)) {
        0.0 => 1.0,
        most => f64::from(most) / f64::from(u16::MAX),
    }
}

/// Depth as a grey PNG of 16 bits: `grey * scale` is the depth, to half a step. `size` is its width and height.
///
/// Two texts (tEXt) stand in it: `depth-scale`, the scale as a decimal number, and `depth-kind`, which is `kind`: a distance along the ray and a
/// depth along the camera's axis look alike, and are not. Depths that are negative or no numbers become 0, those beyond 65,535 steps 65,535.
///
/// # Errors
/// When there are not as many depths as pixels, none at all, or the scale is not above 0.
pub fn depth_png(
    depth: &[f32],
    (width, height): (usize, usize),
    scale: f64,
    kind: &str,
) -> Result<Vec<u8>> {
    if depth.len() != width * height || depth.is_empty() {
        let why = format!(
            "{width} x {height} pixels take as many depths, got {}",
            depth.len()
        );
        return Err(Error::shape("depth_png", why));
    }
    if !(scale > 0.0 && scale.is_finite()) {
        return Err(Error::field(
            "scale",
            format!("must be above 0, is {scale}"),
        ));
    }
    let pixel = |side: usize| {
        u32::try_from(side).map_err(|_| Error::shape("depth_png", format!("{side} is too large")))
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixel(width)?, pixel(height)?);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    let texts = [(SCALE, scale.to_string()), (KIND, kind.to_owned())];
    let grey = |&x: &f32| {
        // A conversion saturates, and makes 0 of what is no number.
        ((f64::from(x) / scale).round() as u16).to_be_bytes()
    };
    let data: Vec<u8> = depth.iter().flat_map(grey).collect();
    let written = || -> std::result::Result<(), png::EncodingError> {
        for (keyword, text) in texts {
            encoder.add_text_chunk(keyword.to_owned(), text)?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&data)?;
        writer.finish()
    };
    written().map_err(|e| Error::Usage(format!("the depth's picture cannot be encoded: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn numpy_writes_the_same_bytes() {
        // numpy.save of numpy 2.4.6, of float32 arrays.
        let header = |text: &str, length: usize| format!("{text:<0$}\n", length - 11).into_bytes();
        let begin = |length: u16| [b"\x93NUMPY\x01\x00".as_slice(), &length.to_le_bytes()].concat();
        for (shape, words) in [
            (vec![2, 3], "(2, 3)"),
            (vec![6], "(6,)"),
            (vec![1, 6, 1], "(1, 6, 1)"),
        ] {
            let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {words}, }}");
            let values = [0.0, -1.5, 1e-20, f32::INFINITY, 4.25, 5.0];
            let numbers: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            let expected = [begin(118), header(&text, 128), numbers].concat();
            assert_eq!(npy(&values, &shape).unwrap(), expected);
        }
        assert_eq!(npy(&[7.0], &[]).unwrap()[10..].len(), 118 + 4);
        assert_eq!(npy(&[], &[0, 3]).unwrap().len(), 128);
        let message = npy(&[1.0], &[2]).unwrap_err().to_string();
        assert!(message.contains("[2] has 2 numbers, got 1"), "{message}");
    }

    #[test]
    fn depth_comes_back_to_half_a_step_with_its_scale_and_kind() {
        let depth = [0.0, 0.1, 1.0, 2.999, 3.0, 1.5, f32::NAN, -1.0, 17.0];
        let step = scale(&depth[..6]);
        assert_eq!(step, 3.0 / 65_535.0);
        let bytes = depth_png(&depth, (3, 3), step, "depth along the camera's axis").unwrap();
        let mut reader = png::Decoder::new(io::Cursor::new(&bytes))
            .read_info()
            .unwrap();
        let mut data = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut data).unwrap();
        let info = reader.info();
        assert_eq!(info.color_type, png::ColorType::Grayscale);
        assert_eq!(info.bit_depth, png::BitDepth::Sixteen);
        let text = |keyword: &str| {
            let texts = &info.uncompressed_latin1_text;
            texts
                .iter()
                .find(|t| t.keyword == keyword)
                .unwrap()
                .text
                .clone()
        };
        let read: f64 = text("depth-scale").parse().unwrap();
        assert_eq!(read, step);
        assert_eq!(text("depth-kind"), "depth along the camera's axis");
        let grey: Vec<u16> = data
            .chunks_exact(2)
            .map(|b| u16::from_be_bytes([b[0], b[1]]))
            .collect();
        for (&grey, &depth) in grey.iter().zip(&depth[..6]) {
            let error = (f64::from(grey) * read - f64::from(depth)).abs();
            assert!(error <= 0.5001 * step, "{grey}, {depth}");
        }
        assert_eq!(grey[6..], [0, 0, 65_535]);
    }

    #[test]
    fn depth_of_other_sizes_or_without_a_scale_is_refused() {
        let said = |e: Result<Vec<u8>>| e.unwrap_err().to_string();
        assert!(said(depth_png(&[1.0; 5], (2, 3), 1.0, "")).contains("2 x 3 pixels"));
        assert!(said(depth_png(&[], (0, 3), 1.0, "")).contains("got 0"));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(said(depth_png(&[1.0], (1, 1), wrong, "")).contains("scale"));
        }
        assert_eq!(scale(&[0.0, -3.0, f32::NAN]), 1.0);
    }
}
