//! Trust links: an accepted link encodes to the same bytes, and none leads from keys that did not
//! sign it.

use seal::{LINK_LEN, Link, Role, Trust, TrustChain, TrustedKey, parse_links, stored_links};

/// Panics if the property does not hold.
pub(crate) fn check(data: &[u8]) {
    let key = bundle::keys::SecretKey::from_seed(&[7; 32]).public_key();
    let key = TrustedKey::new(&key, &[Role::Release]).unwrap();
    let first = Trust::new(0, [1, 0, 0], &[key]).unwrap();
    let mut bytes = data.to_vec();
    // Valid checksums, so that the fuzzer reaches the checks after them.
    for link in bytes.chunks_exact_mut(LINK_LEN) {
        let crc = crc(&link[..LINK_LEN - 4]);
        link[LINK_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    }
    let stored = stored_links(&bytes);
    if let Ok(links) = parse_links(&bytes) {
        let again: Vec<u8> = links.iter().flat_map(Link::as_bytes).copied().collect();
        assert_eq!(again, bytes);
        assert_eq!(stored, links);
    }
    let mut chain = TrustChain::new(first);
    assert_ne!(chain.follow(&stored), Ok(1));
    assert_eq!(chain.epoch(), 0);
}

/// CRC-32 (IEEE), bit by bit: independent of the one under test.
fn crc(bytes: &[u8]) -> u32 {
    let fold = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), fold)
    })
}
