//! The whole reader, with a bundle that is changed and then signed again, so that code after the
//! signature check is reached.

use bundle::create::{BundleOutput, CreateOptions};
use bundle::keys::SecretKey;
use bundle::open::{Access, Opener};
use bundle::{Manifest, recipe::Recipe};
use seal::{ImageDigest, Purpose, Role, SEAL_LEN, Seal, Trust, TrustedKey};
use sha2::{Digest as _, Sha256};
use std::io::Cursor;
use std::sync::LazyLock;

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("bundle-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let words = b"each chunk builds upon the bytes of its run before it; ".repeat(150);
    let root = [
        vec![b'a'; 5000],
        vec![0; 9000],
        (0..=255).cycle().take(8000).collect(),
        words,
    ]
    .concat();
    std::fs::write(folder.join("root.img"), root).unwrap();
    let text = "[release]\nversion = \"1\"\nrollback_index = 1\ncompatible = [\"x\"]\n[compression]\nchunk_size = 4096\nwindow = 8192\n[[image]]\nrole = \"root\"\npath = \"root.img\"\n";
    let recipe = Recipe::parse(text, &folder.join("bundle.toml"), None).unwrap();
    let mut out = Vec::new();
    bundle::create(
        &recipe,
        CreateOptions {
            keys: &[key()],
            workers: 1,
        },
        BundleOutput {
            spool: &mut Cursor::new(Vec::new()),
            out: &mut out,
        },
        &mut |_| (),
    )
    .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    out
});

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

/// Panics if the property does not hold.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = SAMPLE.clone();
    // Each 4 bytes of input are an offset (3 bytes) and a value.
    for change in data.chunks_exact(4) {
        let at = SEAL_LEN
            + u32::from_le_bytes([change[0], change[1], change[2], 0]) as usize
                % (bytes.len() - SEAL_LEN);
        bytes[at] = change[3];
    }
    let old = Seal::from_bytes(SAMPLE[..SEAL_LEN].try_into().unwrap())
        .unwrap()
        .unverified_statement()
        .unwrap();
    let manifest_end = SEAL_LEN + old.manifest.len as usize;
    // Correct digests, as far as the manifest can be decoded.
    if let Ok(mut manifest) = Manifest::decode(&bytes[SEAL_LEN..manifest_end]) {
        let index_end = manifest_end + manifest.index.chunks as usize * bundle::CHUNK_ENTRY_LEN;
        if let Some(index) = bytes.get(manifest_end..index_end) {
            manifest.index.sha256.0 = Sha256::digest(index).into();
            let encoded = manifest.encode().unwrap();
            if encoded.len() == manifest_end - SEAL_LEN {
                bytes[SEAL_LEN..manifest_end].copy_from_slice(&encoded);
            }
        }
    }
    let mut statement = old;
    statement.manifest = ImageDigest {
        len: old.manifest.len,
        sha256: Sha256::digest(&bytes[SEAL_LEN..manifest_end]).into(),
    };
    let mut seal = Seal::new(&statement);
    key().sign_seal(&mut seal).unwrap();
    bytes[..SEAL_LEN].copy_from_slice(seal.as_bytes());
    let trusted = TrustedKey::new(&key().public_key(), &[Role::Release]).unwrap();
    let trust = Trust::new(0, [1, 0, 0], &[trusted]).unwrap();
    if let Ok(opener) = Opener::open(
        Cursor::new(&bytes),
        Access::Verify(&trust, Purpose::Release),
        1,
    ) {
        // Either refused, or exactly the bytes that were signed.
        drop(opener.check(&mut |_| ()));
    }
}
