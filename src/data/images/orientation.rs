//! How a camera was held: a tag in EXIF or XMP data says how the stored picture is to be turned.

use image::metadata::Orientation;

/// The orientation that EXIF data has, or, where it has none, XMP data.
pub(super) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    exif.and_then(of_exif)
        .or_else(|| xmp.and_then(of_xmp))
        .unwrap_or(Orientation::NoTransforms)
}

fn of_exif(data: &[u8]) -> Option<Orientation> {
    // Some writers keep JPEG's prefix where the format wants none.
    let data = data.strip_prefix(b"Exif\0\0").unwrap_or(data);
    let mut reader = exif::Reader::new();
    // What is damaged elsewhere in it says nothing of this tag.
    reader.continue_on_error(true);
    let fields = reader.read_raw(data.to_vec());
    let fields = fields
        .or_else(|error| error.distill_partial_result(|_| {}))
        .ok()?;
    let field = fields.get_field(exif::Tag::Orientation, exif::In::PRIMARY)?;
    // The standard has a SHORT; some writers have a BYTE or a LONG.
    let value = field.value.get_uint(0)?;
    Orientation::from_exif(u8::try_from(value).ok()?)
}

/// `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
fn of_xmp(data: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = data.windows(NAME.len()).position(|w| w == NAME)? + NAME.len();
    let rest = data[at..].trim_ascii_start();
    let rest = rest
        .strip_prefix(b"=")
        .map_or(rest, |r| r.trim_ascii_start());
    let [b'"' | b'\'' | b'>', digit @ b'1'..=b'8', end, ..] = rest.trim_ascii_start() else {
        return None;
    };
    (!end.is_ascii_digit()).then(|| Orientation::from_exif(digit - b'0'))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exif_counts_before_xmp_and_what_is_no_orientation_turns_nothing() {
        let exif = |prefix: &[u8], value: u8| {
            let entry = [0x12, 1, 3, 0, 1, 0, 0, 0, value, 0, 0, 0];
            [prefix, b"II*\0\x08\0\0\0\x01\0", &entry].concat()
        };
        let xmp = br#"<rdf:Description tiff:Orientation="8"/>"#;
        let both = orientation(Some(&exif(b"", 6)), Some(xmp));
        assert_eq!(both, Orientation::Rotate90);
        assert_eq!(
            orientation(Some(&exif(b"Exif\0\0", 3)), None),
            Orientation::Rotate180
        );
        assert_eq!(orientation(None, Some(xmp)), Orientation::Rotate270);
        let element = b"<tiff:Orientation>2</tiff:Orientation>";
        assert_eq!(
            orientation(None, Some(element)),
            Orientation::FlipHorizontal
        );
        // As a BYTE and as a LONG; with more behind it than there is.
        let typed = |kind: u8, entries: u8| {
            let entry = [0x12, 1, kind, 0, 1, 0, 0, 0, 6, 0, 0, 0];
            [&b"II*\0\x08\0\0\0"[..], &[entries, 0], &entry].concat()
        };
        for data in [typed(1, 1), typed(4, 1), typed(3, 9)] {
            assert_eq!(orientation(Some(&data), None), Orientation::Rotate90);
        }
        for nothing in [
            &b""[..],
            b"tiff:Orientation",
            b"tiff:Orientation=\"9\"",
            b"tiff:Orientation=\"12\"",
        ] {
            assert_eq!(
                orientation(Some(nothing), Some(nothing)),
                Orientation::NoTransforms
            );
        }
        assert_eq!(
            orientation(Some(&exif(b"", 9)), None),
            Orientation::NoTransforms
        );
    }
}
