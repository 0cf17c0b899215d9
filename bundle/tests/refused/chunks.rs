//! Damaged or forged stored bytes, images and hints.

use crate::forged;
use crate::sample::{self, Parts, head, noise, refusal, trust};
use bundle::Encoder;
use bundle::limits::MAX_MANIFEST_LEN;
use seal::SEAL_LEN;
use sha2::{Digest as _, Sha256};

/// Returns the refusal of the sample with `stored` as the stored bytes of chunk 1.
fn with_chunk(stored: &[u8]) -> String {
    let mut parts = Parts::sample();
    let lengths: Vec<usize> = (0..2)
        .map(|chunk| u32::from_le_bytes(parts.entry(chunk)[4..8].try_into().unwrap()) as usize)
        .collect();
    parts
        .payload
        .splice(lengths[0]..lengths[0] + lengths[1], stored.iter().copied());
    parts.manifest.payload = parts.payload.len() as u64;
    parts.entry(1)[4..8].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    let digest: [u8; 32] = Sha256::digest(stored).into();
    parts.entry(1)[48..64].copy_from_slice(&digest[..16]);
    refusal(&parts.seal())
}

fn text() -> Vec<u8> {
    sample::root_image()[..4096].to_vec()
}

#[test]
fn stored_bytes_without_the_magic_number_of_zstd() {
    assert_eq!(
        with_chunk(&noise(9, 100)),
        "image root: chunk 1: zstd frame: magic number not found"
    );
}

#[test]
fn a_chunk_that_decompresses_to_other_bytes() {
    let mut other = text();
    other[5] ^= 1;
    let refused = with_chunk(&zstd::bulk::compress(&other, 3).unwrap());
    assert!(
        refused.starts_with("image root: chunk 1: digest mismatch: expected "),
        "{refused}"
    );
}

#[test]
fn a_chunk_that_was_compressed_with_another_prefix() {
    let mut parts = Parts::sample();
    let stored = parts.entry(6)[4..8]
        .try_into()
        .map(u32::from_le_bytes)
        .unwrap() as usize;
    let image = sample::root_image();
    let mut buffer = image[24576..].to_vec();
    buffer[..4096].rotate_left(8);
    let other = Encoder::new(9)
        .unwrap()
        .compress_with_prefix(&buffer, 4096)
        .unwrap()
        .unwrap();
    let end = parts.payload.len() - stored;
    parts.payload.splice(end.., other.iter().copied());
    parts.manifest.payload = parts.payload.len() as u64;
    parts.entry(6)[4..8].copy_from_slice(&(other.len() as u32).to_le_bytes());
    parts.entry(6)[48..64].copy_from_slice(&Sha256::digest(&other)[..16]);
    let refused = refusal(&parts.seal());
    assert!(
        refused.starts_with("image root: chunk 6: digest mismatch: expected "),
        "{refused}"
    );
}

#[test]
fn a_decompression_bomb() {
    let refused = with_chunk(&zstd::bulk::compress(&vec![0; 2 << 20], 3).unwrap());
    assert_eq!(
        refused,
        "image root: chunk 1: zstd frame: content size 2097152, expected 4096"
    );
}

#[test]
fn a_frame_with_a_window_larger_than_the_chunk() {
    use std::io::Write as _;
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&text()).unwrap();
    let refused = with_chunk(&encoder.finish().unwrap());
    assert!(refused.contains("not a single segment"), "{refused}");
}

#[test]
fn several_frames_in_one_chunk() {
    let half = |range| zstd::bulk::compress(&text()[range], 3).unwrap();
    let refused = with_chunk(&[half(0..2048), half(2048..4096)].concat());
    assert_eq!(
        refused,
        "image root: chunk 1: zstd frame: content size 2048, expected 4096"
    );
    let whole = zstd::bulk::compress(&text(), 3).unwrap();
    let refused = with_chunk(&[whole.as_slice(), b"\x50\x2a\x4d\x18\x04\0\0\0skip"].concat());
    let len = whole.len();
    let ends = format!("zstd frame: ends after {len} of {} stored bytes", len + 12);
    assert!(refused.ends_with(&ends), "{refused}");
    let refused = with_chunk(&[b"\x50\x2a\x4d\x18\x04\0\0\0skip", whole.as_slice()].concat());
    assert!(refused.contains("magic number not found"), "{refused}");
}

#[test]
fn a_truncated_frame() {
    let whole = zstd::bulk::compress(&text(), 3).unwrap();
    let refused = with_chunk(&whole[..whole.len() - 1]);
    let ends = format!("ends after 0 of {} stored bytes", whole.len() - 1);
    assert!(refused.ends_with(&ends), "{refused}");
}

#[test]
fn a_frame_that_needs_a_dictionary() {
    let mut whole = zstd::bulk::compress(&text(), 3).unwrap();
    whole[4] |= 1;
    assert!(with_chunk(&whole).ends_with("needs a dictionary"));
}

#[test]
fn a_damaged_chunk_is_refused_before_it_is_decompressed() {
    let mut parts = Parts::sample();
    *parts.payload.last_mut().unwrap() ^= 1;
    let refused = refusal(&parts.seal());
    assert!(
        refused.starts_with("image root: chunk 6: stored bytes: digest mismatch: expected "),
        "{refused}"
    );
}

#[test]
fn an_image_with_a_digest_that_its_chunks_do_not_have() {
    let refused = forged(|p| p.manifest.images[1].sha256.0[5] ^= 1);
    assert!(
        refused.starts_with("image root: digest mismatch: expected "),
        "{refused}"
    );
    let refused = forged(|p| {
        p.manifest.images[0].sha256.0[5] ^= 1;
        p.statement.boot.sha256[5] ^= 1;
    });
    assert!(
        refused.starts_with("image boot: digest mismatch: expected "),
        "{refused}"
    );
}

#[test]
fn damaged_block_hints() {
    let mut parts = Parts::sample();
    parts.hints[0] ^= 1;
    assert!(refusal(&parts.seal()).starts_with("block hints: digest mismatch"));
}

#[test]
fn memory_depends_on_the_bytes_that_arrived_and_not_on_a_length_field() {
    // A seal with a manifest length of 1 MiB, of which only a part follows.
    let bytes = Parts::sample().seal_with(|statement| statement.manifest.len = MAX_MANIFEST_LEN);
    let mut parser = bundle::HeadParser::new(&trust(), seal::Purpose::Release);
    assert_eq!(parser.feed(&bytes).unwrap(), bytes.len());
    assert_eq!(
        parser.missing() as u64,
        MAX_MANIFEST_LEN - (bytes.len() - SEAL_LEN) as u64
    );
    assert!(head(&bytes, &trust()).is_err());
}
