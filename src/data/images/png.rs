//! What a PNG says of itself beside its pixels, wherever in the file that stands: its decoder hands out only what comes before them.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// The most bytes that a compressed text unpacks to.
const MAX_TEXT: u64 = 1 << 20;

/// Name and contents of every chunk that is whole.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, from_name) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (name, from_contents) = from_name.split_at_checked(4)?;
        let (contents, from_sum) = from_contents.split_at_checked(length)?;
        rest = from_sum.get(4..).unwrap_or_default();
        Some((name, contents))
    })
}

/// What stands before and behind the first zero.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&b| b == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut decoder = ZlibDecoder::new(bytes).take(MAX_TEXT);
    decoder.read_to_end(&mut text).ok()?;
    Some(text)
}

/// Keyword and text of a chunk that has these (PNG 1.2, 4.2.3; the third of them in UTF-8).
fn text<'a>(name: &[u8], contents: &'a [u8]) -> Option<(&'a [u8], Vec<u8>)> {
    let (keyword, rest) = split(contents)?;
    let text = match name {
        b"tEXt" => rest.to_vec(),
        b"zTXt" => unpacked(rest.get(1..)?)?,
        b"iTXt" => {
            let (flags, rest) = rest.split_at_checked(2)?;
            let (_language, rest) = split(rest)?;
            let (_translated, rest) = split(rest)?;
            if flags[0] == 0 {
                rest.to_vec()
            } else {
                unpacked(rest)?
            }
        }
        _ => return None,
    };
    Some((keyword, text))
}

/// What ImageMagick and its relatives write as text: a line with a name, one with a length, and bytes in hexadecimal.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.split_ascii_whitespace();
    let length: usize = words.nth(1)?.parse().ok()?;
    let digits: Vec<u32> = words
        .flat_map(str::chars)
        .map_while(|c| c.to_digit(16))
        .collect();
    let (pairs, _) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[a, b]| (a * 16 + b) as u8).collect();
    (bytes.len() == length).then_some(bytes)
}

/// EXIF and XMP data.
pub(super) fn metadata(bytes: &[u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let (mut exif, mut raw, mut xmp) = (None, None, None);
    for (name, contents) in chunks(bytes) {
        if name == b"eXIf" {
            exif.get_or_insert_with(|| contents.to_vec());
            continue;
        }
        let Some((keyword, text)) = text(name, contents) else {
            continue;
        };
        match keyword {
            b"Raw profile type exif" | b"Raw profile type APP1" => {
                let profile = raw_profile(&text);
                let is_xmp = |p: &Vec<u8>| p.starts_with(b"http://ns.adobe.com/xap/");
                match profile {
                    Some(profile) if is_xmp(&profile) => xmp = xmp.or(Some(profile)),
                    profile => raw = raw.or(profile),
                }
            }
            b"Raw profile type xmp" => xmp = xmp.or(raw_profile(&text)),
            b"XML:com.adobe.xmp" => xmp = Some(text),
            _ => {}
        }
    }
    (exif.or(raw), xmp)
}
