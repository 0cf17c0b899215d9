//! Keys, signatures and trust files on the command line.

use super::{bundle, fails, folder, json};
use crate::sample::run;
use std::fs;

#[test]
fn a_signature_made_by_openssl_is_attached() {
    let folder = folder();
    let path = folder.path();
    bundle(path, "create bundle.toml --unsigned -o y.bundle");
    assert!(fails(path, 3, "verify y.bundle --trust keys/release.pub").contains("not signed"));
    assert!(
        fails(
            path,
            3,
            "extract y.bundle --trust keys/release.pub --image root -o no"
        )
        .contains("not signed")
    );
    assert!(!path.join("no").exists());
    bundle(
        path,
        "extract y.bundle --insecure-no-verify --image root -o yes",
    );
    bundle(path, "digest y.bundle -o y.tbs");
    run(
        "openssl",
        &[
            "pkeyutl",
            "-sign",
            "-rawin",
            "-inkey",
            "keys/release.key",
            "-in",
            "y.tbs",
            "-out",
            "y.sig",
        ],
        path,
    );
    bundle(
        path,
        "attach y.bundle --public-key keys/release.pub --signature y.sig",
    );
    bundle(path, "verify y.bundle --trust keys/release.pub");
    // Ed25519 is deterministic: both programs make the same signature.
    assert_eq!(
        fs::read(path.join("y.bundle")).unwrap(),
        fs::read(path.join("x.bundle")).unwrap()
    );
    assert!(
        fails(
            path,
            3,
            "attach y.bundle --public-key keys/release.pub --signature y.sig"
        )
        .contains("has already signed this seal")
    );
    for wrong in [0, 63, 65] {
        fs::write(path.join("short"), vec![1; wrong]).unwrap();
        let stderr = fails(
            path,
            3,
            "attach y.bundle --public-key keys/release.pub --signature short",
        );
        assert!(
            stderr.contains(&format!("signature of {wrong} bytes, expected 64")),
            "{stderr}"
        );
    }
}

#[test]
fn keys_are_exchanged_with_openssl() {
    let folder = folder();
    let path = folder.path();
    run(
        "openssl",
        &["genpkey", "-algorithm", "ed25519", "-out", "o.key"],
        path,
    );
    run(
        "openssl",
        &["pkey", "-in", "o.key", "-pubout", "-out", "o.pub"],
        path,
    );
    bundle(path, "create bundle.toml --key o.key -o o.bundle");
    bundle(path, "verify o.bundle --trust o.pub");
    assert!(
        fails(path, 3, "verify o.bundle --trust keys/release.pub")
            .contains("signed by 0 trusted release key(s), expected 1")
    );
    // openssl reads a key of this program.
    let public = run(
        "openssl",
        &["pkey", "-in", "keys/release.key", "-pubout"],
        path,
    );
    assert_eq!(public, fs::read(path.join("keys/release.pub")).unwrap());
}

#[test]
fn unusable_keys_are_refused() {
    let folder = folder();
    let path = folder.path();
    // The point of order 1 as a public key: anyone can forge its signatures.
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
    fs::write(path.join("weak.pub"), weak).unwrap();
    assert!(fails(path, 1, "verify x.bundle --trust weak.pub").contains("weak Ed25519 public key"));
    fs::write(path.join("empty.pub"), "").unwrap();
    fails(path, 1, "verify x.bundle --trust empty.pub");
    run(
        "openssl",
        &[
            "genpkey",
            "-algorithm",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "ec.key",
        ],
        path,
    );
    assert!(
        fails(path, 1, "create bundle.toml --key ec.key -o no")
            .contains("not an Ed25519 private key")
    );
}

#[test]
fn thresholds_and_revocations_are_enforced() {
    let folder = folder();
    let path = folder.path();
    bundle(path, "keygen -o keys/second");
    let trust = |extra: &str, threshold: &str| {
        let keys = ["release", "second"].map(|name| {
            format!(
                "[[key]]\nname = \"{name}\"\nroles = [\"release\", \"vendor\"]\npath = \"keys/{name}.pub\"\n"
            )
        });
        fs::write(
            path.join("trust.toml"),
            format!(
                "epoch = 3\n{extra}\n[threshold]\n{threshold}\n{}",
                keys.concat()
            ),
        )
        .unwrap();
    };
    trust("", "release = 2");
    let stderr = fails(path, 3, "verify x.bundle --trust trust.toml");
    assert!(
        stderr.contains("signed by 1 trusted release key(s), expected 2"),
        "{stderr}"
    );
    bundle(path, "sign x.bundle --key keys/second.key");
    bundle(path, "verify x.bundle --trust trust.toml");
    trust("", "release = 1\nvendor = 2");
    bundle(path, "verify x.bundle --trust trust.toml");
    let second = json(&bundle(path, "inspect x.bundle --json"))["signatures"][1]
        .as_str()
        .unwrap()
        .to_owned();
    trust(&format!("revoked = [\"{second}\"]"), "release = 2");
    let stderr = fails(path, 3, "verify x.bundle --trust trust.toml");
    assert!(
        stderr.contains("release role has 1 key(s) and a threshold of 2"),
        "{stderr}"
    );
    trust(&format!("revoked = [\"{second}\"]"), "release = 1");
    bundle(path, "verify x.bundle --trust trust.toml");
}

#[test]
fn a_bundle_signed_only_by_a_revoked_key_is_refused() {
    let folder = folder();
    let path = folder.path();
    bundle(path, "keygen -o keys/second");
    let id = json(&bundle(path, "inspect x.bundle --json"))["signatures"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let keys = ["release", "second"].map(|name| {
        format!("[[key]]\nname = \"{name}\"\nroles = [\"release\"]\npath = \"keys/{name}.pub\"\n")
    });
    let trust = format!(
        "epoch = 1\nrevoked = [\"{id}\"]\n[threshold]\nrelease = 1\n{}",
        keys.concat()
    );
    fs::write(path.join("trust.toml"), trust).unwrap();
    let stderr = fails(path, 3, "verify x.bundle --trust trust.toml");
    assert!(
        stderr.contains("signed by 0 trusted release key(s), expected 1"),
        "{stderr}"
    );
}

#[test]
fn a_trust_file_is_replaced_by_a_signed_one() {
    let folder = folder();
    let path = folder.path();
    bundle(path, "keygen -o keys/next");
    let pem = |name: &str| fs::read_to_string(path.join(format!("keys/{name}.pub"))).unwrap();
    let file = |epoch: u64, name: &str| {
        let pem = pem(name);
        format!(
            "epoch = {epoch}\n[threshold]\nrelease = 1\n[[key]]\nname = \"k\"\nroles = [\"release\"]\npublic_key = '''{pem}'''\n"
        )
    };
    fs::write(path.join("trust.toml"), file(1, "release")).unwrap();
    fs::write(path.join("new.toml"), file(2, "next")).unwrap();
    assert!(
        fails(path, 3, "trust-update --current trust.toml --new new.toml").contains("expected 1")
    );
    bundle(path, "trust-sign new.toml --key keys/release.key");
    bundle(path, "trust-update --current trust.toml --new new.toml");
    bundle(path, "sign x.bundle --key keys/next.key");
    bundle(path, "verify x.bundle --trust trust.toml");
    assert!(
        fails(path, 3, "trust-update --current trust.toml --new new.toml").contains("expected 1")
    );
}
