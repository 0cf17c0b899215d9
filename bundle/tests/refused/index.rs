//! Invalid indexes. Chunks of the sample: 0 boot; 1 text, 2 noise, 3 zeroes, 4 repeat of 2, 5 text,
//! 6 the end. Chunks 1 and 2 are a run, 5 and 6 are another.

use crate::forged;
use crate::sample::{Parts, check, trust};
use bundle::cbor::Blob;
use bundle::limits::{MAX_CHUNK_LEN, MAX_RUN_LEN};
use bundle::manifest::{Base, BaseImage, ImageRole};
use bundle::{ChunkEntry, ChunkKind, Index, IndexError};

#[test]
fn an_unknown_kind_of_chunk() {
    assert_eq!(forged(|p| p.entry(1)[0] = 5), "chunk 1: unknown kind 5");
}

#[test]
fn chunk_lengths_outside_their_limits() {
    assert_eq!(
        forged(|p| p.entry(1)[1..4].fill(0)),
        "chunk 1: length 0, expected 1 to 4096"
    );
    assert_eq!(
        forged(|p| p.entry(1)[1..4].copy_from_slice(&[1, 0x10, 0])),
        "chunk 1: length 4097, expected 1 to 4096"
    );
    assert_eq!(
        forged(|p| p.entry(3)[1..4].copy_from_slice(&[1, 0, 0x40])),
        "chunk 3: length 4194305, expected 1 to 4194304"
    );
}

#[test]
fn an_unaligned_chunk_before_the_end_of_the_image() {
    assert_eq!(
        forged(|p| p.entry(1)[1..4].copy_from_slice(&[0xff, 0x0f, 0])),
        "chunk 1: length 4095, expected a multiple of 4096 before the end of the image"
    );
}

#[test]
fn chunks_that_do_not_cover_the_image() {
    assert_eq!(
        forged(|p| {
            p.manifest.images[1].size += 1;
            p.statement.root = None;
        }),
        "image root: chunks cover 29472 bytes, expected 29473"
    );
    assert_eq!(
        forged(|p| {
            p.manifest.images[1].size = u64::MAX;
            p.statement.root = None;
        }),
        format!(
            "image root: chunks cover 29472 bytes, expected {}",
            u64::MAX
        )
    );
    assert_eq!(
        forged(|p| p.entry(3)[2] = 0x20),
        "image root: chunks cover 25376 bytes, expected 29472"
    );
}

#[test]
fn stored_lengths_that_do_not_fit_the_kind() {
    let set = |chunk: usize, stored: u32| {
        forged(|p| p.entry(chunk)[4..8].copy_from_slice(&stored.to_le_bytes()))
    };
    assert_eq!(
        set(3, 1),
        "chunk 3: stored length 1 does not fit a zero chunk of 12288 bytes"
    );
    assert_eq!(
        set(4, 1),
        "chunk 4: stored length 1 does not fit a repeat chunk of 4096 bytes"
    );
    assert_eq!(
        set(2, 4095),
        "chunk 2: stored length 4095 does not fit a raw chunk of 4096 bytes"
    );
    assert_eq!(
        set(1, 0),
        "chunk 1: stored length 0 does not fit a zstd chunk of 4096 bytes"
    );
    assert_eq!(
        set(1, 4096),
        "chunk 1: stored length 4096 does not fit a zstd chunk of 4096 bytes"
    );
    assert_eq!(
        set(1, u32::MAX),
        "chunk 1: stored length 4294967295 does not fit a zstd chunk of 4096 bytes"
    );
}

#[test]
fn an_argument_of_a_kind_that_has_none() {
    for (chunk, kind) in [(1, "zstd"), (2, "raw"), (3, "zero")] {
        assert_eq!(
            forged(|p| p.entry(chunk)[12] = 1),
            format!("chunk {chunk}: a {kind} chunk has argument 1")
        );
    }
}

#[test]
fn chunks_that_refer_to_bytes_outside_their_run() {
    let set = |chunk: usize, before: u32| {
        forged(|p| p.entry(chunk)[8..12].copy_from_slice(&before.to_le_bytes()))
    };
    assert_eq!(
        set(3, 4096),
        "chunk 3: a zero chunk refers to 4096 bytes before it"
    );
    assert_eq!(
        set(4, 4096),
        "chunk 4: a repeat chunk refers to 4096 bytes before it"
    );
    for (chunk, before, run) in [
        (0, 4096, 0),
        (1, 4096, 0),
        (2, 8192, 4096),
        (2, 1, 4096),
        (2, 4095, 4096),
        (5, 4096, 0),
        (6, u32::MAX, 4096),
    ] {
        assert_eq!(
            set(chunk, before),
            format!(
                "chunk {chunk}: refers to {before} bytes before it, expected a multiple of 4096, maximum {run}"
            )
        );
    }
    // A raw chunk refers to nothing, so it may begin a run too.
    let mut parts = Parts::sample();
    parts.entry(2)[8..12].fill(0);
    check(&parts.seal(), &trust()).unwrap();
}

/// Decodes an index with one run of zstd chunks of these lengths.
fn run(lengths: &[u32]) -> Result<Index, IndexError> {
    let mut manifest = Parts::sample().manifest;
    let mut before = 0;
    let chunks = lengths.iter().map(|len| {
        let entry = ChunkEntry {
            image: 0,
            offset: 0,
            len: *len,
            kind: ChunkKind::Zstd,
            before: before.min(1 << 20),
            payload_offset: 0,
            stored_len: 1,
            sha256: [1; 32],
            stored_digest: [2; 16],
        };
        before += len;
        entry
    });
    let bytes = Index {
        chunks: chunks.collect(),
        ranges: Vec::new(),
    }
    .encode();
    manifest.images.truncate(1);
    manifest.images[0].size = lengths.iter().map(|len| u64::from(*len)).sum();
    manifest.images[0].chunks = lengths.len() as u64;
    manifest.images[0].chunk_size = MAX_CHUNK_LEN;
    manifest.index.chunks = lengths.len() as u64;
    manifest.payload = lengths.len() as u64;
    Index::decode(&bytes, &manifest)
}

#[test]
fn a_run_that_is_too_long() {
    run(&[MAX_RUN_LEN]).unwrap();
    run(&[MAX_RUN_LEN / 2; 2]).unwrap();
    let refused = run(&[MAX_RUN_LEN / 2, MAX_RUN_LEN / 2, 100])
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "chunk 2: ends a run of 4194404 bytes, maximum 4194304"
    );
}

#[test]
fn digests_that_do_not_fit_the_kind() {
    assert_eq!(
        forged(|p| p.entry(3)[16] ^= 1),
        "chunk 3: digests do not fit a zero chunk"
    );
    assert_eq!(
        forged(|p| p.entry(3)[48] ^= 1),
        "chunk 3: digests do not fit a zero chunk"
    );
    assert_eq!(
        forged(|p| p.entry(2)[16] ^= 1),
        "chunk 2: digests do not fit a raw chunk"
    );
    assert_eq!(
        forged(|p| p.entry(4)[48] ^= 1),
        "chunk 4: digests do not fit a repeat chunk"
    );
}

#[test]
fn repeats_of_chunks_that_do_not_equal_them() {
    let set = |of: u32| forged(|p| p.entry(4)[12..16].copy_from_slice(&of.to_le_bytes()));
    for of in [0, 1, 3, 4, 5, u32::MAX] {
        let expected = format!(
            "chunk 4: repeats chunk {of}, which is not an equal earlier chunk of the same image"
        );
        assert_eq!(set(of), expected);
    }
    assert!(forged(|p| p.entry(4)[16] ^= 1).starts_with("chunk 4: repeats chunk 2"));
}

#[test]
fn a_payload_of_another_length() {
    let refused = forged(|p| {
        p.payload.push(0);
        p.manifest.payload += 1;
    });
    assert!(
        refused.starts_with("payload of ") && refused.contains(" bytes, chunks have "),
        "{refused}"
    );
}

/// Returns the refusal of the sample as a delta bundle, with base ranges of chunk 1.
fn delta(argument: u32, ranges: &[[u8; 16]]) -> String {
    forged(|p| {
        let image = |role| BaseImage {
            role,
            size: 1 << 30,
            sha256: Blob([1; 32]),
        };
        p.manifest.base = Some(Base {
            images: vec![image(ImageRole::Boot), image(ImageRole::Root)],
            version: "1.0".to_owned(),
        });
        p.manifest.index.ranges = ranges.len() as u64;
        p.entry(1)[0] = 4;
        p.entry(1)[12..16].copy_from_slice(&argument.to_le_bytes());
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
fn base_ranges_outside_their_limits() {
    let outside = "base range 0: outside the images of the base release";
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
    assert_eq!(
        delta(1, &[bad]),
        "base range 0: reserved bytes are not zero"
    );
    assert_eq!(
        delta(0, &[]),
        "chunk 1: base ranges of 0 bytes, expected 1 to 16777216"
    );
    assert_eq!(
        delta(1, &[range(2, (16 << 20) + 1, 0)]),
        "chunk 1: base ranges of 16777217 bytes, expected 1 to 16777216"
    );
    assert_eq!(
        delta(2, &[range(2, 1, 0)]),
        "delta chunks use 2 base ranges, the index has 1"
    );
    assert_eq!(
        delta(1, &[range(2, 1, 0); 2]),
        "delta chunks use 1 base ranges, the index has 2"
    );
    assert_eq!(
        delta(u32::MAX, &[range(2, 1, 0)]),
        format!("delta chunks use {} base ranges, the index has 1", u32::MAX)
    );
}
