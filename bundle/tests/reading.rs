//! Readers and codecs: bundles read in pieces of any size and by ranges, deltas, and properties.

mod sample;

use bundle::cbor::{self, Blob, Key};
use bundle::manifest::{Base, BaseImage, ImageRole, Manifest};
use bundle::{
    BundleReader, Decoder, Encoder, HeadParser, Index, ReadError, Source, StoredChunk, block_hint,
    hint_count, hints_of,
};
use bytes::Bytes;
use proptest::prelude::*;
use sample::{Parts, head, root_image, sample, trust};
use seal::{Purpose, SEAL_LEN};
use sha2::{Digest as _, Sha256};
use std::io;

/// Assembles an image from chunks that `chunk` returns.
fn assemble(bytes: &[u8], role: ImageRole, mut chunk: impl FnMut(usize) -> StoredChunk) -> Vec<u8> {
    let release = head(bytes, &trust()).unwrap();
    let image = release.image(role).unwrap();
    let mut out: Vec<u8> = Vec::new();
    let mut piece = Vec::new();
    let mut decoder = Decoder::default();
    for number in image.chunks.clone() {
        let fetch = |source: Source, buffer: &mut [u8]| {
            let at = match source {
                Source::Chunk(earlier) => release.chunk(earlier).unwrap().offset as usize,
                Source::Before { offset, .. } => offset as usize,
                Source::Base(_) => return Err(io::ErrorKind::NotFound.into()),
            };
            buffer.copy_from_slice(&out[at..at + buffer.len()]);
            Ok(())
        };
        decoder
            .decode(&release, &chunk(number), &mut piece, fetch)
            .unwrap();
        out.extend_from_slice(&piece);
    }
    out
}

#[test]
fn a_bundle_is_read_from_front_to_back() {
    let bytes = sample();
    let mut reader = BundleReader::open(bytes.as_slice(), &trust(), Purpose::Release).unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        assert_eq!(chunk.number(), chunks.len());
        chunks.push(chunk);
    }
    reader.finish().unwrap();
    assert_eq!(
        assemble(&bytes, ImageRole::Root, |number| chunks[number].clone()),
        root_image()
    );
}

#[test]
fn chunks_are_read_by_their_ranges() {
    let bytes = sample();
    let release = head(&bytes, &trust()).unwrap();
    let chunk = |number: usize| {
        let range = release.file_range(release.chunk(number).unwrap());
        let stored = Bytes::copy_from_slice(&bytes[range.start as usize..range.end as usize]);
        StoredChunk::check(&release, number, stored).unwrap()
    };
    assert_eq!(assemble(&bytes, ImageRole::Root, chunk), root_image());
    // Bytes of another chunk, too few bytes, and a chunk that does not exist.
    let raw = release.file_range(release.chunk(2).unwrap());
    let raw = Bytes::copy_from_slice(&bytes[raw.start as usize..raw.end as usize]);
    let refused = |number, bytes: Bytes| {
        StoredChunk::check(&release, number, bytes)
            .unwrap_err()
            .reason()
    };
    assert_eq!(refused(1, raw.clone()), "length");
    assert_eq!(refused(2, raw.slice(1..)), "length");
    assert_eq!(refused(99, raw.clone()), "usage");
    let mut damaged = raw.to_vec();
    damaged[0] ^= 1;
    assert_eq!(refused(2, damaged.into()), "digest");
}

#[test]
fn the_head_parser_stops_at_the_payload() {
    let bytes = sample();
    let mut parser = HeadParser::new(&trust(), Purpose::Release);
    let used = parser.feed(&bytes).unwrap();
    let release = parser.release().unwrap();
    assert_eq!(used as u64, release.payload_range().start);
    assert_eq!(parser.feed(&bytes[used..]).unwrap(), 0);
    assert_eq!(parser.missing(), 0);
}

#[test]
fn finish_before_the_last_chunk_is_an_error() {
    let bytes = sample();
    let reader = BundleReader::open(bytes.as_slice(), &trust(), Purpose::Release).unwrap();
    let error = reader.finish().unwrap_err();
    assert!(
        matches!(error, ReadError::Unfinished { left: 7 }),
        "{error}"
    );
}

#[test]
fn recovery_can_have_its_own_keys() {
    let recovery = bundle::keys::SecretKey::from_seed(&[9; 32]);
    let release_key =
        seal::TrustedKey::new(&sample::key().public_key(), &[seal::Role::Release]).unwrap();
    let recovery_key =
        seal::TrustedKey::new(&recovery.public_key(), &[seal::Role::Recovery]).unwrap();
    let trust = seal::Trust::new(0, [1, 0, 1], &[release_key, recovery_key]).unwrap();
    let mut parser = HeadParser::new(&trust, Purpose::Recovery);
    let refused = parser.feed(&sample()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "signed by 0 trusted recovery key(s), expected 1"
    );
    head(&sample(), &trust).unwrap();
}

#[test]
fn block_hints_are_xxh3_of_the_blocks() {
    let bytes = sample();
    let release = head(&bytes, &trust()).unwrap();
    // Chunk 2 is noise. xxhsum -H3 computes the same hash (docs/format.md).
    let range = release.chunk_hints(2).unwrap();
    let hint: Vec<u64> = hints_of(&bytes[range.start as usize..range.end as usize]).collect();
    let expected = twox_hash::XxHash3_64::oneshot(&root_image()[4096..8192]) & 0xff_ffff_ffff;
    assert_eq!(hint, [expected]);
    assert_eq!(block_hint(&root_image()[4096..8192]), expected);
    assert_eq!(release.chunk_hints(3), None);
    assert_eq!(release.chunk_hints(4), None);
    let all: u64 = release.chunks().iter().map(hint_count).sum();
    assert_eq!(
        release.hints_range().end - release.hints_range().start,
        all * 5
    );
}

/// Returns the sample with chunk 1 as a delta with two base ranges, and the base image.
fn delta() -> (Vec<u8>, Vec<u8>) {
    let base = sample::noise(77, 20_000);
    let mut target = [&base[12_000..14_000], b"something new", &base[300..2300]].concat();
    target.resize(4096, b'!');
    let buffer = [&base[12_000..14_000], &base[300..2400], &target].concat();
    let stored = Encoder::new(9)
        .unwrap()
        .compress_with_prefix(&buffer, 4100)
        .unwrap()
        .unwrap();
    assert!(stored.len() < 200, "{}", stored.len());
    let mut parts = Parts::sample();
    let lengths: Vec<usize> = (0..2)
        .map(|chunk| u32::from_le_bytes(parts.entry(chunk)[4..8].try_into().unwrap()) as usize)
        .collect();
    parts
        .payload
        .splice(lengths[0]..lengths[0] + lengths[1], stored.iter().copied());
    parts.manifest.payload = parts.payload.len() as u64;
    let image = BaseImage {
        role: ImageRole::Root,
        size: 20_000,
        sha256: Blob(Sha256::digest(&base).into()),
    };
    parts.manifest.base = Some(Base {
        images: vec![image],
        version: "1.0".to_owned(),
    });
    parts.manifest.index.ranges = 2;
    let entry = parts.entry(1);
    entry[0] = 4;
    entry[4..8].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    entry[12] = 2;
    entry[16..48].copy_from_slice(&bundle::verity::digest::digest(&target));
    entry[48..64].copy_from_slice(&Sha256::digest(&stored)[..16]);
    for (len, offset) in [(2000_u32, 12_000_u64), (2100, 300)] {
        parts.index.extend([2, 0, 0, 0]);
        parts.index.extend(len.to_le_bytes());
        parts.index.extend(offset.to_le_bytes());
    }
    (parts.seal(), base)
}

#[test]
fn a_delta_chunk_refers_to_several_base_ranges() {
    let (bytes, base) = delta();
    sample::check(&bytes, &trust()).unwrap();
    let release = head(&bytes, &trust()).unwrap();
    let range = release.file_range(release.chunk(1).unwrap());
    let stored = Bytes::copy_from_slice(&bytes[range.start as usize..range.end as usize]);
    let chunk = StoredChunk::check(&release, 1, stored).unwrap();
    let fetch = |base: &[u8]| {
        let base = base.to_vec();
        move |source: Source, buffer: &mut [u8]| {
            let Source::Base(range) = source else {
                panic!("{source:?}")
            };
            buffer.copy_from_slice(&base[range.offset as usize..][..range.len as usize]);
            Ok(())
        }
    };
    let mut out = Vec::new();
    let mut decoder = Decoder::default();
    decoder
        .decode(&release, &chunk, &mut out, fetch(&base))
        .unwrap();
    assert!(out.starts_with(&base[12_000..14_000]) && out.ends_with(b"!"));
    // The digest of the result detects a damaged base.
    let mut damaged = base;
    damaged[12_100] ^= 1;
    let error = decoder
        .decode(&release, &chunk, &mut out, fetch(&damaged))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("image root: chunk 1: "), "{error}");
    let broken = decoder
        .decode(&release, &chunk, &mut out, |_, _| {
            Err(io::Error::other("no such base"))
        })
        .unwrap_err();
    assert_eq!(
        broken.to_string(),
        "image root: chunk 1: reading the bytes that it refers to: no such base"
    );
}

fn text(limit: usize) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("[!-~]{{1,{limit}}}")).unwrap()
}

fn manifests() -> impl Strategy<Value = Manifest> {
    let sample = Parts::sample().manifest;
    let build = prop::collection::btree_map(text(40).prop_map(Key), ".{0,40}", 0..6);
    let ext = prop::collection::btree_map(
        "[a-z]{1,12}".prop_map(Key),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(Blob),
        0..4,
    );
    (
        text(64),
        any::<u64>(),
        ".{0,80}",
        build,
        ext,
        any::<Option<u64>>(),
        prop::collection::vec(text(64), 1..5),
    )
        .prop_map(
            move |(version, rollback_index, notes, build, ext, created, compatible)| Manifest {
                version,
                rollback_index,
                notes,
                build,
                ext,
                created,
                compatible,
                ..sample.clone()
            },
        )
}

proptest! {
    #[test]
    fn a_manifest_is_decoded_to_the_same_value_by_two_cbor_crates(manifest in manifests()) {
        let bytes = manifest.encode().unwrap();
        prop_assert_eq!(&Manifest::decode(&bytes).unwrap(), &manifest);
        let second: Manifest = ciborium::from_reader(bytes.as_slice()).unwrap();
        prop_assert_eq!(&second, &manifest);
        let mut again = Vec::new();
        ciborium::into_writer(&manifest, &mut again).unwrap();
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn an_accepted_manifest_has_no_second_encoding(at in 0_usize..300, byte: u8, insert: bool) {
        let mut bytes = Parts::sample().manifest.encode().unwrap();
        let at = at % bytes.len();
        if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(manifest.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn accepted_cbor_is_reencoded_to_the_same_bytes_by_another_crate(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if cbor::check_deterministic(&bytes).is_ok() {
            let value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
            let mut again = Vec::new();
            ciborium::into_writer(&value, &mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn an_accepted_index_encodes_to_the_same_bytes(at in 0_usize..448, byte: u8) {
        let mut parts = Parts::sample();
        parts.index[at] = byte;
        if let Ok(index) = Index::decode(&parts.index, &parts.manifest) {
            prop_assert_eq!(index.encode(), parts.index);
        }
    }

    #[test]
    fn the_head_is_parsed_in_pieces_of_any_size(cuts in prop::collection::vec(1_usize..3000, 1..20)) {
        let bytes = sample();
        let mut parser = HeadParser::new(&trust(), Purpose::Release);
        let (mut at, mut sizes) = (0, cuts.iter().cycle());
        while parser.release().is_none() {
            let end = (at + sizes.next().unwrap()).min(bytes.len());
            at += parser.feed(&bytes[at..end]).unwrap();
        }
        let release = parser.release().unwrap();
        prop_assert_eq!(at as u64, release.payload_range().start);
        prop_assert!(at > SEAL_LEN);
    }

    #[test]
    fn images_of_any_shape_are_extracted_unchanged(
        pieces in prop::collection::vec((0_u8..4, 1_usize..9000), 1..12), chunk_blocks in 1_u32..4, window_blocks in 0_u32..5, workers in 1_usize..4,
    ) {
        let mut image = Vec::new();
        for (kind, len) in pieces {
            match kind {
                0 => image.resize(image.len() + len, 0),
                1 => image.extend(sample::noise(3, len)),
                2 => image.extend(b"word ".iter().cycle().take(len)),
                _ => image.resize(image.len().next_multiple_of(4096), 0),
            }
        }
        prop_assume!(!image.is_empty());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.img"), &image).unwrap();
        let recipe = format!(
            "[release]\nversion = \"1\"\nrollback_index = 1\ncompatible = [\"x\"]\n[compression]\nlevel = 1\nchunk_size = {}\nwindow = {}\n[[image]]\nrole = \"root\"\npath = \"root.img\"\n",
            chunk_blocks * 4096, window_blocks * 4096
        );
        let recipe = bundle::recipe::Recipe::parse(&recipe, &folder.path().join("bundle.toml"), None).unwrap();
        let bytes = sample::create(&recipe, &[sample::key()], workers);
        let access = bundle::open::Access::Verify(&trust(), Purpose::Release);
        let opener = bundle::open::Opener::open(bytes.as_slice(), access, workers).unwrap();
        let out = tempfile::tempfile().unwrap();
        opener.extract(ImageRole::Root, &out, &mut |_| ()).unwrap();
        let mut read = vec![0; image.len()];
        std::os::unix::fs::FileExt::read_exact_at(&out, &mut read, 0).unwrap();
        prop_assert_eq!(read, image);
        prop_assert_eq!(out.metadata().unwrap().len(), Parts::of(&bytes).manifest.images[0].size);
    }
}
