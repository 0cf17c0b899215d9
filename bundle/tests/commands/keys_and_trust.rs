//! Keys, signatures and trust files on the command line.

use super::{bundle, fails, folder, json, try_bundle};
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

#[test]
fn a_bundle_is_inspected_before_it_is_signed() {
    let folder = folder();
    let path = folder.path();
    bundle(path, "create bundle.toml --unsigned -o y.bundle");
    let signed = try_bundle(path, "sign y.bundle --key keys/release.key");
    let said = String::from_utf8(signed.stderr).unwrap();
    assert_eq!(signed.status.code(), Some(0), "{said}");
    for words in [
        "y.bundle: release 1.2.3, rollback index 7, key epoch 0",
        "y.bundle: compatible with ",
        "y.bundle: SHA-256 of the manifest ",
        "y.bundle: every chunk has its digest",
        "y.bundle: 1 signature(s)",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // A flipped byte, in the middle of the payload and in the manifest.
    let whole = fs::read(path.join("y.bundle")).unwrap();
    bundle(path, "create bundle.toml --unsigned -o z.bundle");
    let unsigned = fs::read(path.join("z.bundle")).unwrap();
    for at in [whole.len() / 2, 4200] {
        let mut damaged = unsigned.clone();
        damaged[at] ^= 1;
        fs::write(path.join("z.bundle"), &damaged).unwrap();
        for verb in [
            "sign z.bundle --key keys/release.key",
            "digest z.bundle -o z.tbs",
        ] {
            fails(path, 3, verb);
        }
        assert!(fs::read(path.join("z.bundle")).unwrap() == damaged);
    }
    let mut damaged = unsigned;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(path.join("z.bundle"), &damaged).unwrap();
    let skipped = try_bundle(path, "sign z.bundle --key keys/release.key --skip-payload");
    let said = String::from_utf8(skipped.stderr).unwrap();
    assert!(said.contains("the payload was not read"), "{said}");
}

#[test]
fn a_guard_that_does_not_accept_the_signatures_is_reported() {
    use fixtures::guard_program::guard_program;
    let folder = folder();
    let path = folder.path();
    bundle(path, "keygen -o keys/other");
    let recipe =
        crate::sample::RECIPE.to_owned() + "[[image]]\nrole = \"guard\"\npath = \"guard.efi\"\n";
    fs::write(path.join("guarded.toml"), recipe).unwrap();
    for (trust, words) in [
        ("keys/release.pub", ""),
        ("keys/other.pub", "does not accept"),
    ] {
        bundle(path, &format!("trust-block --trust {trust} -o block"));
        let block = fs::read(path.join("block")).unwrap();
        fs::write(path.join("guard.efi"), guard_program(&block, b"code")).unwrap();
        let made = try_bundle(
            path,
            "create guarded.toml --key keys/release.key -o g.bundle",
        );
        bundle(path, "create guarded.toml --unsigned -o h.bundle");
        let signed = try_bundle(path, "sign h.bundle --key keys/release.key");
        for output in [made, signed] {
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(0), "{said}");
            let warned = said.contains("warning: the boot guard");
            assert!(warned != words.is_empty() && said.contains(words), "{said}");
        }
    }
}

#[test]
fn an_encrypted_key_is_exchanged_with_openssl() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("word"), "open sesame\n").unwrap();
    fs::write(path.join("wrong"), "open barley\n").unwrap();
    bundle(path, "keygen -o keys/locked --passphrase-file word");
    let pem = fs::read_to_string(path.join("keys/locked.key")).unwrap();
    assert!(
        pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"),
        "{pem}"
    );
    let public = run(
        "openssl",
        &[
            "pkey",
            "-in",
            "keys/locked.key",
            "-passin",
            "file:word",
            "-pubout",
        ],
        path,
    );
    assert_eq!(public, fs::read(path.join("keys/locked.pub")).unwrap());
    run(
        "openssl",
        &[
            "pkcs8",
            "-topk8",
            "-v2",
            "aes-256-cbc",
            "-in",
            "keys/release.key",
            "-out",
            "o.key",
            "-passout",
            "file:word",
        ],
        path,
    );
    run("chmod", &["600", "o.key"], path);
    bundle(
        path,
        "create bundle.toml --key o.key --passphrase-file word -o o.bundle",
    );
    bundle(path, "verify o.bundle --trust keys/release.pub");
    let wrong = "create bundle.toml --key o.key --passphrase-file wrong -o no.bundle";
    assert!(fails(path, 1, wrong).contains("the passphrase is wrong"));
    assert!(!path.join("no.bundle").exists());
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let folder = folder();
    let path = folder.path();
    for mode in ["0640", "0604", "0644"] {
        run("chmod", &[mode, "keys/release.key"], path);
        let said = fails(
            path,
            1,
            "create bundle.toml --key keys/release.key -o no.bundle",
        );
        assert!(said.contains(mode) && said.contains("chmod 600"), "{said}");
    }
    run("chmod", &["400", "keys/release.key"], path);
    bundle(
        path,
        "create bundle.toml --key keys/release.key -o yes.bundle",
    );
}

#[test]
fn a_trust_link_is_signed_by_both_parties_and_carried_by_a_bundle() {
    let folder = folder();
    let path = folder.path();
    bundle(path, "keygen -o keys/next");
    for (name, epoch, key) in [("t0", 0, "release"), ("t1", 1, "next")] {
        let pem = fs::read_to_string(path.join(format!("keys/{key}.pub"))).unwrap();
        let text = format!(
            "epoch = {epoch}\n[threshold]\nrelease = 1\n\
             [[key]]\nname = \"k\"\nroles = [\"release\"]\npublic_key = '''{pem}'''\n"
        );
        fs::write(path.join(format!("{name}.toml")), text).unwrap();
    }
    let link = |key: &str| {
        let arguments = "trust-link --from t0.toml --to t1.toml -o x.links --key keys/";
        let output = try_bundle(path, &format!("{arguments}{key}.key"));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(link("release").contains("link from key epoch 0 to 1, not complete"));
    assert!(link("next").contains("link from key epoch 0 to 1, complete"));
    assert!(link("next").contains("has already signed"));
    let back = "trust-link --from t1.toml --to t0.toml --key keys/next.key -o y.links";
    assert!(fails(path, 3, back).contains("key epoch 0, expected more than 1"));
    let recipe = crate::sample::RECIPE.replace(
        "rollback_index = 7",
        "rollback_index = 7\nkey_epoch = 1\ntrust_links = \"x.links\"",
    );
    fs::write(path.join("linked.toml"), recipe).unwrap();
    bundle(
        path,
        "create linked.toml --key keys/next.key -o linked.bundle",
    );
    for trust in ["t0.toml", "t1.toml"] {
        bundle(path, &format!("verify linked.bundle --trust {trust}"));
    }
}
