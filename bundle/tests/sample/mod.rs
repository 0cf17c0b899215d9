//! A small release, and its parts, from which tests make signed forgeries.
#![allow(dead_code, reason = "each test program uses a part of this")]

use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::manifest::Manifest;
use bundle::open::{Access, OpenError, Opener};
use bundle::recipe::Recipe;
use bundle::{CHUNK_ENTRY_LEN, HeadParser, ReadError, Release};
use seal::{ImageDigest, Purpose, SEAL_LEN, Seal, Statement, Trust, TrustedKey};
use sha2::{Digest as _, Sha256};
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

/// Returns the key that signs the sample.
pub(crate) fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

/// Returns trust in that key alone.
pub(crate) fn trust() -> Trust {
    trust_in(&[&key()], 1)
}

/// Returns trust in `keys` for releases.
pub(crate) fn trust_in(keys: &[&SecretKey], threshold: u8) -> Trust {
    let keys: Vec<TrustedKey> = keys
        .iter()
        .map(|key| TrustedKey::new(&key.public_key(), &[seal::Role::Release]).unwrap())
        .collect();
    Trust::new(0, [threshold, 0, 0], &keys).unwrap()
}

/// Returns bytes that do not compress, different for each seed.
pub(crate) fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut block: [u8; 32] = [seed; 32];
    while bytes.len() < len {
        block = Sha256::digest(block).into();
        bytes.extend_from_slice(&block);
    }
    bytes.truncate(len);
    bytes
}

/// A root image with a chunk of each kind: text, noise, zeroes, a repeat, text, and a short last
/// chunk that refers to it.
pub(crate) fn root_image() -> Vec<u8> {
    let mut root = b"the same words, again and again; ".repeat(300)[..4096].to_vec();
    root.extend(noise(1, 4096));
    root.extend(vec![0; 3 * 4096]);
    root.extend(noise(1, 4096));
    root.extend(bundle::hex(&noise(2, 2048)).into_bytes());
    root.extend_from_within(6 * 4096 + 100..6 * 4096 + 900);
    root
}

/// `bundle.toml` of the sample.
pub(crate) const RECIPE: &str = r#"
[release]
version = "1.2.3"
rollback_index = 7
compatible = ["rayos-x86_64"]
notes = "What is new."

[build]
commit = "0123abc"

[compression]
chunk_size = 4096
window = 65536

[[image]]
role = "root"
path = "root.img"

[[image]]
role = "boot"
path = "boot.efi"
chunk_size = 8192
"#;

/// Creates a bundle from the recipe and the sample's images, signed with `keys`.
pub(crate) fn bundle_of(recipe: &str, keys: &[SecretKey], workers: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("root.img"), root_image()).unwrap();
    std::fs::write(
        folder.path().join("boot.efi"),
        b"MZ boot program ".repeat(400),
    )
    .unwrap();
    let recipe = Recipe::parse(recipe, &folder.path().join("bundle.toml"), None).unwrap();
    create(&recipe, keys, workers)
}

/// Creates a bundle in memory.
pub(crate) fn create(recipe: &Recipe, keys: &[SecretKey], workers: usize) -> Vec<u8> {
    let mut out = Vec::new();
    bundle::create(
        recipe,
        CreateOptions { keys, workers },
        BundleOutput {
            spool: &mut Cursor::new(Vec::new()),
            out: &mut out,
        },
        &mut |_| (),
    )
    .unwrap();
    out
}

/// Returns the sample.
pub(crate) fn sample() -> Vec<u8> {
    bundle_of(RECIPE, &[key()], 1)
}

/// Reads the head of a bundle.
pub(crate) fn head(bytes: &[u8], trust: &Trust) -> Result<Arc<Release>, ReadError> {
    let mut parser = HeadParser::new(trust, Purpose::Release);
    parser.feed(bytes)?;
    parser.release().cloned().ok_or_else(|| parser.truncated())
}

/// Checks a whole bundle.
pub(crate) fn check(bytes: &[u8], trust: &Trust) -> Result<(), OpenError> {
    let opener = Opener::open(
        Cursor::new(bytes),
        Access::Verify(trust, Purpose::Release),
        1,
    )?;
    opener.check(&mut |_| ())
}

/// Returns the error of a bundle that must be refused.
pub(crate) fn refusal(bytes: &[u8]) -> String {
    match check(bytes, &trust()) {
        Ok(()) => panic!("accepted"),
        Err(error) => {
            assert!(error.is_refusal(), "{error}");
            error.to_string()
        }
    }
}

/// The parts of a bundle, which can be changed and signed again.
pub(crate) struct Parts {
    pub(crate) statement: Statement,
    pub(crate) manifest: Manifest,
    /// Used instead of the encoding of `manifest`.
    pub(crate) manifest_bytes: Option<Vec<u8>>,
    pub(crate) index: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) hints: Vec<u8>,
}

impl Parts {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let release = head(bytes, &trust()).unwrap();
        let manifest_end = SEAL_LEN + release.statement().manifest.len as usize;
        let payload = release.payload_range().start as usize..release.payload_range().end as usize;
        Self {
            statement: *release.statement(),
            manifest: release.manifest().clone(),
            manifest_bytes: None,
            index: bytes[manifest_end..payload.start].to_vec(),
            payload: bytes[payload.clone()].to_vec(),
            hints: bytes[payload.end..].to_vec(),
        }
    }

    pub(crate) fn sample() -> Self {
        Self::of(&sample())
    }

    /// Returns the entry of a chunk in the index.
    pub(crate) fn entry(&mut self, chunk: usize) -> &mut [u8] {
        &mut self.index[chunk * CHUNK_ENTRY_LEN..(chunk + 1) * CHUNK_ENTRY_LEN]
    }

    /// Puts the parts together, with correct digests and lengths and a valid signature.
    pub(crate) fn seal(self) -> Vec<u8> {
        self.seal_with(|_| ())
    }

    /// As `seal`, after `change` of the statement.
    pub(crate) fn seal_with(mut self, change: impl FnOnce(&mut Statement)) -> Vec<u8> {
        self.manifest.index.sha256.0 = Sha256::digest(&self.index).into();
        // `Manifest::encode` would refuse values outside their limits.
        let manifest = self
            .manifest_bytes
            .unwrap_or_else(|| bundle::cbor::encode(&self.manifest).unwrap());
        self.statement.manifest = ImageDigest {
            len: manifest.len() as u64,
            sha256: Sha256::digest(&manifest).into(),
        };
        let rest = [self.index, self.payload, self.hints].concat();
        self.statement.bundle_len = (SEAL_LEN + manifest.len() + rest.len()) as u64;
        change(&mut self.statement);
        let mut seal = Seal::new(&self.statement);
        key().sign_seal(&mut seal).unwrap();
        [seal.as_bytes().as_slice(), &manifest, &rest].concat()
    }
}

/// Runs a program and returns its standard output; its failure fails the test.
pub(crate) fn run(program: &str, args: &[&str], folder: &Path) -> Vec<u8> {
    let output = std::process::Command::new(program)
        .args(args)
        .current_dir(folder)
        .output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?}: {} {stderr}",
        output.status
    );
    output.stdout
}
