//! Valid and broken bundles, checked by this reader and by `second_reader.py`, which was written
//! from docs/format.md alone, with other libraries. Both must agree on each.
//!
//! `RAYOS_BUNDLES` is the number of bundles (`scripts/prove bundles` sets a higher one),
//! `RAYOS_SEED` the first seed, and `RAYOS_FIGURES` the file for the results.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod sample;

use bundle::verity::{Layout, TreeBuilder, digest};
use fixtures::dice::Dice;
use sample::{Parts, check, key, sample, trust};
use seal::SEAL_LEN;
use sha2::{Digest as _, Sha256};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

/// Changes a few bytes, mostly to values at a limit.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.index(3) {
        if bytes.is_empty() {
            return;
        }
        let at = dice.index(bytes.len());
        match dice.index(7) {
            0 => bytes[at] = 0,
            1 => bytes[at] = 0xff,
            2 => bytes[at] ^= 1 << dice.index(8),
            3 => bytes[at] = bytes[at].wrapping_add(1),
            4 => bytes[at] = dice.roll() as u8,
            5 => drop(bytes.remove(at)),
            _ => bytes.insert(at, dice.roll() as u8),
        }
    }
}

/// Returns the bundle of this seed: some are valid; most are broken, but signed.
fn bundle(seed: u64, valid: &[u8]) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut parts = Parts::of(valid);
    match dice.index(20) {
        12..=18 => built(&mut dice, parts),
        0 | 19 => created(&mut dice),
        1 => {
            let mut bytes = valid.to_vec();
            mutate(&mut dice, &mut bytes);
            bytes
        }
        2 => valid[..dice.index(valid.len())].to_vec(),
        3 => manifest(&mut dice, parts),
        4 | 5 => {
            let mut bytes = bundle::cbor::encode(&parts.manifest).unwrap();
            mutate(&mut dice, &mut bytes);
            parts.manifest_bytes = Some(bytes);
            parts.seal()
        }
        6..=8 => {
            // Changes one field of one entry.
            let chunks = parts.manifest.index.chunks as usize;
            let entry = dice.index(chunks);
            let at = [0, 1, 2, 3, 4, 5, 8, 9, 12, 16, 48][dice.index(11)];
            let value = match dice.index(3) {
                0 => 0,
                1 => dice.index(8) as u8,
                _ => dice.roll() as u8,
            };
            parts.entry(entry)[at] = value;
            parts.seal()
        }
        9 => {
            mutate(&mut dice, &mut parts.payload);
            parts.seal()
        }
        10 => statement(&mut dice, parts),
        _ => {
            mutate(&mut dice, &mut parts.hints);
            parts.manifest.hints = parts.manifest.hints.filter(|_| dice.index(2) == 0);
            parts.seal()
        }
    }
}

/// Returns a bundle that the library creates from random settings.
fn created(dice: &mut Dice) -> Vec<u8> {
    let chunk_size = 4096 << dice.index(4);
    let window = chunk_size * [0, 1, 4][dice.index(3)];
    let recipe = sample::RECIPE
        .replace("chunk_size = 4096", &format!("chunk_size = {chunk_size}"))
        .replace(
            "chunk_size = 8192",
            &format!("chunk_size = {}", 4096 << dice.index(3)),
        )
        .replace("window = 65536", &format!("window = {window}"))
        .replace(
            "rollback_index = 7",
            &format!(
                "rollback_index = {}\nrevoke = {}",
                dice.index(9),
                dice.index(2) == 0
            ),
        );
    sample::bundle_of(&recipe, &[key()], 1)
}

/// Returns a bundle of one image of raw chunks, zeroes and repeats. Every digest is correct, but
/// lengths, runs, arguments, flags and order may break any rule.
fn built(dice: &mut Dice, mut parts: Parts) -> Vec<u8> {
    let chunk_size = [4096, 8192][dice.index(2)];
    let (mut image, mut index, mut payload) = (Vec::new(), Vec::new(), Vec::new());
    let mut entries: Vec<(u8, usize, usize)> = Vec::new();
    let chunks = 1 + dice.index(6);
    let rare = |dice: &mut Dice| dice.index(24) == 0;
    for number in 0..chunks {
        let repeat = (number > 0 && dice.index(4) == 0).then(|| dice.index(number));
        let kind = repeat.map_or([0, 1, 1, 1][dice.index(4)], |_| 3);
        let mut len = 4096 * (1 + dice.index(2));
        if number + 1 == chunks || rare(dice) {
            len -= dice.index(3);
        }
        let plain = match (kind, repeat) {
            (0, _) => vec![0; len],
            (3, Some(other)) => {
                let (_, at, len) = entries[other];
                image[at..at + len].to_vec()
            }
            _ => sample::noise(1 + dice.index(250) as u8, len),
        };
        entries.push((kind, image.len(), plain.len()));
        let stored = kind == 1;
        let before = if stored && dice.index(3) == 0 {
            4096 * dice.index(4)
        } else {
            usize::from(stored && rare(dice))
        };
        let argument = repeat.unwrap_or(usize::from(rare(dice)));
        let sha = digest::digest(&plain);
        index.extend([kind]);
        index.extend(&(plain.len() as u32).to_le_bytes()[..3]);
        for field in [if stored { plain.len() } else { 0 }, before, argument] {
            index.extend((field as u32).to_le_bytes());
        }
        index.extend(sha);
        index.extend(if stored != rare(dice) {
            sha[..16].to_vec()
        } else {
            vec![0; 16]
        });
        if stored {
            payload.extend(&plain);
        }
        image.extend(plain);
    }
    parts
        .manifest
        .images
        .retain(|image| image.role == bundle::ImageRole::Root);
    let root = &mut parts.manifest.images[0];
    (root.size, root.chunks, root.chunk_size) = (image.len() as u64, chunks as u64, chunk_size);
    root.sha256.0 = Sha256::digest(&image).into();
    parts.manifest.index.chunks = chunks as u64;
    parts.manifest.payload = payload.len() as u64;
    parts.manifest.hints = None;
    (parts.index, parts.payload, parts.hints) = (index, payload, Vec::new());
    let odd_flags = rare(dice);
    parts.statement.boot = seal::ImageDigest::NONE;
    parts.statement.root = (dice.index(3) > 0).then(|| verified_root(dice, &image));
    let mut bytes = parts.seal();
    if odd_flags {
        (bytes[34], bytes[36], bytes[38]) =
            (1, [0, 1, 4, 0x80][dice.index(4)], dice.index(2) as u8);
        sign(&mut bytes);
    }
    bytes
}

/// Returns the verified root of an image, rarely a wrong one.
fn verified_root(dice: &mut Dice, image: &[u8]) -> seal::VerifiedRoot {
    let hashes: Vec<_> = digest::block_hashes(image).collect();
    let mut builder = TreeBuilder::new(Layout::new(image.len() as u64));
    builder.insert(0, &hashes);
    let mut root = seal::VerifiedRoot {
        len: image.len() as u64,
        root_hash: builder.finish().unwrap().1,
    };
    match dice.index(24) {
        0 => root.len += 1,
        1 => root.root_hash[dice.index(32)] ^= 1,
        _ => {}
    }
    root
}

/// Returns a bundle with another value in one field of its manifest.
fn manifest(dice: &mut Dice, mut parts: Parts) -> Vec<u8> {
    let odd = [0, 1, 4095, 4096, 1 << 22, (1 << 22) + 1, u64::MAX][dice.index(7)];
    let manifest = &mut parts.manifest;
    let image = dice.index(manifest.images.len());
    match dice.index(9) {
        0 => manifest.images[image].size = odd,
        1 => manifest.images[image].chunks = odd,
        2 => manifest.images[image].chunk_size = odd as u32,
        3 => manifest.payload = odd,
        4 => manifest.index.chunks = odd,
        5 => manifest.index.ranges = odd,
        6 => manifest.created = Some(odd),
        7 => manifest.notes = ["", "new", "\u{e4}\u{1f980}", "\0"][dice.index(4)].to_owned(),
        _ => {
            manifest.compatible =
                vec![["x", "", "a b", "\u{e4}"][dice.index(4)].to_owned(); dice.index(3)]
        }
    }
    parts.seal()
}

/// Returns a bundle with a changed byte in its statement, signed again.
fn statement(dice: &mut Dice, parts: Parts) -> Vec<u8> {
    let mut bytes = parts.seal();
    let at = [
        32, 34, 36, 37, 38, 39, 40, 48, 56, 64, 96, 104, 136, 144, 176, 200, 239, 240, 248, 511,
    ][dice.index(20)];
    bytes[at] = [0, 1, 2, 4, 0x80, dice.roll() as u8][dice.index(6)];
    sign(&mut bytes);
    bytes
}

/// Signs a changed statement, valid or not.
fn sign(bytes: &mut [u8]) {
    let signature = key().sign(&bytes[..512]);
    bytes[560..624].copy_from_slice(&signature);
    let crc = crc32fast::hash(&bytes[..SEAL_LEN - 4]);
    bytes[SEAL_LEN - 4..SEAL_LEN].copy_from_slice(&crc.to_le_bytes());
}

struct SecondReader {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl SecondReader {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_reader.py");
        let mut child = Command::new("/usr/bin/python3")
            .args([script, &bundle::hex(&key().public_key())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn check(&mut self, bytes: &[u8]) -> String {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin
            .write_all(&(bytes.len() as u32).to_le_bytes())
            .unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for SecondReader {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn both_readers_agree_on_every_bundle() {
    let (count, first) = (setting("RAYOS_BUNDLES", 400), setting("RAYOS_SEED", 1));
    let mut second = SecondReader::start();
    let valid = sample();
    let mut accepted = 0;
    for seed in first..first + count {
        let bytes = bundle(seed, &valid);
        let ours = check(&bytes, &trust());
        let theirs = second.check(&bytes);
        assert_eq!(
            ours.is_ok(),
            theirs == "yes",
            "seed {seed}: ours {ours:?}, theirs {theirs:?}"
        );
        accepted += u64::from(ours.is_ok());
    }
    assert!(
        accepted * 20 > count && accepted < count,
        "{accepted} of {count} accepted"
    );
    if let Some(path) = std::env::var_os("RAYOS_FIGURES") {
        let figures = format!(
            "{{\"bundles\": {count}, \"accepted\": {accepted}, \"first_seed\": {first}}}\n"
        );
        std::fs::write(path, figures).unwrap();
    }
}
