//! Decoding of one chunk with any stored bytes, which refer to bytes of its run and of a base. The
//! result equals that of another way of calling zstd, and no frame that the header check refuses is
//! decoded.

use bundle::cbor::Blob;
use bundle::limits::MAX_MANIFEST_LEN;
use bundle::manifest::{Base, BaseImage, ImageInfo, ImageRole, IndexInfo, Manifest};
use bundle::verity::digest::digest as chunk_digest;
use bundle::{
    BaseRange, ChunkEntry, ChunkKind, Decoder, HeadParser, Index, Release, Source, StoredChunk,
    check_header,
};
use seal::{ImageDigest, SEAL_LEN, Seal, Statement, Text64};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use zstd::zstd_safe::DCtx;

const BASE_LEN: usize = 4096;

/// Panics if the property does not hold.
pub(crate) fn check(data: &[u8]) {
    let [flags, len_low, len_high, stored @ ..] = data else {
        return;
    };
    let len = u32::from(u16::from_le_bytes([*len_low, *len_high])).max(2);
    if stored.is_empty() || stored.len() >= len as usize {
        return;
    }
    let (delta, before) = (flags & 1 != 0, u32::from(flags >> 1 & 3) * 4096);
    let head = text(before as usize, flags & 8 != 0);
    let base = text(BASE_LEN, flags & 16 != 0);
    let prefix = if delta {
        [base.as_slice(), &head].concat()
    } else {
        head.clone()
    };
    let expected = plain(&prefix, stored, len as usize);
    let sha256 = expected
        .as_ref()
        .map_or([0; 32], |bytes| chunk_digest(bytes));
    let release = release(&head, len, stored, sha256, delta);
    let number = release.chunks().len() - 1;
    let chunk = StoredChunk::check(&release, number, stored.to_vec().into()).unwrap();
    let mut into = vec![0; len as usize];
    let fetch = |source: Source, buffer: &mut [u8]| {
        assert_eq!(source, Source::Base(RANGE));
        buffer.copy_from_slice(&base);
        Ok(())
    };
    let decoded = Decoder::default().decode_slice(&release, &chunk, &head, &mut into, fetch);
    match (decoded, expected) {
        (Ok(()), Some(expected)) => assert_eq!(into, expected),
        (Ok(()), None) => panic!("decoded a frame that zstd refuses"),
        (Err(_), Some(_)) => assert!(check_header(stored, u64::from(len)).is_err()),
        (Err(_), None) => {}
    }
}

const RANGE: BaseRange = BaseRange {
    role: ImageRole::Root,
    offset: 0,
    len: BASE_LEN as u32,
};

/// Decompresses with zstd in another way than the decoder does.
fn plain(prefix: &[u8], stored: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut into = vec![0; len];
    let mut context = DCtx::create();
    context.ref_prefix(prefix).unwrap();
    let found = context.decompress(into.as_mut_slice(), stored).ok()?;
    (found == len).then_some(into)
}

/// Returns bytes to refer to; they may begin like a dictionary of zstd.
fn text(len: usize, dictionary: bool) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
    if dictionary && len > 0 {
        bytes[..4].copy_from_slice(&[0x37, 0xa4, 0x30, 0xec]);
    }
    bytes
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Returns a release of one image: `head` as raw chunks, and the chunk to decode after them.
fn release(head: &[u8], len: u32, stored: &[u8], sha256: [u8; 32], delta: bool) -> Arc<Release> {
    let entry = |len, kind, before, stored: &[u8], sha256| ChunkEntry {
        image: 0,
        offset: 0,
        len,
        kind,
        before,
        payload_offset: 0,
        stored_len: stored.len() as u32,
        sha256,
        stored_digest: match kind {
            ChunkKind::Raw => chunk_digest(stored),
            _ => digest(stored),
        }[..16]
            .try_into()
            .unwrap(),
    };
    let raw = head.chunks(4096).enumerate();
    let mut chunks: Vec<ChunkEntry> = raw
        .map(|(number, bytes)| {
            entry(
                4096,
                ChunkKind::Raw,
                number as u32 * 4096,
                bytes,
                chunk_digest(bytes),
            )
        })
        .collect();
    let kind = if delta {
        ChunkKind::Delta {
            first_range: 0,
            ranges: 1,
        }
    } else {
        ChunkKind::Zstd
    };
    chunks.push(entry(len, kind, head.len() as u32, stored, sha256));
    let index = Index {
        chunks,
        ranges: if delta { vec![RANGE] } else { Vec::new() },
    };
    let bytes = index.encode();
    let base = BaseImage {
        role: ImageRole::Root,
        size: BASE_LEN as u64,
        sha256: Blob([0; 32]),
    };
    let image = ImageInfo {
        role: ImageRole::Root,
        size: head.len() as u64 + u64::from(len),
        chunks: index.chunks.len() as u64,
        sha256: Blob([0; 32]),
        chunk_size: 1 << 16,
    };
    let manifest = Manifest {
        ext: BTreeMap::new(),
        base: delta.then(|| Base {
            images: vec![base],
            version: "0".into(),
        }),
        sbom: None,
        build: BTreeMap::new(),
        hints: None,
        index: IndexInfo {
            chunks: index.chunks.len() as u64,
            ranges: index.ranges.len() as u64,
            sha256: Blob(digest(&bytes)),
        },
        notes: String::new(),
        images: vec![image],
        created: None,
        payload: head.len() as u64 + stored.len() as u64,
        version: "1".into(),
        compatible: vec!["x".into()],
        min_updater: None,
        rollback_index: 1,
    };
    let manifest_bytes = manifest.encode().unwrap();
    assert!((manifest_bytes.len() as u64) < MAX_MANIFEST_LEN);
    let statement = Statement {
        version: Text64::new("1").unwrap(),
        rollback_index: 1,
        key_epoch: 0,
        revoke: false,
        watchdog: false,
        manifest: ImageDigest {
            len: manifest_bytes.len() as u64,
            sha256: digest(&manifest_bytes),
        },
        boot: ImageDigest::NONE,
        recovery: ImageDigest::NONE,
        root: None,
        links: ImageDigest::NONE,
        bundle_len: (SEAL_LEN + manifest_bytes.len() + bytes.len()) as u64 + manifest.payload,
    };
    let mut parser = HeadParser::without_verifying();
    parser
        .feed(
            &[
                Seal::new(&statement).as_bytes(),
                manifest_bytes.as_slice(),
                &bytes,
            ]
            .concat(),
        )
        .unwrap();
    Arc::clone(parser.release().unwrap())
}
