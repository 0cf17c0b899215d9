//! Samples: positions in bytes that are chosen by the bytes before them, so that equal content has
//! the same samples at any offset.

use twox_hash::XxHash3_64;

/// Number of bytes that a sample depends on; it is at the last of them. Enough to be distinctive,
/// and few enough to fit between two addresses that changed in a program.
pub(crate) const WINDOW: usize = 32;

/// A pseudo-random number for each byte. The rolling hash is the sum of those of the last 32 bytes,
/// each doubled once for each byte after it.
const GEAR: [u32; 256] = gear();

const fn gear() -> [u32; 256] {
    let mut table = [0; 256];
    // xorshift64*; any seed but zero works.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut at = 0;
    while at < table.len() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        table[at] = (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32;
        at += 1;
    }
    table
}

/// Calls `found` with tag and position of every sample in `bytes` from `from` on: about one of
/// 2^`rarity` positions. The tag is a hash of the [`WINDOW`] bytes that end there. Consecutive
/// equal samples, as in a sequence of one byte, are reported once. *Pure.*
pub(crate) fn samples(bytes: &[u8], from: usize, rarity: u32, mut found: impl FnMut(u32, usize)) {
    let (mut hash, mut last) = (0_u32, None);
    let from = from.max(WINDOW - 1);
    for (at, byte) in bytes.iter().enumerate() {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if hash.leading_zeros() >= rarity && at >= from {
            let tag = (XxHash3_64::oneshot(&bytes[at + 1 - WINDOW..=at]) >> 32) as u32;
            if last != Some(tag) {
                found(tag, at);
            }
            last = Some(tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], from: usize) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        samples(bytes, from, 6, |tag, at| all.push((tag, at)));
        all
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u64)
            .map(|at| (XxHash3_64::oneshot(&at.to_le_bytes()) >> 8) as u8)
            .collect()
    }

    #[test]
    fn samples_are_shifted_with_the_content() {
        let bytes = noise(100_000);
        let (plain, shifted) = (
            all(&bytes, 0),
            all(&[b"in front".as_slice(), &bytes].concat(), 0),
        );
        assert!((800..3000).contains(&plain.len()), "{}", plain.len());
        let moved: Vec<_> = plain.iter().map(|(tag, at)| (*tag, at + 8)).collect();
        assert!(moved.iter().all(|sample| shifted.contains(sample)));
        assert!(shifted.len() - moved.len() <= 3);
    }

    #[test]
    fn parts_that_overlap_by_a_window_have_the_samples_of_the_whole() {
        let bytes = noise(20_000);
        let cut = 7_777;
        let mut pieces = all(&bytes[..cut], 0);
        let before = cut + 1 - WINDOW;
        pieces.extend(
            all(&bytes[before..], WINDOW - 1)
                .iter()
                .map(|(tag, at)| (*tag, at + before)),
        );
        assert_eq!(pieces, all(&bytes, 0));
    }

    #[test]
    fn a_sequence_of_one_byte_has_no_more_than_one_sample() {
        for byte in 0..=255 {
            assert!(all(&vec![byte; 4096], 0).len() <= 1, "{byte}");
        }
    }
}
