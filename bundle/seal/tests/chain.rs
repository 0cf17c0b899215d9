//! The trust chain: which links lead further, and which seals are accepted under which floor.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;
use seal::{
    ImageDigest, KeyId, LINK_LEN, Link, LinkError, MAX_LINKS, Purpose, Role, Seal, SealError,
    Statement, Text64, Trust, TrustChain, TrustedKey, VerifyError, parse_links, stored_links,
};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// Returns trust in the keys with these seeds, of which `threshold` must sign.
fn trust(epoch: u64, threshold: u8, seeds: &[u8]) -> Trust {
    let keys: Vec<_> = seeds
        .iter()
        .map(|seed| {
            TrustedKey::new(&key(*seed).verifying_key().to_bytes(), &[Role::Release]).unwrap()
        })
        .collect();
    Trust::new(epoch, [threshold, 0, 0], &keys).unwrap()
}

fn link(from: &Trust, to: &Trust, signers: &[u8]) -> Link {
    let mut link = Link::new(from, to);
    for seed in signers {
        let key = key(*seed);
        let signature = key.sign(&link.to_be_signed()).to_bytes();
        link.add_signature(KeyId::of(&key.verifying_key().to_bytes()), &signature)
            .unwrap();
    }
    link
}

fn seal_of(key_epoch: u64, signers: &[u8]) -> Seal {
    let mut seal = Seal::new(&Statement {
        version: Text64::new("1.0.0").unwrap(),
        rollback_index: 1,
        key_epoch,
        revoke: false,
        watchdog: false,
        manifest: ImageDigest {
            len: 1,
            sha256: [1; 32],
        },
        boot: ImageDigest::NONE,
        recovery: ImageDigest::NONE,
        root: None,
        links: ImageDigest::NONE,
        bundle_len: 1,
    });
    for seed in signers {
        let key = key(*seed);
        let signature = key.sign(&seal.to_be_signed()).to_bytes();
        seal.add_signature(KeyId::of(&key.verifying_key().to_bytes()), &signature)
            .unwrap();
    }
    seal
}

/// Three blocks of one key each, with the links between them.
fn three() -> ([Trust; 3], [Link; 2]) {
    let blocks = [trust(1, 1, &[1]), trust(2, 1, &[2]), trust(3, 1, &[3])];
    let links = [
        link(&blocks[0], &blocks[1], &[1, 2]),
        link(&blocks[1], &blocks[2], &[2, 3]),
    ];
    (blocks, links)
}

fn accepted(chain: &TrustChain, key_epoch: u64, signer: u8) -> Result<u64, VerifyError> {
    let found = chain.accept(&seal_of(key_epoch, &[signer]), Purpose::Release)?;
    Ok(found.epoch)
}

#[test]
fn links_lead_from_any_block_to_the_last_one() {
    let (blocks, links) = three();
    for (first, block) in blocks.iter().enumerate() {
        let mut chain = TrustChain::new(block.clone());
        assert_eq!(chain.follow(&links), Ok(2 - first));
        assert_eq!(chain.epoch(), 3);
        for signer in 1..=3_u8 {
            let is_known = usize::from(signer) > first;
            assert_eq!(accepted(&chain, 1, signer).is_ok(), is_known);
        }
        // The same links again lead no further.
        assert_eq!(chain.follow(&links), Ok(0));
    }
}

#[test]
fn a_missing_link_ends_the_chain() {
    let (blocks, [_, second]) = three();
    let mut chain = TrustChain::new(blocks[0].clone());
    assert_eq!(chain.follow([&second]), Ok(0));
    assert_eq!(
        accepted(&chain, 3, 3),
        Err(VerifyError::TrustTooOld {
            release: 3,
            trust: 1
        })
    );
}

#[test]
fn a_link_needs_the_thresholds_of_both_blocks() {
    let (from, to) = (trust(1, 2, &[1, 2, 3]), trust(2, 2, &[3, 4, 5]));
    for (signers, is_good) in [
        (&[1, 2, 4, 5][..], true),
        (&[1, 3, 4], true),
        (&[3, 1, 4, 9], true),
        (&[1, 2], false),
        (&[4, 5], false),
        (&[1, 4, 5], false),
        (&[1, 2, 4], false),
        (&[9], false),
        (&[], false),
    ] {
        let mut chain = TrustChain::new(from.clone());
        let followed = chain.follow([&link(&from, &to, signers)]);
        assert_eq!(followed.is_ok(), is_good, "{signers:?}: {followed:?}");
        assert_eq!(chain.epoch(), if is_good { 2 } else { 1 });
    }
}

#[test]
fn a_link_to_the_same_or_a_lower_key_epoch_is_refused() {
    let from = trust(2, 1, &[1]);
    for new in [1, 2] {
        let to = trust(new, 1, &[1]);
        let mut chain = TrustChain::new(from.clone());
        let refused = chain.follow([&link(&from, &to, &[1])]);
        assert_eq!(refused, Err(LinkError::Epoch { current: 2, new }));
    }
}

/// The first link that a machine followed counts. A key that was withdrawn cannot sign another one.
#[test]
fn a_second_link_from_the_same_block_leads_nowhere() {
    let (blocks, links) = three();
    let fork = link(&blocks[0], &trust(9, 1, &[9]), &[1, 9]);
    let mut chain = TrustChain::new(blocks[0].clone());
    assert_eq!(chain.follow([&links[0], &fork, &links[1]]), Ok(2));
    assert_eq!(chain.epoch(), 3);
}

#[test]
fn a_withdrawn_key_is_refused_above_the_floor_only() {
    let (blocks, links) = three();
    let mut chain = TrustChain::new(blocks[0].clone());
    chain.follow(&links).unwrap();
    assert_eq!(accepted(&chain, 0, 1), Ok(1));
    let chain = chain.with_floor(2);
    assert_eq!(
        accepted(&chain, 0, 1),
        Err(VerifyError::Withdrawn { epoch: 1, floor: 2 })
    );
    assert_eq!(accepted(&chain, 2, 2), Ok(2));
    // A floor never falls.
    assert!(accepted(&chain.with_floor(0), 0, 1).is_err());
}

#[test]
fn a_key_that_stays_is_of_the_newest_block_that_has_it() {
    let (from, to) = (trust(1, 1, &[1]), trust(2, 1, &[1, 2]));
    let mut chain = TrustChain::new(from.clone());
    chain.follow([&link(&from, &to, &[1])]).unwrap();
    assert_eq!(accepted(&chain.with_floor(2), 1, 1), Ok(2));
}

#[test]
fn a_chain_has_a_maximum_length() {
    let blocks: Vec<_> = (0..=MAX_LINKS as u8 + 1)
        .map(|epoch| trust(u64::from(epoch), 1, &[7]))
        .collect();
    let links: Vec<_> = blocks
        .windows(2)
        .map(|pair| link(&pair[0], &pair[1], &[7]))
        .collect();
    let mut chain = TrustChain::new(blocks[0].clone());
    assert_eq!(chain.follow(&links), Err(LinkError::TooMany));
    assert_eq!(chain.epoch(), MAX_LINKS as u64);
    let bytes: Vec<u8> = links.iter().flat_map(Link::as_bytes).copied().collect();
    assert_eq!(parse_links(&bytes), Err(LinkError::TooMany));
    assert_eq!(stored_links(&bytes).len(), MAX_LINKS);
}

#[test]
fn a_link_is_signed_once_by_each_key() {
    let (blocks, [first, _]) = three();
    let mut link = first;
    let id = KeyId::of(&key(1).verifying_key().to_bytes());
    assert_eq!(
        link.add_signature(id, &[0; 64]),
        Err(SealError::AlreadySigned(id))
    );
    assert_eq!(link.unverified_trust(), Ok(blocks[1].clone()));
}

/// Bytes at fixed places, made without the code under test: magic, epoch, digest of the block
/// before, number of signatures, key id, checksum.
#[test]
fn the_bytes_of_a_link_are_as_documented() {
    use sha2::{Digest as _, Sha256};
    let (blocks, [first, _]) = three();
    let bytes = first.as_bytes();
    assert_eq!(&bytes[..16], b"RayOS trust v1\0\0");
    assert_eq!(bytes[16..24], 2_u64.to_le_bytes());
    assert_eq!(bytes[2048..2080], Sha256::digest(blocks[0].to_block())[..]);
    assert_eq!(bytes[2080..2084], 2_u32.to_le_bytes());
    let id = &Sha256::digest(key(1).verifying_key().to_bytes())[..16];
    assert_eq!(&bytes[2096..2112], id);
    let message = [
        &b"RayOS Update trust chain link\0\0\0"[..],
        &Sha256::digest(blocks[0].to_block()),
        &Sha256::digest(blocks[1].to_block()),
    ]
    .concat();
    assert_eq!(bytes[2128..2192], key(1).sign(&message).to_bytes());
    assert_eq!(bytes[2288..4092], [0; 1804]);
    assert_eq!(bytes[4092..], crc32fast::hash(&bytes[..4092]).to_le_bytes());
}

/// The corpus of the fuzzer has links that another program made, with other libraries.
#[test]
fn links_of_another_program_are_followed_and_have_the_same_bytes() {
    let bytes = include_bytes!("../../fuzz/corpus/links/two");
    let links = parse_links(bytes).unwrap();
    let (blocks, ours) = three();
    assert_eq!(links, ours);
    let mut chain = TrustChain::new(blocks[0].clone());
    assert_eq!(chain.follow(&links), Ok(2));
}

#[test]
fn what_is_damaged_is_left_out_of_the_stored_links() {
    let (_, [first, second]) = three();
    let mut bytes = [
        first.as_bytes().as_slice(),
        second.as_bytes(),
        &[0; LINK_LEN],
    ]
    .concat();
    assert_eq!(stored_links(&bytes), [first, second.clone()]);
    bytes[100] ^= 1;
    assert_eq!(stored_links(&bytes), [second]);
    assert_eq!(
        parse_links(&bytes[..LINK_LEN]).unwrap_err(),
        LinkError::Damaged
    );
    assert_eq!(parse_links(&bytes[..100]), Err(LinkError::Damaged));
    assert_eq!(parse_links(&[0; LINK_LEN]), Err(LinkError::Empty));
}

proptest! {
    /// No change of a signed link is followed, also with a correct checksum.
    #[test]
    fn a_changed_link_is_never_followed(at in 0..LINK_LEN - 4, bit in 0_u8..8) {
        let (blocks, [first, _]) = three();
        let mut bytes = *first.as_bytes();
        bytes[at] ^= 1 << bit;
        prop_assert!(Link::from_bytes(&bytes).is_err());
        let crc = crc32fast::hash(&bytes[..LINK_LEN - 4]);
        bytes[LINK_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        if let Ok(changed) = Link::from_bytes(&bytes) {
            prop_assert_eq!(changed.as_bytes(), &bytes);
            let mut chain = TrustChain::new(blocks[0].clone());
            prop_assert_ne!(chain.follow([&changed]), Ok(1));
            prop_assert_eq!(chain.epoch(), 1);
        }
    }
}
