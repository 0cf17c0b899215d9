//! Seal: an accepted seal encodes to the same bytes, and one without a valid signature is refused.

use seal::{Purpose, Role, SEAL_LEN, Seal, Trust, TrustedKey};

/// Panics if the property does not hold.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = [0; SEAL_LEN];
    for (to, from) in bytes.iter_mut().zip(data) {
        *to = *from;
    }
    // A valid checksum, so that the fuzzer reaches the checks after it.
    let crc = crc(&bytes);
    bytes[SEAL_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    if let Ok(seal) = Seal::from_bytes(&bytes) {
        assert_eq!(seal.as_bytes(), &bytes);
        let key = bundle::keys::SecretKey::from_seed(&[7; 32]).public_key();
        let key = TrustedKey::new(&key, &[Role::Release]).unwrap();
        let trust = Trust::new(0, [1, 0, 0], &[key]).unwrap();
        assert!(seal.verify(&trust, Purpose::Release).is_err());
        if let Ok(statement) = seal.unverified_statement() {
            // Later minor versions may have more fields.
            if bytes[34..36] == [0, 0] {
                assert_eq!(statement.encode(), seal.to_be_signed());
            }
        }
    }
    if let Some(Ok(trust)) = data.first_chunk().map(Trust::from_block) {
        assert_eq!(Trust::from_block(&trust.to_block()), Ok(trust));
    }
}

/// CRC-32 (IEEE), bit by bit: independent of the one under test.
fn crc(bytes: &[u8; SEAL_LEN]) -> u32 {
    let fold = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
    !bytes[..SEAL_LEN - 4].iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), fold)
    })
}
