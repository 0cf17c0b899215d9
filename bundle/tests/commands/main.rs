//! The program on the command line, together with independent tools: openssl, zstd, Python's cbor2.

mod keys_and_trust;
#[path = "../sample/mod.rs"]
mod sample;

use sample::{RECIPE, noise, root_image, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const BUNDLE: &str = env!("CARGO_BIN_EXE_rayos-bundle");

fn try_bundle(folder: &Path, args: &str) -> Output {
    Command::new(BUNDLE)
        .args(args.split_whitespace())
        .current_dir(folder)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .unwrap()
}

/// Runs a command line that must succeed, and returns its standard output.
fn bundle(folder: &Path, args: &str) -> Vec<u8> {
    let output = try_bundle(folder, args);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Runs a command line that must fail with this exit code, and returns its standard error.
fn fails(folder: &Path, code: i32, args: &str) -> String {
    let output = try_bundle(folder, args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args}: {stderr}");
    stderr
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// A folder with the sample's images and recipe, a key, and a signed bundle `x.bundle`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("root.img"), root_image()).unwrap();
    fs::write(path.join("boot.efi"), b"MZ boot program ".repeat(400)).unwrap();
    fs::write(path.join("bundle.toml"), RECIPE).unwrap();
    bundle(path, "keygen -o keys/release");
    bundle(
        path,
        "create bundle.toml --key keys/release.key -o x.bundle",
    );
    folder
}

#[test]
fn a_bundle_is_created_verified_inspected_and_extracted() {
    let folder = folder();
    let path = folder.path();
    assert_eq!(
        fs::metadata(path.join("keys/release.key"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    bundle(path, "verify x.bundle --trust keys/release.pub");
    let shown = json(&bundle(path, "inspect x.bundle --json"));
    assert_eq!(shown["schema"], "rayos-bundle.inspect/1");
    assert_eq!(
        (&shown["version"], &shown["rollback_index"]),
        (&Value::from("1.2.3"), &Value::from(7))
    );
    assert_eq!(shown["chunks"]["repeat"], 1);
    bundle(
        path,
        "extract x.bundle --trust keys/release.pub --image root -o out.img",
    );
    assert_eq!(fs::read(path.join("out.img")).unwrap(), root_image());
    assert_eq!(
        bundle(
            path,
            "extract x.bundle --trust keys/release.pub --image root -o -"
        ),
        root_image()
    );
}

#[test]
fn the_minimal_recipe() {
    let folder = folder();
    let least = "[release]\nversion = \"1.0.0\"\nrollback_index = 1\ncompatible = [\"rayos-x86_64\"]\n[[image]]\nrole = \"root\"\npath = \"root.img\"\n";
    fs::write(folder.path().join("least.toml"), least).unwrap();
    bundle(
        folder.path(),
        "create least.toml --key keys/release.key -o least.bundle",
    );
    bundle(
        folder.path(),
        "verify least.bundle --trust keys/release.pub --json",
    );
}

#[test]
fn other_tools_decode_chunks_and_manifest() {
    let folder = folder();
    let path = folder.path();
    let file = fs::read(path.join("x.bundle")).unwrap();
    let listing = json(&bundle(path, "list x.bundle --chunks --json"));
    let chunks: Vec<&Value> = listing["chunks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|chunk| chunk["image"] == "root")
        .collect();
    let mut root = Vec::new();
    for chunk in &chunks {
        let number = |name: &str| chunk[name].as_u64().unwrap() as usize;
        let stored = &file[number("file_offset")..number("file_offset") + number("stored")];
        match chunk["kind"].as_str().unwrap() {
            "zstd" => {
                fs::write(path.join("chunk.zst"), stored).unwrap();
                fs::write(path.join("before"), &root[root.len() - number("before")..]).unwrap();
                root.extend(run(
                    "zstd",
                    &["-dc", "chunk.zst", "--patch-from=before"],
                    path,
                ));
            }
            "raw" => root.extend(stored),
            "zero" => root.resize(root.len() + number("len"), 0),
            "repeat" => {
                let of = chunks
                    .iter()
                    .find(|of| of["sha256"] == chunk["sha256"])
                    .unwrap()["offset"]
                    .as_u64()
                    .unwrap() as usize;
                root.extend_from_within(of..of + number("len"));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(root, root_image());
    bundle(path, "cat-manifest x.bundle -o m.cbor");
    let script = "import cbor2,sys;b=open('m.cbor','rb').read();m=cbor2.loads(b);assert cbor2.dumps(m,canonical=True)==b;print(m['version'],m['rollback_index'],[i['role'] for i in m['images']])";
    assert_eq!(
        run("/usr/bin/python3", &["-c", script], path),
        b"1.2.3 7 ['boot', 'root']\n"
    );
    let manifest = fs::read(path.join("m.cbor")).unwrap();
    assert!(file[4096..].starts_with(&manifest));
}

#[test]
fn the_result_depends_neither_on_pipes_nor_on_the_number_of_threads() {
    let folder = folder();
    let path = folder.path();
    let file = fs::read(path.join("x.bundle")).unwrap();
    assert_eq!(
        bundle(path, "create bundle.toml --key keys/release.key -o -"),
        file
    );
    for jobs in [1, 2, 5] {
        bundle(
            path,
            &format!("create bundle.toml --key keys/release.key --jobs {jobs} -o j.bundle"),
        );
        assert_eq!(fs::read(path.join("j.bundle")).unwrap(), file, "{jobs}");
    }
    let mut child = Command::new(BUNDLE)
        .args(["verify", "-", "--trust", "keys/release.pub"])
        .current_dir(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &file).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn source_date_epoch_is_the_creation_time() {
    let folder = folder();
    let path = folder.path();
    let output = Command::new(BUNDLE)
        .args([
            "create",
            "bundle.toml",
            "--key",
            "keys/release.key",
            "-o",
            "d.bundle",
            "--json",
        ])
        .current_dir(path)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    assert_eq!(json(&output.stdout)["created"], 1_700_000_000);
}

#[test]
fn differences_between_releases_and_on_a_device() {
    let folder = folder();
    let path = folder.path();
    let mut root = root_image();
    root[4096..8192].copy_from_slice(&noise(5, 4096));
    fs::write(path.join("root.img"), &root).unwrap();
    bundle(
        path,
        "create bundle.toml --key keys/release.key -o z.bundle",
    );
    let diff = json(&bundle(path, "diff x.bundle z.bundle --json"));
    let image = &diff["images"][1];
    assert_eq!(
        (&image["role"], &image["new"], &image["zero"]),
        (&"root".into(), &4096.into(), &12288.into())
    );
    // Chunk 4 of the older release repeats chunk 2; in the newer one it has its own stored bytes.
    assert_eq!(
        (&image["same"], &image["moved"]),
        (&(4096 + 2 * 4096 + 800).into(), &0.into())
    );
    bundle(path, "compare z.bundle --against root.img");
    let device = fs::OpenOptions::new()
        .write(true)
        .open(path.join("root.img"))
        .unwrap();
    device.write_all_at(b"x", 20000).unwrap();
    let stderr = try_bundle(path, "compare z.bundle --against root.img");
    assert_eq!(
        (stderr.status.code(), stderr.stdout.as_slice()),
        (Some(3), b"8192 + 12288\n".as_slice())
    );
    device.set_len(4096).unwrap();
    assert!(
        fails(path, 3, "compare z.bundle --against root.img")
            .contains("image root: 5 of 6 chunks differ")
    );
}

#[test]
fn an_error_in_a_recipe_names_file_line_and_key() {
    let folder = folder();
    let path = folder.path();
    for (from, to, stderr) in [
        (
            "version = \"1.2.3\"",
            "version = \"1 2\"",
            "bad.toml:3: version: \"1 2\", expected 1 to 64 printable",
        ),
        (
            "rollback_index",
            "rollback_indx",
            "unknown field `rollback_indx`",
        ),
        ("rollback_index = 7", "rollback_index = -7", "line 4"),
        (
            "chunk_size = 4096",
            "chunk_size = 5000",
            "bad.toml:12: chunk_size: 5000, expected a multiple of 4096",
        ),
        (
            "role = \"boot\"",
            "role = \"root\"",
            "bad.toml:20: role: duplicate image root",
        ),
        (
            "role = \"boot\"",
            "role = \"boat\"",
            "unknown variant `boat`",
        ),
        (
            "\"rayos-x86_64\"",
            "",
            "bad.toml:5: compatible: at least one name is required",
        ),
        (
            "path = \"root.img\"",
            "path = \"none.img\"",
            "none.img: No such file",
        ),
        ("[build]", "[release]", "duplicate key"),
    ] {
        assert!(RECIPE.contains(from), "{from}");
        fs::write(path.join("bad.toml"), RECIPE.replacen(from, to, 1)).unwrap();
        let said = fails(
            path,
            1,
            "create bad.toml --key keys/release.key -o no.bundle",
        );
        assert!(said.contains(stderr), "{said}");
        assert!(!path.join("no.bundle").exists());
    }
}

#[test]
fn existing_files_are_not_overwritten_by_mistake() {
    let folder = folder();
    let path = folder.path();
    assert!(fails(path, 1, "keygen -o keys/release").contains("File exists"));
    assert!(
        fails(
            path,
            1,
            "extract x.bundle --trust keys/release.pub --image root -o /dev/null"
        )
        .contains("not a regular file")
    );
    assert!(
        fails(
            path,
            1,
            "extract x.bundle --trust keys/release.pub --image guard -o g"
        )
        .contains("release has no image guard")
    );
    fails(path, 2, "extract x.bundle --image root -o g");
    fails(path, 2, "verify x.bundle");
    fails(path, 2, "create bundle.toml -o g");
    let left: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 5, "{left:?}");
}

#[test]
fn a_bundle_that_is_refused_at_its_end_changes_no_file() {
    let folder = folder();
    let path = folder.path();
    let mut bytes = fs::read(path.join("x.bundle")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path.join("bad.bundle"), &bytes).unwrap();
    fs::write(path.join("old.img"), b"an older image").unwrap();
    let files = || fs::read_dir(path).unwrap().count();
    let before = files();
    for (jobs, access) in [(1, "--trust keys/release.pub"), (4, "--insecure-no-verify")] {
        for out in ["new.img", "old.img"] {
            let stderr = fails(
                path,
                3,
                &format!("extract bad.bundle {access} --image root -o {out} --jobs {jobs}"),
            );
            assert!(stderr.contains("block hints: digest mismatch"), "{stderr}");
        }
    }
    assert_eq!(files(), before);
    assert_eq!(fs::read(path.join("old.img")).unwrap(), b"an older image");
}

#[test]
fn a_sparse_image_of_8_gib_needs_space_for_its_data_only() {
    let folder = folder();
    let path = folder.path();
    let file = fs::File::create(path.join("root.img")).unwrap();
    file.set_len(8 << 30).unwrap();
    file.write_all_at(b"beyond four gibibytes", 5 << 30)
        .unwrap();
    file.write_all_at(b"the last bytes", (8 << 30) - 14)
        .unwrap();
    // Without a chunk size in the recipe, it grows with the image.
    let least = "[release]\nversion = \"1\"\nrollback_index = 1\ncompatible = [\"x\"]\n[[image]]\nrole = \"root\"\npath = \"root.img\"\n";
    fs::write(path.join("big.toml"), least).unwrap();
    bundle(path, "create big.toml --key keys/release.key -o big.bundle");
    assert_eq!(
        json(&bundle(path, "inspect big.bundle --json"))["images"][0]["chunk_size"],
        32 << 10
    );
    assert!(fs::metadata(path.join("big.bundle")).unwrap().len() < 300_000);
    bundle(path, "verify big.bundle --trust keys/release.pub");
    bundle(
        path,
        "extract big.bundle --trust keys/release.pub --image root -o big.img",
    );
    let out = fs::File::open(path.join("big.img")).unwrap();
    assert_eq!(out.metadata().unwrap().len(), 8 << 30);
    // Two chunks have content; some blocks belong to the file system.
    let two_chunks = 2 * (32 << 10) / 512;
    let blocks = std::os::unix::fs::MetadataExt::blocks(&out.metadata().unwrap());
    assert!(blocks <= two_chunks + 16, "{blocks} blocks");
    let mut bytes = [0; 21];
    out.read_exact_at(&mut bytes, 5 << 30).unwrap();
    assert_eq!(&bytes, b"beyond four gibibytes");
    out.read_exact_at(&mut bytes[..14], (8 << 30) - 14).unwrap();
    assert_eq!(&bytes[..14], b"the last bytes");
}

#[test]
fn completions_and_man_pages_are_generated() {
    let folder = folder();
    bundle(folder.path(), "generate completions --output out");
    bundle(folder.path(), "generate man -o out");
    for name in [
        "rayos-bundle.bash",
        "_rayos-bundle",
        "rayos-bundle.fish",
        "rayos-bundle.1",
        "rayos-bundle-verify.1",
    ] {
        assert!(folder.path().join("out").join(name).exists(), "{name}");
    }
}
