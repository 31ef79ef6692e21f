//! Whether a JPEG file is whole: its decoder fills up what is missing with grey, and a model would learn it.

/// The marker at the end of an image.
const END: u8 = 0xd9;

/// Goes from marker to marker up to the end of the image. What a segment holds, such as a thumbnail with an end of its
/// own, is stepped over; what follows the image, such as a phone's film, is not looked at.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(|pair| pair[0] == 0xff && is_marker(pair[1])) {
        let segment = &rest[at + 2..];
        if rest[at + 1] == END {
            return true;
        }
        let [high, low, ..] = *segment else { return false };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(after) = segment.get(length..) else { return false };
        rest = after;
    }
    false
}

/// After 0xff: not a byte 0xff among pixels (0x00), not padding (0xff), and none of the markers that stand alone.
fn is_marker(byte: u8) -> bool {
    !matches!(byte, 0x00 | 0x01 | 0xd0..=0xd8 | 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: [u8; 2] = [0xff, 0xd8];
    /// A segment that holds a thumbnail, begun and ended.
    const APP: [u8; 8] = [0xff, 0xe1, 0, 6, 0xff, 0xda, 0xff, 0xd9];
    /// A scan's header, and pixels with an escaped 0xff, a restart and padding.
    const SCAN: [u8; 12] = [0xff, 0xda, 0, 3, 9, 1, 0xff, 0x00, 0xff, 0xd0, 0xff, 0xff];

    #[test]
    fn only_with_its_end_an_image_is_whole() {
        let whole = [&START[..], &APP, &SCAN, &[0xd9]].concat();
        assert!(is_whole(&whole));
        assert!(is_whole(&[&whole[..], b"film \xff\xda \xff"].concat()));
        for len in 0..whole.len() {
            assert!(!is_whole(&whole[..len]), "{len}");
        }
    }

    #[test]
    fn lengths_that_lead_nowhere_end() {
        for tail in [&[0xff, 0xe1][..], &[0xff, 0xe1, 0], &[0xff, 0xe1, 0, 0], &[0xff, 0xe1, 0xff, 0xff, 0xff, 0xd9]] {
            assert!(!is_whole(&[&START[..], tail].concat()));
        }
    }
}
