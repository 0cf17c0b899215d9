//! The hash tree: against a naive one, against damage, and against veritysetup.

use bundle::verity::{
    BLOCK, Hash, Layout, MissingBlock, TreeBuilder, TreeError, TreePiece, check, digest,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use std::io;
use std::process::Command;

/// Blocks below one piece of level 0.
const UNIT: u64 = 128 * 128;

/// Zeroes, superblock and tree, and the root hash, as the document says it: level by level.
fn naive(image: &[u8]) -> (Vec<u8>, Hash) {
    let mut padded = image.to_vec();
    padded.resize(image.len().next_multiple_of(4096), 0);
    let hashes = |blocks: &[u8]| -> Vec<u8> {
        blocks
            .chunks(4096)
            .flat_map(|block| Sha256::digest(block).to_vec())
            .collect()
    };
    let mut below = hashes(&padded);
    let mut levels: Vec<Vec<u8>> = Vec::new();
    while below.len() > 32 {
        below.resize(below.len().next_multiple_of(4096), 0);
        levels.push(below.clone());
        below = hashes(&below);
    }
    let mut behind = padded[image.len()..].to_vec();
    behind.extend(Layout::new(image.len() as u64).superblock());
    levels.iter().rev().for_each(|level| behind.extend(level));
    (behind, below.try_into().unwrap())
}

fn image(blocks: u64, rest: u64) -> Vec<u8> {
    let mut image: Vec<u8> = (0..blocks)
        .flat_map(|block| block.to_le_bytes().repeat(512))
        .collect();
    image.truncate(image.len() - rest as usize);
    image
}

/// A partition that holds an image and what `pieces` say.
fn partition(image: &[u8], pieces: &[TreePiece]) -> Vec<u8> {
    let mut bytes = image.to_vec();
    bytes.resize(Layout::new(image.len() as u64).total_len() as usize, 0);
    for piece in pieces {
        bytes[piece.offset as usize..][..piece.bytes.len()].copy_from_slice(&piece.bytes);
    }
    bytes
}

fn read_from(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> io::Result<()> + '_ {
    |at, into| {
        let from = bytes.get(at as usize..at as usize + into.len());
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Builds the tree of `image` from runs of blocks in the order of `order`.
fn build(image: &[u8], run: usize, order: &[usize]) -> (Vec<TreePiece>, Hash) {
    let mut builder = TreeBuilder::new(Layout::new(image.len() as u64));
    let hashes: Vec<Hash> = digest::block_hashes(image).collect();
    let mut pieces = Vec::new();
    for at in order {
        pieces.extend(builder.insert((at * run) as u64, hashes.chunks(run).nth(*at).unwrap()));
    }
    let (piece, root) = builder.finish().unwrap();
    pieces.push(piece);
    (pieces, root)
}

fn orders() -> impl Strategy<Value = (u64, u64, usize, Vec<usize>)> {
    let blocks = prop_oneof![1_u64..6, 120_u64..140, UNIT - 2..UNIT + 300];
    (blocks, 0_u64..4096, 1_usize..300).prop_flat_map(|(blocks, rest, run)| {
        let runs: Vec<usize> = (0..(blocks as usize).div_ceil(run)).collect();
        (
            Just(blocks),
            Just(rest),
            Just(run),
            Just(runs).prop_shuffle(),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn in_any_order_it_is_the_naive_tree((blocks, rest, run, mut order) in orders(), twice: bool) {
        let image = image(blocks, rest);
        if twice {
            order.extend(order.clone());
        }
        let (pieces, root) = build(&image, run, &order);
        let (behind, expected) = naive(&image);
        prop_assert_eq!(root, expected);
        let partition = partition(&image, &pieces);
        prop_assert!(partition[image.len()..] == behind);
        let layout = Layout::new(image.len() as u64);
        prop_assert!(check(&layout, &root, read_from(&partition)).is_ok());
    }

    #[test]
    fn any_altered_byte_behind_the_image_is_noticed(at: prop::sample::Index, bit in 0_u8..8) {
        let image = image(1000, 1234);
        let (pieces, root) = build(&image, 1000, &[0]);
        let mut partition = partition(&image, &pieces);
        let behind = partition.len() - image.len();
        partition[image.len() + at.index(behind)] ^= 1 << bit;
        let layout = Layout::new(image.len() as u64);
        prop_assert!(check(&layout, &root, read_from(&partition)).is_err());
    }
}

#[test]
fn a_tree_names_the_place_that_is_wrong() {
    let image = image(200, 96);
    let (pieces, root) = build(&image, 7, &(0..29).collect::<Vec<_>>());
    let layout = Layout::new(image.len() as u64);
    let good = partition(&image, &pieces);
    let altered = |at: u64| {
        let mut bytes = good.clone();
        bytes[at as usize] ^= 1;
        check(&layout, &root, read_from(&bytes))
            .unwrap_err()
            .to_string()
    };
    let superblock = layout.superblock_offset();
    assert_eq!(
        altered(superblock - 1),
        "offset 819199: not zero between the image and its hash tree"
    );
    assert_eq!(
        altered(superblock + 9),
        "offset 819200: not the superblock of the hash tree"
    );
    let wrong = |offset: u64| {
        format!(
            "offset {offset}: a block of the hash tree does not have the hash that vouches for it"
        )
    };
    assert_eq!(
        altered(layout.level(1).start + 5),
        wrong(layout.level(1).start)
    );
    assert_eq!(
        altered(layout.level(0).end - 1),
        wrong(layout.level(0).end - BLOCK)
    );
    let short = check(&layout, &root, read_from(&good[..good.len() - 1]));
    assert!(matches!(short, Err(TreeError::Io { offset, .. }) if offset == layout.level(0).start));
}

#[test]
fn a_block_that_never_came_is_named() {
    let layout = Layout::new((UNIT + 40) * BLOCK);
    let mut builder = TreeBuilder::new(layout);
    assert_eq!(builder.insert_zeroes(0, UNIT).len(), 1);
    assert!(builder.insert(UNIT, &[[1; 32]; 13]).is_empty());
    // Bytes outside are not part of the image.
    assert!(builder.insert(UNIT + 14, &[[1; 32]; 100]).is_empty());
    assert_eq!(builder.finish().err(), Some(MissingBlock(UNIT + 13)));
}

#[test]
fn zeroes_are_the_hashes_of_zeroes() {
    let zeroes = vec![0; 300 * 4096];
    let mut builder = TreeBuilder::new(Layout::new(zeroes.len() as u64));
    builder.insert_zeroes(0, 300);
    assert_eq!(builder.finish().unwrap().1, naive(&zeroes).1);
}

#[test]
fn veritysetup_agrees() {
    let folder = tempfile::tempdir().unwrap();
    for (blocks, rest) in [(1, 0), (1, 5), (2, 0), (128, 0), (129, 17), (UNIT + 1, 0)] {
        let image = image(blocks, rest);
        let (pieces, root) = build(&image, blocks as usize, &[0]);
        let path = folder.path().join("partition");
        let verify = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let offset = Layout::new(image.len() as u64).superblock_offset();
            Command::new("veritysetup")
                .arg("verify")
                .args([&path, &path])
                .arg(bundle::hex(&root))
                .arg(format!("--hash-offset={offset}"))
                .output()
                .expect("veritysetup: see scripts/setup")
        };
        let mut partition = partition(&image, &pieces);
        let agreed = verify(&partition);
        assert!(agreed.status.success(), "{blocks} blocks: {agreed:?}");
        partition[image.len() / 2] ^= 1;
        assert!(!verify(&partition).status.success(), "{blocks} blocks");
    }
}
