//! Bytes as hexadecimal text.

use std::fmt::Write as _;

/// Returns `bytes` in lower-case hexadecimal. *Pure.*
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// Returns the `N` bytes that `text` is in hexadecimal, in upper or lower case; `None` if it is
/// anything else. *Pure.*
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_bytes_of_the_right_number_are_decoded() {
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(decode("001fFF"), Some([0, 0x1f, 0xff]));
        for wrong in ["001ff", "001fff0", "001fff00", "001f-f", "0x1fff", ""] {
            assert_eq!(decode::<3>(wrong), None, "{wrong}");
        }
    }
}
