//! What a reader must refuse: each forgery is signed with the true key, unless it is about the signature.

mod sample;

use bundle::cbor::Blob;
use bundle::keys::SecretKey;
use bundle::limits::{MAX_FRAME_LEN, MAX_FRAMES, MAX_MANIFEST_LEN, MAX_NOTES_LEN};
use bundle::manifest::{Base, BaseImage, ImageRole};
use sample::{Parts, check, head, key, noise, refusal, sample, trust, trust_in};
use seal::{SEAL_LEN, Seal, Statement};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};

/// A forgery made by changing the parts of the sample.
fn forged(change: impl FnOnce(&mut Parts)) -> String {
    let mut parts = Parts::sample();
    change(&mut parts);
    refusal(&parts.seal())
}

/// The seal of the sample with its first 512 bytes changed, signed anew.
fn resealed(change: impl FnOnce(&mut Statement)) -> String {
    refusal(&Parts::sample().seal_with(change))
}

fn crc(seal: &mut [u8]) {
    let crc = crc32fast::hash(&seal[..4092]);
    seal[4092..4096].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn the_sample_and_a_forgery_without_change_are_accepted() {
    check(&sample(), &trust()).unwrap();
    check(&Parts::sample().seal(), &trust()).unwrap();
    assert_eq!(Parts::sample().seal(), sample());
}

#[test]
fn every_truncation() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let refused = check(&bytes[..len], &trust()).unwrap_err();
        assert!(
            matches!(refused, bundle::open::OpenError::Read(bundle::ReadError::Truncated { .. })),
            "{len}: {refused}"
        );
    }
}

#[test]
fn any_single_bit_flipped_anywhere() {
    let bytes = sample();
    let flip_all = |from: usize, step: usize| {
        let mut flipped = bytes.clone();
        for at in (from..bytes.len()).step_by(step) {
            for bit in 0..8 {
                flipped[at] ^= 1 << bit;
                assert!(check(&flipped, &trust()).is_err(), "bit {bit} of byte {at}");
                flipped[at] = bytes[at];
            }
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|from| {
            drop(scope.spawn({
                let flip_all = &flip_all;
                move || flip_all(from, 4)
            }))
        });
    });
}

#[test]
fn trailing_data() {
    let bytes = sample();
    let at = bytes.len();
    assert_eq!(
        refusal(&[bytes, vec![0]].concat()),
        format!("data after the end of the bundle, at byte {at}")
    );
}

#[test]
fn a_source_without_end_is_left_at_the_first_byte_too_many() {
    struct Endless(io::Cursor<Vec<u8>>, u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += buffer.len() as u64;
            assert!(self.1 < 8 << 20, "read on and on");
            let read = self.0.read(buffer)?;
            buffer[read..].fill(0);
            Ok(buffer.len())
        }
    }
    let source = Endless(io::Cursor::new(sample()), 0);
    let access = bundle::open::Access::Verify(&trust(), seal::Purpose::Release);
    let opener = bundle::open::Opener::open(source, access, 1).unwrap();
    assert!(opener.check(&mut |_| ()).unwrap_err().to_string().starts_with("data after the end"));
}

// The seal.

#[test]
fn an_empty_file_and_an_empty_block() {
    assert_eq!(refusal(b""), "seal ends after 0 of 4096 bytes");
    assert_eq!(refusal(&[0; SEAL_LEN]), "empty: no release is sealed here");
}

#[test]
fn another_magic() {
    let mut bytes = sample();
    bytes[0] ^= 1;
    assert_eq!(refusal(&bytes), "not a RayOS bundle or boot image");
}

#[test]
fn another_major_version() {
    let mut bytes = sample();
    bytes[32] = 2;
    crc(&mut bytes);
    assert_eq!(refusal(&bytes), "format version 2 is not known: this program reads 1");
}

#[test]
fn damage_is_told_from_forgery() {
    let mut bytes = sample();
    bytes[600] ^= 1;
    assert!(refusal(&bytes).starts_with("seal is damaged: checksum"));
    crc(&mut bytes);
    assert_eq!(refusal(&bytes), format!("signature of key {} does not match", key().id()));
}

#[test]
fn no_signature_at_all() {
    let seal = Seal::new(
        &Seal::from_bytes(sample()[..SEAL_LEN].try_into().unwrap()).unwrap().unverified_statement().unwrap(),
    );
    let bytes = [seal.as_bytes(), &sample()[SEAL_LEN..]].concat();
    assert_eq!(refusal(&bytes), "not signed");
}

#[test]
fn a_signature_by_nobody_known() {
    let other = SecretKey::from_seed(&[8; 32]);
    let refused = check(&sample(), &trust_in(&[&other], 1)).unwrap_err();
    assert_eq!(refused.to_string(), "signed by 0 trusted release key(s), expected 1");
}

#[test]
fn more_signatures_than_fit() {
    let mut bytes = sample();
    bytes[512] = 17;
    crc(&mut bytes);
    assert_eq!(refusal(&bytes), "seal claims 17 signatures: at most 16 fit");
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
    assert_eq!(refused.to_string(), "signed by 1 trusted release key(s), expected 2");
}

#[test]
fn a_signature_from_another_domain() {
    let statement = Parts::sample().statement;
    let mut seal = Seal::new(&statement);
    let message = [b"Another domain".as_slice(), &seal.to_be_signed()].concat();
    seal.add_signature(key().id(), &key().sign(&message)).unwrap();
    let bytes = [seal.as_bytes(), &sample()[SEAL_LEN..]].concat();
    assert!(refusal(&bytes).ends_with("does not match"));
}

#[test]
fn a_later_key_epoch_than_the_trust() {
    assert_eq!(
        resealed(|statement| statement.key_epoch = 1),
        "signed under key epoch 1, the trust at hand is of epoch 0"
    );
}

// What the statement fixes.

#[test]
fn a_manifest_of_no_length_or_too_much() {
    let too_long = MAX_MANIFEST_LEN + 1;
    assert_eq!(
        resealed(|s| s.manifest = seal::ImageDigest::NONE),
        "manifest of 0 bytes, expected 1 to 1048576"
    );
    assert_eq!(resealed(|s| s.manifest.len = too_long), "manifest of 1048577 bytes, expected 1 to 1048576");
    assert_eq!(
        resealed(|s| s.manifest.len = u64::MAX),
        format!("manifest of {} bytes, expected 1 to 1048576", u64::MAX)
    );
}

#[test]
fn another_length_than_was_signed() {
    let len = sample().len() as u64;
    for wrong in [0, len - 1, len + 1, u64::MAX] {
        let refused = resealed(|s| s.bundle_len = wrong);
        assert!(
            refused.starts_with(&format!("bundle is signed for {wrong} bytes, its parts need ")),
            "{refused}"
        );
    }
}

#[test]
fn statement_and_manifest_that_disagree() {
    assert_eq!(
        resealed(|s| s.rollback_index = 8),
        "rollback index is 8 in the signed statement, and 7 in the manifest"
    );
    let version = seal::Text64::new("1.2.4").unwrap();
    assert_eq!(
        resealed(|s| s.version = version),
        "version is 1.2.4 in the signed statement, and 1.2.3 in the manifest"
    );
    assert!(
        resealed(|s| s.boot = seal::ImageDigest::NONE)
            .starts_with("boot image is none in the signed statement")
    );
    assert!(resealed(|s| s.boot.sha256[3] ^= 1).starts_with("boot image is 6400 bytes, "));
    assert!(resealed(|s| s.boot.len += 1).starts_with("boot image is 6401 bytes, "));
    assert!(resealed(|s| s.recovery = s.boot).starts_with("recovery image is 6400 bytes, "));
}

// The manifest.

/// The sample with the bytes of its manifest replaced.
fn with_manifest(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let mut parts = Parts::sample();
    parts.manifest.index.sha256.0 = Sha256::digest(&parts.index).into();
    parts.manifest_bytes = Some(change(bundle::cbor::encode(&parts.manifest).unwrap()));
    refusal(&parts.seal())
}

/// Replaces the only occurrence of `from`.
fn replace(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert_eq!(found.len(), 1, "{from:?}");
    bytes.splice(found[0]..found[0] + from.len(), to.iter().copied());
    bytes
}

#[test]
fn cbor_that_is_not_deterministic() {
    let refused =
        with_manifest(|bytes| replace(bytes, b"\x6erollback_index\x07", b"\x6erollback_index\x18\x07"));
    assert!(refused.ends_with("a number or length is not in its shortest form"), "{refused}");
    let refused = with_manifest(|bytes| [b"\xbf", &bytes[1..], b"\xff"].concat());
    assert_eq!(refused, "manifest: byte 0: item of indefinite length");
    let refused = with_manifest(|bytes| [b"\xd9\xd9\xf7", bytes.as_slice()].concat());
    assert_eq!(refused, "manifest: byte 0: item of major type 6, which a manifest does not use");
    let refused =
        with_manifest(|bytes| replace(bytes, b"\x6erollback_index\x07", b"\x6erollback_index\xf9\x47\x00"));
    assert!(refused.ends_with("item of major type 7, which a manifest does not use"), "{refused}");
    let refused = with_manifest(|bytes| replace(bytes, b"\x6erollback_index\x07", b"\x6erollback_index\x26"));
    assert!(refused.ends_with("item of major type 1, which a manifest does not use"), "{refused}");
    let refused = with_manifest(|bytes| [bytes.as_slice(), b"\0"].concat());
    assert_eq!(refused, "manifest: 1 bytes after the end");
    let refused = with_manifest(|bytes| bytes[..bytes.len() - 1].to_vec());
    assert!(refused.contains("in the middle of an item"), "{refused}");
}

#[test]
fn cbor_given_as_an_array_instead_of_a_map() {
    let refused = with_manifest(|bytes| {
        // The fields of the index as an array of their values: serde_cbor would take it.
        let at = bytes.windows(7).position(|window| window == b"\x65index\xa2").unwrap() + 6;
        let index = [b"\x83".as_slice(), &bytes[at + 8..at + 9], b"\0", &bytes[at + 16..at + 50]].concat();
        [&bytes[..at], &index, &bytes[at + 50..]].concat()
    });
    assert_eq!(refused, "manifest: decodes, but does not encode to the same bytes");
}

#[test]
fn keys_out_of_order_twice_or_unknown() {
    let swap = |bytes| {
        replace(
            replace(bytes, b"\x64role\x64boot\x64size", b"\x64size\x64boot\x64size"),
            b"\x64size\x64boot",
            b"\x64size\x64boot",
        )
    };
    assert!(with_manifest(swap).ends_with("map key appears twice"));
    let order = |bytes| {
        replace(bytes, b"\x64role\x64boot\x64size\x19\x19\x00", b"\x64size\x19\x19\x00\x64role\x64boot")
    };
    assert!(with_manifest(order).ends_with("map keys are not in deterministic order"));
    let unknown = |bytes| replace(bytes, b"\x65notes", b"\x65notez");
    assert!(with_manifest(unknown).contains("unknown field `notez`"));
    let number = |bytes| replace(bytes, b"\x65notes", b"\x01");
    assert!(with_manifest(number).ends_with("map key is not text"));
}

#[test]
fn nesting_without_end_and_lengths_without_bytes() {
    for depth in [8, 100, 100_000] {
        let refused = with_manifest(|_| vec![0x81; depth]);
        assert_eq!(refused, "manifest: byte 7: nested deeper than 6");
    }
    for head in [0x5b_u8, 0x7b, 0x9b, 0xbb] {
        let refused = with_manifest(|_| [&[head][..], &u64::MAX.to_be_bytes()].concat());
        assert_eq!(refused, "manifest: ends at byte 9 in the middle of an item");
    }
}

#[test]
fn texts_out_of_their_limits() {
    for bad in ["", "with space", "ü", &"x".repeat(65)] {
        assert!(
            forged(|p| p.manifest.compatible = vec![bad.to_owned()]).contains("is not 1 to 64 printable"),
            "{bad}"
        );
    }
    check(
        &{
            let mut p = Parts::sample();
            p.manifest.compatible = vec!["x".repeat(64); 64];
            p.seal()
        },
        &trust(),
    )
    .unwrap();
    assert_eq!(
        forged(|p| p.manifest.compatible = vec!["x".to_owned(); 65]),
        "manifest: number of compatible names is 65, at most 64"
    );
    assert_eq!(
        forged(|p| p.manifest.compatible.clear()),
        "manifest: names no hardware that the release fits"
    );
    assert_eq!(
        forged(|p| p.manifest.notes = "x".repeat(MAX_NOTES_LEN + 1)),
        "manifest: length of the notes is 65537, at most 65536"
    );
    check(
        &{
            let mut p = Parts::sample();
            p.manifest.notes = "x".repeat(MAX_NOTES_LEN);
            p.seal()
        },
        &trust(),
    )
    .unwrap();
}

#[test]
fn an_extension_that_must_be_understood() {
    let extend = |name: &str| {
        let mut parts = Parts::sample();
        parts.manifest.ext.insert(bundle::cbor::Key(name.to_owned()), Blob(vec![1]));
        parts.seal()
    };
    check(&extend("colour"), &trust()).unwrap();
    assert_eq!(
        refusal(&extend("!encryption")),
        "manifest: extension \"!encryption\" must be understood and is not known"
    );
}

#[test]
fn images_missing_repeated_out_of_order_or_unknown() {
    assert_eq!(forged(|p| p.manifest.images.clear()), "manifest: no image");
    assert_eq!(forged(|p| p.manifest.images[1].role = ImageRole::Boot), "manifest: image boot appears twice");
    assert_eq!(forged(|p| p.manifest.images.reverse()), "manifest: image boot stands behind image root");
    let unknown = |bytes| replace(bytes, b"\x64role\x64boot", b"\x64role\x64boat");
    assert!(with_manifest(unknown).contains("unknown variant `boat`"));
    assert_eq!(forged(|p| p.manifest.images[1].size = 0), "manifest: image root is empty");
}

#[test]
fn frame_sizes_out_of_their_limits() {
    for bad in [0, 4095, 4097, MAX_FRAME_LEN + 4096, u32::MAX] {
        let refused = forged(|p| p.manifest.images[1].frame_size = bad);
        assert!(refused.starts_with(&format!("manifest: image root: frame size {bad} is not")), "{refused}");
    }
}

#[test]
fn more_frames_than_a_bundle_may_have() {
    let refused = forged(|p| {
        p.manifest.images[1].frames = MAX_FRAMES;
        p.manifest.index.frames = MAX_FRAMES + p.manifest.images[0].frames;
    });
    assert_eq!(refused, "manifest: number of frames is 1048577, at most 1048576");
    assert_eq!(forged(|p| p.manifest.images[1].frames = u64::MAX), "manifest: lengths do not fit in 64 bits");
    assert!(
        forged(|p| p.manifest.images[1].frames += 1)
            .starts_with("manifest: images have 7 frames, the index has 6")
    );
}

#[test]
fn an_index_longer_than_the_bundle() {
    let refused = forged(|p| {
        p.manifest.images[1].frames += 1000;
        p.manifest.index.frames += 1000;
    });
    assert!(refused.starts_with("bundle is signed for "), "{refused}");
}

#[test]
fn base_ranges_without_a_base() {
    assert_eq!(forged(|p| p.manifest.index.ranges = 1), "manifest: base ranges without a base release");
}

// The index. Frames of the sample: 0 boot; 1 text, 2 noise, 3 zeroes, 4 repeat of 2, 5 the end.

#[test]
fn a_kind_of_frame_that_is_not_known() {
    assert_eq!(forged(|p| p.entry(1)[0] = 5), "frame 1: kind 5 is not known");
}

#[test]
fn frames_of_no_length_or_too_much() {
    assert_eq!(forged(|p| p.entry(1)[1..4].fill(0)), "frame 1: length 0, expected 1 to 4096");
    assert_eq!(
        forged(|p| p.entry(1)[1..4].copy_from_slice(&[1, 0x10, 0])),
        "frame 1: length 4097, expected 1 to 4096"
    );
    assert_eq!(
        forged(|p| p.entry(3)[1..4].copy_from_slice(&[1, 0, 0x40])),
        "frame 3: length 4194305, expected 1 to 4194304"
    );
}

#[test]
fn frames_that_are_not_aligned() {
    assert_eq!(
        forged(|p| p.entry(1)[1..4].copy_from_slice(&[0xff, 0x0f, 0])),
        "frame 1: length 4095 is not a multiple of 4096, and the image goes on"
    );
}

#[test]
fn frames_that_do_not_cover_the_image() {
    assert_eq!(forged(|p| p.manifest.images[1].size += 1), "image root: frames cover 25376 bytes of 25377");
    assert_eq!(
        forged(|p| p.manifest.images[1].size = u64::MAX),
        format!("image root: frames cover 25376 bytes of {}", u64::MAX)
    );
    assert_eq!(forged(|p| p.entry(3)[2] = 0x20), "image root: frames cover 21280 bytes of 25376");
}

#[test]
fn stored_lengths_that_do_not_fit_the_kind() {
    let set =
        |frame: usize, stored: u32| forged(|p| p.entry(frame)[4..8].copy_from_slice(&stored.to_le_bytes()));
    assert_eq!(set(3, 1), "frame 3: stored length 1 does not fit a zero frame of 12288 bytes");
    assert_eq!(set(4, 1), "frame 4: stored length 1 does not fit a repeat frame of 4096 bytes");
    assert_eq!(set(2, 4095), "frame 2: stored length 4095 does not fit a raw frame of 4096 bytes");
    assert_eq!(set(1, 0), "frame 1: stored length 0 does not fit a zstd frame of 4096 bytes");
    assert_eq!(set(1, 4096), "frame 1: stored length 4096 does not fit a zstd frame of 4096 bytes");
    assert_eq!(set(1, u32::MAX), "frame 1: stored length 4294967295 does not fit a zstd frame of 4096 bytes");
}

#[test]
fn arguments_where_there_are_none() {
    for (frame, kind) in [(1, "zstd"), (2, "raw"), (3, "zero")] {
        assert_eq!(
            forged(|p| p.entry(frame)[8] = 1),
            format!("frame {frame}: a {kind} frame has argument 1")
        );
    }
}

#[test]
fn digests_that_do_not_fit_the_kind() {
    assert_eq!(forged(|p| p.entry(3)[16] ^= 1), "frame 3: digests do not fit a zero frame");
    assert_eq!(forged(|p| p.entry(3)[48] ^= 1), "frame 3: digests do not fit a zero frame");
    assert_eq!(forged(|p| p.entry(2)[16] ^= 1), "frame 2: digests do not fit a raw frame");
    assert_eq!(forged(|p| p.entry(4)[48] ^= 1), "frame 4: digests do not fit a repeat frame");
}

#[test]
fn repeats_of_what_is_not_there() {
    let set = |of: u64| forged(|p| p.entry(4)[8..16].copy_from_slice(&of.to_le_bytes()));
    for of in [0, 1, 3, 4, 5, u64::MAX] {
        let expected = format!(
            "frame 4: repeats frame {of}, which is not an earlier frame of the image with the same content"
        );
        assert_eq!(set(of), expected);
    }
    assert!(forged(|p| p.entry(4)[16] ^= 1).starts_with("frame 4: repeats frame 2"));
}

#[test]
fn a_payload_of_another_length() {
    let refused = forged(|p| {
        p.payload.push(0);
        p.manifest.payload += 1;
    });
    assert!(refused.starts_with("frames are stored in ") && refused.contains("the payload has"), "{refused}");
}

/// The sample as a delta bundle: frame 1 with `ranges` base ranges.
fn delta(argument: u64, ranges: &[[u8; 16]]) -> String {
    forged(|p| {
        let image = |role| BaseImage { role, size: 1 << 30, sha256: Blob([1; 32]) };
        p.manifest.base = Some(Base {
            images: vec![image(ImageRole::Boot), image(ImageRole::Root)],
            version: "1.0".to_owned(),
        });
        p.manifest.index.ranges = ranges.len() as u64;
        p.entry(1)[0] = 4;
        p.entry(1)[8..16].copy_from_slice(&argument.to_le_bytes());
        p.index.extend(ranges.concat());
    })
}

fn range(role: u8, len: u32, offset: u64) -> [u8; 16] {
    let mut range = [0; 16];
    range[0] = role;
    range[4..8].copy_from_slice(&len.to_le_bytes());
    range[8..].copy_from_slice(&offset.to_le_bytes());
    range
}

#[test]
fn base_ranges_out_of_their_limits() {
    let outside = "base range 0 lies outside the images of the base release";
    for bad in [
        range(0, 1, 0),
        range(3, 1, 0),
        range(5, 1, 0),
        range(2, 0, 0),
        range(2, 1, 1 << 30),
        range(2, 1, u64::MAX),
    ] {
        assert_eq!(delta(1, &[bad]), outside);
    }
    let mut bad = range(2, 1, 0);
    bad[2] = 1;
    assert_eq!(delta(1, &[bad]), "base range 0 has data where it must be zero");
    assert_eq!(delta(0, &[]), "frame 1: prefix of 0 bytes, at most 16777216");
    assert_eq!(
        delta(1, &[range(2, (16 << 20) + 1, 0)]),
        "frame 1: prefix of 16777217 bytes, at most 16777216"
    );
    assert_eq!(delta(2, &[range(2, 1, 0)]), "delta frames use 2 base ranges, the index has 1");
    assert_eq!(delta(1, &[range(2, 1, 0); 2]), "delta frames use 1 base ranges, the index has 2");
    assert_eq!(
        delta(u64::MAX, &[range(2, 1, 0)]),
        format!("delta frames use {} base ranges, the index has 1", u64::MAX)
    );
}

// Frames: the stored bytes of frame 1 are replaced by another zstd frame.

fn with_frame(stored: &[u8]) -> String {
    let mut parts = Parts::sample();
    let lengths: Vec<usize> = (0..2)
        .map(|frame| u32::from_le_bytes(parts.entry(frame)[4..8].try_into().unwrap()) as usize)
        .collect();
    parts.payload.splice(lengths[0]..lengths[0] + lengths[1], stored.iter().copied());
    parts.manifest.payload = parts.payload.len() as u64;
    parts.entry(1)[4..8].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    let digest: [u8; 32] = Sha256::digest(stored).into();
    parts.entry(1)[48..80].copy_from_slice(&digest);
    refusal(&parts.seal())
}

fn text() -> Vec<u8> {
    sample::root_image()[..4096].to_vec()
}

#[test]
fn stored_bytes_that_are_not_zstd() {
    assert_eq!(
        with_frame(&noise(9, 100)),
        "image root: frame 1: stored as zstd, but does not begin with the number of a zstd frame"
    );
}

#[test]
fn a_frame_that_decompresses_to_other_bytes() {
    let mut other = text();
    other[5] ^= 1;
    let refused = with_frame(&zstd::bulk::compress(&other, 3).unwrap());
    assert!(refused.starts_with("image root: frame 1: digest mismatch: expected "), "{refused}");
}

#[test]
fn a_bomb() {
    let refused = with_frame(&zstd::bulk::compress(&vec![0; 2 << 20], 3).unwrap());
    assert_eq!(refused, "image root: frame 1: stored as zstd, but promises 2097152 bytes, expected 4096");
}

#[test]
fn a_frame_with_a_window_of_its_own() {
    use std::io::Write as _;
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&text()).unwrap();
    let refused = with_frame(&encoder.finish().unwrap());
    assert!(refused.contains("does not promise its length in one segment"), "{refused}");
}

#[test]
fn two_frames_in_one_and_skippable_frames() {
    let half = |range| zstd::bulk::compress(&text()[range], 3).unwrap();
    let refused = with_frame(&[half(0..2048), half(2048..4096)].concat());
    assert_eq!(refused, "image root: frame 1: stored as zstd, but promises 2048 bytes, expected 4096");
    let whole = zstd::bulk::compress(&text(), 3).unwrap();
    let refused = with_frame(&[whole.as_slice(), b"\x50\x2a\x4d\x18\x04\0\0\0skip"].concat());
    assert!(refused.contains("frames were joined or cut"), "{refused}");
    let refused = with_frame(&[b"\x50\x2a\x4d\x18\x04\0\0\0skip", whole.as_slice()].concat());
    assert!(refused.contains("does not begin with the number"), "{refused}");
}

#[test]
fn a_frame_that_is_cut() {
    let whole = zstd::bulk::compress(&text(), 3).unwrap();
    let refused = with_frame(&whole[..whole.len() - 1]);
    assert!(refused.contains("frames were joined or cut"), "{refused}");
}

#[test]
fn a_frame_that_asks_for_a_dictionary() {
    let mut whole = zstd::bulk::compress(&text(), 3).unwrap();
    whole[4] |= 1;
    assert!(with_frame(&whole).ends_with("asks for a dictionary"));
}

#[test]
fn a_damaged_frame_is_refused_before_it_is_decompressed() {
    let mut parts = Parts::sample();
    *parts.payload.last_mut().unwrap() ^= 1;
    let refused = refusal(&parts.seal());
    assert!(
        refused.starts_with("image root: frame 5: stored bytes: digest mismatch: expected "),
        "{refused}"
    );
}

#[test]
fn block_hints_that_are_damaged() {
    let mut parts = Parts::sample();
    parts.hints[0] ^= 1;
    assert!(refusal(&parts.seal()).starts_with("block hints: digest mismatch"));
}

#[test]
fn nothing_is_buffered_in_proportion_to_what_a_file_claims() {
    // A seal that promises a manifest of 1 MiB, and no more of it: what is held is what came.
    let bytes = Parts::sample().seal_with(|statement| statement.manifest.len = MAX_MANIFEST_LEN);
    let mut parser = bundle::HeadParser::new(&trust(), seal::Purpose::Release);
    assert_eq!(parser.feed(&bytes).unwrap(), bytes.len());
    assert_eq!(parser.missing() as u64, MAX_MANIFEST_LEN - (bytes.len() - SEAL_LEN) as u64);
    assert!(head(&bytes, &trust()).is_err());
}
