//! Invalid seals and statements.

use crate::sample::{Parts, RECIPE, bundle_of, check, key, refusal, sample, trust, trust_in};
use bundle::keys::SecretKey;
use bundle::limits::MAX_MANIFEST_LEN;
use seal::{SEAL_LEN, STATEMENT_LEN, Seal, Statement};

/// Returns the refusal of the sample with a changed statement, signed again.
fn resealed(change: impl FnOnce(&mut Statement)) -> String {
    refusal(&Parts::sample().seal_with(change))
}

fn crc(seal: &mut [u8]) {
    let crc = crc32fast::hash(&seal[..4092]);
    seal[4092..4096].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn an_empty_file_and_an_empty_block() {
    assert_eq!(refusal(b""), "seal ends after 0 of 4096 bytes");
    assert_eq!(refusal(&[0; SEAL_LEN]), "empty: no seal");
}

#[test]
fn a_wrong_magic_number() {
    let mut bytes = sample();
    bytes[0] ^= 1;
    assert_eq!(refusal(&bytes), "not a RayOS bundle or boot image");
}

#[test]
fn an_unknown_major_version() {
    let mut bytes = sample();
    bytes[32] = 2;
    crc(&mut bytes);
    assert_eq!(refusal(&bytes), "unknown format version 2, expected 1");
}

/// Returns the sample with changed bytes in its statement, signed again.
fn signed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = sample();
    change(&mut bytes[..STATEMENT_LEN]);
    let signature = key().sign(&bytes[..STATEMENT_LEN]);
    bytes[560..624].copy_from_slice(&signature);
    crc(&mut bytes);
    bytes
}

#[test]
fn unknown_flags_and_fields() {
    // Bits 0 and 1 are defined. A reader must know bits 2 to 15, in any minor version.
    for (minor, flags) in [
        (0_u8, 4_u32),
        (0, 1 << 15),
        (0, 0xffff_ffff),
        (9, 4),
        (9, 1 << 15),
    ] {
        let said = refusal(&signed(|statement| {
            statement[34] = minor;
            statement[36..40].copy_from_slice(&flags.to_le_bytes());
        }));
        assert_eq!(
            said,
            format!("statement has unknown flags {:#x}", flags & 0xfffc)
        );
    }
    // Bits 16 to 31, and the bytes after the fields, belong to later minor versions.
    for (at, byte) in [(38, 1), (39, 0x80), (328, 1), (511, 1)] {
        let with = |minor: u8| {
            signed(|statement| {
                statement[34] = minor;
                statement[at] = byte;
            })
        };
        assert_eq!(refusal(&with(0)), "statement: reserved bytes are not zero");
        check(&with(1), &trust()).unwrap();
    }
    check(&signed(|statement| statement[36] = 3), &trust()).unwrap();
}

#[test]
fn invalid_versions_and_images() {
    let version = |text: &[u8]| {
        refusal(&signed(|statement| {
            statement[176..240].fill(0);
            statement[176..176 + text.len()].copy_from_slice(text);
        }))
    };
    for bad in [
        b"".as_slice(),
        b"1.2.3\0x",
        b"\x001.2.3",
        b"1 2",
        b"1.2.\x7f",
        "1.2.ü".as_bytes(),
    ] {
        assert_eq!(
            version(bad),
            "statement: version is not 1 to 64 printable characters",
            "{bad:?}"
        );
    }
    let longest = version(&[b'x'; 64]);
    assert!(
        longest.ends_with("in the signed statement, but 1.2.3 in the manifest"),
        "{longest}"
    );
    // Manifest, boot, recovery and verified root: a length without a digest, and a digest without a length.
    for at in [56, 96, 136, 248] {
        for change in [at, at + 8] {
            let half = refusal(&signed(|statement| {
                statement[at..at + 40].fill(0);
                statement[change] = 1;
            }));
            assert_eq!(
                half,
                "statement: an image has only one of length and digest"
            );
        }
    }
}

#[test]
fn damage_and_forgery_have_different_errors() {
    let mut bytes = sample();
    bytes[600] ^= 1;
    assert!(refusal(&bytes).starts_with("seal damaged: checksum"));
    crc(&mut bytes);
    assert_eq!(
        refusal(&bytes),
        format!("signature of key {} does not match", key().id())
    );
}

#[test]
fn no_signature() {
    let seal = Seal::new(
        &Seal::from_bytes(sample()[..SEAL_LEN].try_into().unwrap())
            .unwrap()
            .unverified_statement()
            .unwrap(),
    );
    let bytes = [seal.as_bytes(), &sample()[SEAL_LEN..]].concat();
    assert_eq!(refusal(&bytes), "not signed");
}

#[test]
fn a_signature_of_an_unknown_key() {
    let other = SecretKey::from_seed(&[8; 32]);
    let refused = check(&sample(), &trust_in(&[&other], 1)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "signed by 0 trusted release key(s), expected 1"
    );
}

#[test]
fn more_signatures_than_the_maximum() {
    let mut bytes = sample();
    bytes[512] = 17;
    crc(&mut bytes);
    assert_eq!(refusal(&bytes), "seal with 17 signatures, maximum 16");
    // Sixteen fit: one of the trusted key and fifteen of unknown keys.
    let mut keys = vec![key()];
    keys.extend((8..23).map(|seed| SecretKey::from_seed(&[seed; 32])));
    let full = bundle_of(RECIPE, &keys, 1);
    assert_eq!(full[512], 16);
    check(&full, &trust()).unwrap();
}

#[test]
fn the_same_key_twice_for_a_threshold_of_two() {
    let mut bytes = sample();
    let entry = bytes[528..624].to_vec();
    bytes[624..720].copy_from_slice(&entry);
    bytes[512] = 2;
    crc(&mut bytes);
    let other = SecretKey::from_seed(&[8; 32]);
    let refused = check(&bytes, &trust_in(&[&key(), &other], 2)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "signed by 1 trusted release key(s), expected 2"
    );
}

#[test]
fn a_signature_of_another_domain() {
    let statement = Parts::sample().statement;
    let mut seal = Seal::new(&statement);
    let message = [b"Another domain".as_slice(), &seal.to_be_signed()].concat();
    seal.add_signature(key().id(), &key().sign(&message))
        .unwrap();
    let bytes = [seal.as_bytes(), &sample()[SEAL_LEN..]].concat();
    assert!(refusal(&bytes).ends_with("does not match"));
}

#[test]
fn a_key_epoch_above_that_of_the_trust() {
    assert_eq!(
        resealed(|statement| statement.key_epoch = 1),
        "signed under key epoch 1, trust has key epoch 0"
    );
}

#[test]
fn manifest_lengths_outside_their_limits() {
    let too_long = MAX_MANIFEST_LEN + 1;
    assert_eq!(
        resealed(|s| s.manifest = seal::ImageDigest::NONE),
        "manifest of 0 bytes, expected 1 to 1048576"
    );
    assert_eq!(
        resealed(|s| s.manifest.len = too_long),
        "manifest of 1048577 bytes, expected 1 to 1048576"
    );
    assert_eq!(
        resealed(|s| s.manifest.len = u64::MAX),
        format!("manifest of {} bytes, expected 1 to 1048576", u64::MAX)
    );
}

#[test]
fn a_bundle_length_other_than_the_signed_one() {
    let len = sample().len() as u64;
    for wrong in [0, len - 1, len + 1, u64::MAX] {
        let refused = resealed(|s| s.bundle_len = wrong);
        assert!(
            refused.starts_with(&format!(
                "bundle is signed with a length of {wrong} bytes, its parts have "
            )),
            "{refused}"
        );
    }
}

#[test]
fn statement_and_manifest_that_disagree() {
    assert_eq!(
        resealed(|s| s.rollback_index = 8),
        "rollback index is 8 in the signed statement, but 7 in the manifest"
    );
    let version = seal::Text64::new("1.2.4").unwrap();
    assert_eq!(
        resealed(|s| s.version = version),
        "version is 1.2.4 in the signed statement, but 1.2.3 in the manifest"
    );
    assert!(
        resealed(|s| s.boot = seal::ImageDigest::NONE)
            .starts_with("boot image is none in the signed statement")
    );
    assert_eq!(
        resealed(|s| s.root.as_mut().unwrap().len += 1),
        "verified root image is 29473 bytes in the signed statement, but 29472 bytes in the manifest"
    );
    assert!(
        resealed(|s| s.root.as_mut().unwrap().root_hash[3] ^= 1)
            .starts_with("root image: root hash mismatch: expected ")
    );
    assert!(resealed(|s| s.boot.sha256[3] ^= 1).starts_with("boot image is 6400 bytes, "));
    assert!(resealed(|s| s.boot.len += 1).starts_with("boot image is 6401 bytes, "));
    assert!(resealed(|s| s.recovery = s.boot).starts_with("recovery image is 6400 bytes, "));
}
