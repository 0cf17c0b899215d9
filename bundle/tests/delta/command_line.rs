//! Delta bundles on the command line, and decoded by the program zstd.

use super::{Edit, edited, recipe, words};
use crate::sample::{noise, run};
use bundle::keys::SecretKey;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const BUNDLE: &str = env!("CARGO_BIN_EXE_rayos-bundle");

/// Runs a command line; returns exit code, standard output and standard error.
fn command(folder: &Path, args: &str) -> (i32, Vec<u8>, String) {
    let output = Command::new(BUNDLE)
        .args(args.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        output.stdout,
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn succeed(folder: &Path, args: &str) -> Vec<u8> {
    let (code, out, stderr) = command(folder, args);
    assert_eq!(code, 0, "{args}: {stderr}");
    out
}

/// A folder with two releases, their root images, and the key `k`.
fn folder() -> (TempDir, Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let root = [noise(1, 1_500_000), words(2, 1_000_000)].concat();
    let edits = [
        Edit::Insert {
            at: 700_000,
            seed: 8,
            len: 5000,
        },
        Edit::Overwrite {
            at: 1_600_000,
            seed: 9,
            len: 70_000,
        },
    ];
    let changed = edited(&root, &edits);
    fs::write(path.join("root.img"), &root).unwrap();
    fs::write(path.join("old.toml"), recipe("1.0.0", 1, &["root"])).unwrap();
    fs::write(path.join("new.toml"), recipe("1.1.0", 2, &["root"])).unwrap();
    succeed(path, "keygen -o k");
    succeed(path, "create old.toml --key k.key -o 1.0.0.bundle");
    fs::write(path.join("root.img"), &changed).unwrap();
    succeed(path, "create new.toml --key k.key -o 1.1.0.bundle");
    (folder, root, changed)
}

#[test]
fn a_delta_is_created_verified_inspected_and_extracted() {
    let (folder, _, changed) = folder();
    let path = folder.path();
    let made = succeed(
        path,
        "delta 1.0.0.bundle 1.1.0.bundle --key k.key -o x.delta --json",
    );
    let made: Value = serde_json::from_slice(&made).unwrap();
    assert_eq!(
        (&made["version"], &made["base"]),
        (&Value::from("1.1.0"), &Value::from("1.0.0"))
    );
    assert!(made["bundle_len"].as_u64().unwrap() < 60_000, "{made}");
    succeed(path, "verify x.delta --trust k.pub");
    succeed(path, "verify x.delta --trust k.pub --base 1.0.0.bundle");
    let shown = String::from_utf8(succeed(path, "inspect x.delta --trust k.pub")).unwrap();
    assert!(shown.contains("delta from      1.0.0\n"), "{shown}");
    succeed(path, "list x.delta --chunks");
    assert!(
        succeed(
            path,
            "extract x.delta --trust k.pub --base 1.0.0.bundle --image root -o -"
        ) == changed
    );
    succeed(
        path,
        "delta 1.0.0.bundle 1.1.0.bundle --key k.key -o y.delta --jobs 1",
    );
    assert!(fs::read(path.join("x.delta")).unwrap() == fs::read(path.join("y.delta")).unwrap());
    let out = succeed(
        path,
        "delta 1.0.0.bundle 1.1.0.bundle --unsigned --trust k.pub -o -",
    );
    fs::write(path.join("z.delta"), out).unwrap();
    succeed(path, "sign z.delta --key k.key");
    assert!(fs::read(path.join("x.delta")).unwrap() == fs::read(path.join("z.delta")).unwrap());
    let left: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );
}

#[test]
fn command_lines_that_are_refused() {
    let (folder, ..) = folder();
    let path = folder.path();
    let refused = |code: i32, args: &str, words: &str| {
        let (found, _, stderr) = command(path, args);
        assert_eq!(found, code, "{args}: {stderr}");
        assert!(stderr.contains(words), "{args}: {stderr}");
    };
    let make = "--key k.key -o x.delta";
    refused(
        3,
        &format!("delta 1.0.0.bundle 1.0.0.bundle {make}"),
        "both bundles are release 1.0.0",
    );
    refused(
        3,
        &format!("delta 1.1.0.bundle 1.0.0.bundle {make}"),
        "rollback index 1, less than 2 of release 1.1.0",
    );
    refused(
        1,
        &format!("delta - 1.1.0.bundle {make}"),
        "standard input cannot be read twice",
    );
    refused(
        1,
        &format!("delta none 1.1.0.bundle {make}"),
        "none: No such file",
    );
    refused(2, "delta 1.0.0.bundle 1.1.0.bundle -o x.delta", "--key");
    refused(
        2,
        "delta 1.0.0.bundle 1.1.0.bundle --unsigned -o x.delta",
        "--trust",
    );
    let other = SecretKey::from_seed(&[1; 32]).to_pem(None).unwrap();
    fs::write(path.join("other.key"), other.as_bytes()).unwrap();
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path.join("other.key"), private).unwrap();
    refused(
        3,
        "delta 1.0.0.bundle 1.1.0.bundle --key other.key -o x.delta",
        "1.0.0.bundle",
    );
    assert!(!path.join("x.delta").exists());
    succeed(path, &format!("delta 1.0.0.bundle 1.1.0.bundle {make}"));
    refused(
        1,
        "extract x.delta --trust k.pub --image root -o out",
        "needs release 1.0.0 as its base",
    );
    refused(
        3,
        "extract x.delta --trust k.pub --base 1.1.0.bundle --image root -o out",
        "the given base is release 1.1.0",
    );
    refused(
        3,
        "verify 1.1.0.bundle --trust k.pub --base 1.0.0.bundle",
        "not a delta bundle",
    );
    refused(
        1,
        "delta 1.0.0.bundle x.delta --key k.key -o y.delta",
        "x.delta",
    );
}

#[test]
fn the_zstd_program_decodes_every_chunk_with_its_base() {
    let (folder, root, changed) = folder();
    let path = folder.path();
    succeed(
        path,
        "delta 1.0.0.bundle 1.1.0.bundle --key k.key -o x.delta",
    );
    let list: Value =
        serde_json::from_slice(&succeed(path, "list x.delta --chunks --json")).unwrap();
    let file = fs::read(path.join("x.delta")).unwrap();
    let mut image = Vec::new();
    for chunk in list["chunks"].as_array().unwrap() {
        let number = |of: &Value, name: &str| of[name].as_u64().unwrap() as usize;
        let at = number(chunk, "file_offset");
        assert_eq!(chunk["kind"], "delta");
        fs::write(
            path.join("chunk.zst"),
            &file[at..at + number(chunk, "stored")],
        )
        .unwrap();
        let ranges = chunk["base"].as_array().unwrap().iter();
        let prefix = ranges.map(|range| &root[number(range, "offset")..][..number(range, "len")]);
        fs::write(path.join("prefix"), prefix.collect::<Vec<_>>().concat()).unwrap();
        image.extend(run(
            "zstd",
            &["-dc", "chunk.zst", "--patch-from=prefix"],
            path,
        ));
    }
    assert!(image == changed);
}
