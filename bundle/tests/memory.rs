//! Memory that the largest index takes, measured by the system.

mod sample;

use bundle::limits::{MAX_BASE_RANGES, MAX_CHUNKS};
use bundle::manifest::{Base, BaseImage};
use sample::{Parts, key, run};
use std::fs;
use std::path::Path;

const BLOCK: u64 = 4096;

/// Returns a release of one root image with the maximum number of chunks, all of this kind, and
/// with base ranges.
fn largest(kind: u8, stored: u32, argument: u32, ranges: u64) -> Vec<u8> {
    let mut parts = Parts::sample();
    let mut chunk = [0; 64];
    chunk[..4].copy_from_slice(&(u32::from(kind) | (BLOCK as u32) << 8).to_le_bytes());
    chunk[4..8].copy_from_slice(&stored.to_le_bytes());
    chunk[12..16].copy_from_slice(&argument.to_le_bytes());
    chunk[16..].fill(1);
    let mut range = [0; 16];
    range[0] = 2;
    range[4] = 1;
    parts.index = [
        chunk.repeat(MAX_CHUNKS as usize),
        range.repeat(ranges as usize),
    ]
    .concat();
    parts.payload = vec![1; MAX_CHUNKS as usize * stored as usize];
    parts.hints = Vec::new();
    parts.manifest.hints = None;
    parts
        .manifest
        .images
        .retain(|image| image.role == bundle::ImageRole::Root);
    parts.manifest.images[0].size = MAX_CHUNKS * BLOCK;
    parts.manifest.images[0].chunks = MAX_CHUNKS;
    parts.manifest.index.chunks = MAX_CHUNKS;
    parts.manifest.index.ranges = ranges;
    parts.manifest.payload = parts.payload.len() as u64;
    if ranges > 0 {
        let image = BaseImage {
            role: bundle::ImageRole::Root,
            size: BLOCK,
            sha256: bundle::cbor::Blob([1; 32]),
        };
        parts.manifest.base = Some(Base {
            version: "1.0.0".to_owned(),
            images: vec![image],
        });
    }
    parts.statement.boot = seal::ImageDigest::NONE;
    parts.statement.root = None;
    parts.seal()
}

/// Returns the maximum memory that reading the head of a bundle took, in KiB.
fn peak(folder: &Path, bundle: &[u8]) -> u64 {
    fs::write(folder.join("x.bundle"), bundle).unwrap();
    let script = "import resource,subprocess,sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let command = [
        env!("CARGO_BIN_EXE_rayos-bundle"),
        "inspect",
        "x.bundle",
        "--trust",
        "key.pub",
        "--json",
    ];
    let printed = run(
        "/usr/bin/python3",
        &[&["-c", script][..], &command[..]].concat(),
        folder,
    );
    String::from_utf8(printed).unwrap().trim().parse().unwrap()
}

#[test]
fn the_largest_index_is_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key.pub"), key().public_pem().unwrap()).unwrap();
    let plain = peak(folder.path(), &largest(2, 1, 0, 0));
    assert!((16 << 10..64 << 10).contains(&plain), "{plain} KiB");
    // Four ranges for each chunk, the worst that a signer can do.
    let ranges = MAX_BASE_RANGES / MAX_CHUNKS;
    let delta = peak(
        folder.path(),
        &largest(4, 1, ranges as u32, MAX_BASE_RANGES),
    );
    assert!((plain..112 << 10).contains(&delta), "{delta} KiB");
}
