//! Bundles with trust links: they lead a reader from older keys to those that signed the bundle.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use bundle::HeadParser;
use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::recipe::Recipe;
use seal::{
    ImageDigest, LINK_LEN, Link, Purpose, Role, SEAL_LEN, Seal, Trust, TrustChain, TrustedKey,
};
use std::io::Cursor;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn trust(epoch: u64, seed: u8) -> Trust {
    let key = TrustedKey::new(&key(seed).public_key(), &[Role::Release]).unwrap();
    Trust::new(epoch, [1, 0, 0], &[key]).unwrap()
}

fn link(from: u8, to: u8) -> Link {
    let mut link = Link::new(&trust(from.into(), from), &trust(to.into(), to));
    for seed in [from, to] {
        key(seed).sign_link(&mut link).unwrap();
    }
    link
}

/// Returns a bundle with these links, signed by the key with this seed.
fn bundle(links: &[Link], signer: u8) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = links.iter().flat_map(Link::as_bytes).copied().collect();
    std::fs::write(dir.path().join("trust.links"), bytes).unwrap();
    std::fs::write(dir.path().join("root.img"), b"hello world\n").unwrap();
    let recipe = "[release]\nversion = \"1.0.0\"\nrollback_index = 1\nkey_epoch = 1\n\
                  trust_links = \"trust.links\"\ncompatible = [\"x\"]\n\
                  [[image]]\nrole = \"root\"\npath = \"root.img\"\n";
    let recipe = Recipe::parse(recipe, &dir.path().join("bundle.toml"), None).unwrap();
    let mut out = Vec::new();
    let options = CreateOptions {
        keys: &[key(signer)],
        workers: 1,
    };
    let output = BundleOutput {
        spool: &mut Cursor::new(Vec::new()),
        out: &mut out,
    };
    bundle::create(&recipe, options, output, &mut |_| {}).unwrap();
    out
}

fn read(bytes: &[u8], first: &Trust) -> Result<usize, String> {
    let mut parser = HeadParser::following(TrustChain::from(first), Purpose::Release);
    parser.feed(bytes).map_err(|error| error.to_string())?;
    match parser.release() {
        Some(release) => Ok(release.links().len()),
        None => Err(parser.truncated().to_string()),
    }
}

/// Returns `bytes` with other links in the statement, signed again.
fn resealed(bytes: &[u8], links: ImageDigest, signer: u8) -> Vec<u8> {
    let seal = Seal::from_bytes(bytes.first_chunk().unwrap()).unwrap();
    let mut statement = seal.unverified_statement().unwrap();
    statement.links = links;
    let mut seal = Seal::new(&statement);
    key(signer).sign_seal(&mut seal).unwrap();
    [seal.as_bytes(), &bytes[SEAL_LEN..]].concat()
}

#[test]
fn links_lead_to_the_keys_of_the_bundle() {
    let both = bundle(&[link(1, 2), link(2, 3)], 3);
    for known in 1..=3 {
        assert_eq!(read(&both, &trust(known.into(), known)), Ok(2), "{known}");
    }
    // A generation is skipped only if its link is there.
    let last = bundle(&[link(2, 3)], 3);
    let refused = read(&last, &trust(1, 1)).unwrap_err();
    assert!(
        refused.contains("signed by 0 trusted release key(s)"),
        "{refused}"
    );
    assert_eq!(read(&last, &trust(2, 2)), Ok(1));
    // A reader that knows other keys follows no link.
    assert!(read(&both, &trust(1, 9)).is_err());
}

#[test]
fn a_link_that_is_forged_or_damaged_refuses_the_bundle() {
    let mut forged = Link::new(&trust(1, 1), &trust(9, 9));
    key(9).sign_link(&mut forged).unwrap();
    let refused = read(&bundle(&[forged], 9), &trust(1, 1)).unwrap_err();
    assert!(
        refused.starts_with("trust link: signed by 0 trusted"),
        "{refused}"
    );
    let whole = bundle(&[link(1, 2)], 2);
    for at in (SEAL_LEN..SEAL_LEN + LINK_LEN).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert!(read(&bytes, &trust(1, 1)).is_err(), "byte {at}");
        assert!(read(&bytes, &trust(2, 2)).is_err(), "byte {at}");
    }
    for len in [SEAL_LEN, SEAL_LEN + 1, SEAL_LEN + LINK_LEN - 1] {
        let refused = read(&whole[..len], &trust(1, 1)).unwrap_err();
        assert!(refused.starts_with("trust links ends after"), "{refused}");
    }
}

/// A length is refused before a byte behind the seal is buffered.
#[test]
fn the_length_of_the_links_is_bounded() {
    let whole = bundle(&[link(1, 2)], 2);
    let sha256 = [1; 32];
    let lengths = [
        1,
        LINK_LEN as u64 - 1,
        13 * LINK_LEN as u64,
        1 << 40,
        u64::MAX,
    ];
    for len in lengths {
        let bytes = resealed(&whole, ImageDigest { len, sha256 }, 2);
        let refused = read(&bytes, &trust(2, 2)).unwrap_err();
        let words = format!("trust links of {len} bytes");
        assert!(refused.starts_with(&words), "{refused}");
    }
    let len = LINK_LEN as u64;
    let other = resealed(&whole, ImageDigest { len, sha256 }, 2);
    let refused = read(&other, &trust(1, 1)).unwrap_err();
    assert!(
        refused.starts_with("trust links: digest mismatch"),
        "{refused}"
    );
}
