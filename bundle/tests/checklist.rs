//! More forgeries that a reader must refuse: signatures that are almost valid, weak keys, lengths
//! that overflow, and parts of one release in another. Each is signed with the trusted key, unless
//! it is about the signature.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod sample;

use bundle::keys::SecretKey;
use sample::{Parts, RECIPE, bundle_of, check, key, refusal, sample, trust_in};
use seal::{Role, SEAL_LEN, Trust, TrustedKey};
use std::io::{self, Read};

/// Offset of the first signature entry.
const ENTRY: usize = 528;
/// Offset of its signature.
const SIGNATURE: usize = ENTRY + 32;
/// The order of the group of Ed25519 (RFC 8032, 5.1), least byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Returns the sample with a changed seal and a valid checksum.
fn with_seal(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = sample();
    change(&mut bytes[..SEAL_LEN]);
    let crc = crc32fast::hash(&bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn an_unknown_algorithm() {
    for algorithm in [0_u32, 2, u32::MAX] {
        let said = refusal(&with_seal(|seal| {
            seal[ENTRY + 16..ENTRY + 20].copy_from_slice(&algorithm.to_le_bytes())
        }));
        assert!(said.contains("algorithm"), "{said}");
    }
}

#[test]
fn reserved_bytes_that_are_not_zero() {
    for at in [516, ENTRY + 20, ENTRY + 96, 2064, 4091] {
        refusal(&with_seal(|seal| seal[at] = 1));
    }
}

#[test]
fn a_signature_changed_without_the_key() {
    // S + L equals S modulo L: a verifier that is not strict accepts it.
    let said = refusal(&with_seal(|seal| {
        let mut carry = 0;
        for (byte, order) in seal[SIGNATURE + 32..SIGNATURE + 64].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
    }));
    assert_eq!(
        said,
        format!("signature of key {} does not match", key().id())
    );
}

#[test]
fn a_signature_with_a_point_of_small_order() {
    // R is the identity and S is zero: valid for any message, for a key of small order and a
    // verifier that is not strict.
    let said = refusal(&with_seal(|seal| {
        seal[SIGNATURE..SIGNATURE + 64].fill(0);
        seal[SIGNATURE] = 1;
    }));
    assert_eq!(
        said,
        format!("signature of key {} does not match", key().id())
    );
}

#[test]
fn public_keys_of_small_order_are_not_trusted() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    for weak in [[0; 32], identity, minus_one] {
        assert!(
            TrustedKey::new(&weak, &[Role::Release]).is_err(),
            "{weak:?}"
        );
    }
}

#[test]
fn one_signature_for_a_threshold_of_two() {
    let second = SecretKey::from_seed(&[8; 32]);
    let both = trust_in(&[&key(), &second], 2);
    let said = check(&sample(), &both).unwrap_err().to_string();
    assert_eq!(said, "signed by 1 trusted release key(s), expected 2");
    check(&bundle_of(RECIPE, &[key(), second], 1), &both).unwrap();
}

#[test]
fn the_same_key_twice_in_the_trust() {
    let twice = [0, 1].map(|_| TrustedKey::new(&key().public_key(), &[Role::Release]).unwrap());
    assert!(Trust::new(0, [2, 0, 0], &twice).is_err());
    assert!(Trust::new(0, [1, 0, 0], &twice).is_err());
}

#[test]
fn a_key_with_another_role() {
    let other = SecretKey::from_seed(&[8; 32]);
    let keys = [
        TrustedKey::new(&key().public_key(), &[Role::Recovery]).unwrap(),
        TrustedKey::new(&other.public_key(), &[Role::Release]).unwrap(),
    ];
    let trust = Trust::new(0, [1, 0, 1], &keys).unwrap();
    let said = check(&sample(), &trust).unwrap_err().to_string();
    assert_eq!(said, "signed by 0 trusted release key(s), expected 1");
}

#[test]
fn impossible_and_zero_thresholds() {
    let one = [TrustedKey::new(&key().public_key(), &[Role::Release]).unwrap()];
    assert!(
        Trust::new(0, [0, 0, 0], &one).is_err(),
        "no signature required"
    );
    assert!(
        Trust::new(0, [2, 0, 0], &one).is_err(),
        "more than the number of keys"
    );
    assert!(Trust::new(0, [1, 0, 0], &[]).is_err(), "no key");
}

fn with_manifest(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut parts = Parts::sample();
    let mut bytes = bundle::cbor::encode(&parts.manifest).unwrap();
    change(&mut bytes);
    parts.manifest_bytes = Some(bytes);
    refusal(&parts.seal())
}

#[test]
fn data_after_the_manifest() {
    for more in [&[0_u8][..], &[0xf6], &[0xff; 64]] {
        with_manifest(|bytes| bytes.extend_from_slice(more));
    }
}

#[test]
fn numeric_map_keys() {
    // The packed form of serde_cbor: the number of a field instead of its name.
    with_manifest(|bytes| {
        let at = bytes
            .windows(6)
            .position(|window| window == b"\x65index")
            .unwrap();
        bytes.splice(at..at + 6, [3]);
    });
}

#[test]
fn lengths_that_overflow() {
    for change in [
        (|parts: &mut Parts| parts.manifest.payload = u64::MAX) as fn(&mut Parts),
        |parts| parts.manifest.payload = u64::MAX - 4096,
        |parts| parts.manifest.index.chunks = u64::MAX,
        |parts| parts.manifest.index.chunks = u64::MAX / 80 + 1,
        |parts| parts.manifest.index.ranges = u64::MAX / 16 + 1,
        |parts| parts.manifest.images[0].size = u64::MAX,
        |parts| parts.manifest.images[0].chunks = u64::MAX,
    ] {
        let mut parts = Parts::sample();
        change(&mut parts);
        refusal(&parts.seal());
    }
    for len in [
        u64::MAX,
        (1 << 31) - 1,
        (1 << 31) + 1,
        (1 << 32) - 1,
        (1 << 32) + 1,
        1 << 63,
    ] {
        refusal(&Parts::sample().seal_with(|statement| statement.bundle_len = len));
        refusal(&Parts::sample().seal_with(|statement| statement.manifest.len = len));
        refusal(&Parts::sample().seal_with(|statement| statement.boot.len = len));
    }
}

/// Returns another release with the same key and layout.
fn other() -> Vec<u8> {
    bundle_of(
        &RECIPE
            .replace("1.2.3", "1.2.4")
            .replace("rollback_index = 7", "rollback_index = 8"),
        &[key()],
        1,
    )
}

#[test]
fn parts_of_two_releases() {
    let (one, two) = (sample(), other());
    assert_eq!(one.len(), two.len());
    let manifest_len = Parts::of(&one).statement.manifest.len as usize;
    let index_end = SEAL_LEN + manifest_len + Parts::of(&one).index.len();
    for (from, to) in [
        (0, SEAL_LEN),
        (SEAL_LEN, SEAL_LEN + manifest_len),
        (SEAL_LEN, index_end),
    ] {
        let mut mixed = one.clone();
        mixed[from..to].copy_from_slice(&two[from..to]);
        refusal(&mixed);
    }
}

#[test]
fn a_chunk_with_its_halves_swapped() {
    let bytes = sample();
    let parts = Parts::of(&bytes);
    let payload = bytes.len() - parts.payload.len() - parts.hints.len();
    // The noise is stored uncompressed: 4096 bytes.
    let noise: Vec<usize> = (0..parts.payload.len() - 4096)
        .filter(|at| {
            let piece = &parts.payload[*at..at + 4096];
            piece == sample::noise(1, 4096)
        })
        .collect();
    let at = payload + noise[0];
    let mut swapped = bytes.clone();
    swapped[at..at + 4096].rotate_left(2048);
    refusal(&swapped);
}

#[test]
fn every_byte_is_read_once() {
    // An attacker who can change the bytes between check and use must not get a second read.
    struct Counted(io::Cursor<Vec<u8>>, std::rc::Rc<std::cell::Cell<usize>>);
    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1.set(self.1.get() + read);
            Ok(read)
        }
    }
    let bytes = sample();
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let source = Counted(io::Cursor::new(bytes.clone()), std::rc::Rc::clone(&count));
    let access = bundle::open::Access::Verify(&sample::trust(), seal::Purpose::Release);
    bundle::open::Opener::open(source, access, 1)
        .unwrap()
        .check(&mut |_| ())
        .unwrap();
    assert_eq!(count.get(), bytes.len());
}
