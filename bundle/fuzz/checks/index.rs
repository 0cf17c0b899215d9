//! Chunk index: an accepted index covers the images without gaps and stays within the payload.

use bundle::cbor::Blob;
use bundle::limits::MAX_RUN_LEN;
use bundle::manifest::{Base, BaseImage, ImageInfo, ImageRole, IndexInfo, Manifest};
use bundle::{BASE_RANGE_LEN, CHUNK_ENTRY_LEN, Index, IndexError};
use std::collections::BTreeMap;

/// Reads numbers of chunks, base ranges and chunks of the boot image, the size of both images, and
/// an index. Returns its bytes, a manifest that fits it, and the decoded index.
pub(crate) fn read(data: &[u8]) -> Option<(Vec<u8>, Manifest, Result<Index, IndexError>)> {
    let [chunks, ranges, boot, size_low, size_high, rest @ ..] = data else {
        return None;
    };
    let (chunks, ranges) = (u64::from(chunks % 32), u64::from(ranges % 8));
    let boot = u64::from(*boot) % (chunks + 1);
    let size = u64::from(u16::from_le_bytes([*size_low, *size_high])) * 16 + 1;
    let mut index = rest.to_vec();
    index.resize(
        chunks as usize * CHUNK_ENTRY_LEN + ranges as usize * BASE_RANGE_LEN,
        0,
    );
    let image = |role, chunks| ImageInfo {
        role,
        size,
        chunks,
        sha256: Blob([0; 32]),
        chunk_size: 65536,
    };
    let base = BaseImage {
        role: ImageRole::Root,
        size: 1 << 40,
        sha256: Blob([0; 32]),
    };
    let mut manifest = Manifest {
        ext: BTreeMap::new(),
        base: Some(Base {
            images: vec![base],
            version: "1".into(),
        }),
        sbom: None,
        build: BTreeMap::new(),
        hints: None,
        index: IndexInfo {
            chunks,
            ranges,
            sha256: Blob([0; 32]),
        },
        notes: String::new(),
        images: vec![
            image(ImageRole::Boot, boot),
            image(ImageRole::Root, chunks - boot),
        ],
        created: None,
        payload: 0,
        version: "1".into(),
        compatible: vec!["x".into()],
        min_updater: None,
        rollback_index: 1,
    };
    // The payload's length as the chunks have it, so that the fuzzer gets past it.
    manifest.payload = index
        .chunks_exact(CHUNK_ENTRY_LEN)
        .take(chunks as usize)
        .map(|entry| u64::from(u32::from_le_bytes(entry[4..8].try_into().unwrap())))
        .sum();
    let decoded = Index::decode(&index, &manifest);
    Some((index, manifest, decoded))
}

/// Panics if the property does not hold.
pub(crate) fn check(data: &[u8]) {
    if let Some((index, manifest, Ok(decoded))) = read(data) {
        let size = manifest.images[0].size;
        assert_eq!(decoded.encode(), index);
        let (mut payload, mut run) = (0, 0);
        for (number, chunk) in decoded.chunks.iter().enumerate() {
            assert_eq!(chunk.payload_offset, payload);
            assert!(chunk.offset + u64::from(chunk.len) <= size);
            payload += u64::from(chunk.stored_len);
            run = if chunk.before == 0 { 0 } else { run };
            assert!(chunk.before <= run && chunk.before % 4096 == 0);
            assert!(chunk.before == 0 || chunk.stored_len > 0);
            run += if chunk.stored_len == 0 { 0 } else { chunk.len };
            assert!(chunk.stored_len == 0 || run <= MAX_RUN_LEN);
            if let bundle::ChunkKind::Repeat { chunk: of } = chunk.kind {
                assert!(of < number && decoded.chunks[of].image == chunk.image);
            }
        }
        assert_eq!(payload, manifest.payload);
    }
}
