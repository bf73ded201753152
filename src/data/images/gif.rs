//! GIFs. The format lets a picture be larger than the screen that its header says; viewers then show all of the picture.

use std::borrow::Cow;

/// A file whose screen has room for its first picture, which is enlarged in a copy where it has not.
pub(super) fn with_room(bytes: &[u8]) -> Cow<'_, [u8]> {
    let word = |at: usize| Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let needed = || {
        let picture = first_picture(bytes)?;
        let far = |at: usize, size: usize| word(at)?.checked_add(word(size)?);
        let right = far(picture, picture + 4)?;
        let bottom = far(picture + 2, picture + 6)?;
        let screen = (word(6)?, word(8)?);
        let wanted = (right.max(screen.0), bottom.max(screen.1));
        (wanted != screen).then_some(wanted)
    };
    let Some((width, height)) = needed() else {
        return Cow::Borrowed(bytes);
    };
    let mut copy = bytes.to_vec();
    copy[6..8].copy_from_slice(&width.to_le_bytes());
    copy[8..10].copy_from_slice(&height.to_le_bytes());
    Cow::Owned(copy)
}

/// Where the place and size of the first picture stand (GIF89a, 20: behind the separator of its descriptor).
fn first_picture(bytes: &[u8]) -> Option<usize> {
    let table = |flags: u8| match flags & 0x80 {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    };
    let mut at = 13 + table(*bytes.get(10)?);
    loop {
        match bytes.get(at)? {
            0x2c => return Some(at + 1),
            0x21 => {
                at += 2;
                while let size @ 1.. = usize::from(*bytes.get(at)?) {
                    at += 1 + size;
                }
                at += 1;
            }
            _ => return None,
        }
    }
}
