//! Standard input and output instead of files, for every verb.

mod sample;

use sample::{RECIPE, noise, root_image};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Runs a command line with `input` in a pipe. It need not read all of it.
fn piped(folder: &Path, args: &str, input: &[u8]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_rayos-bundle"));
    program
        .args(args.split_whitespace())
        .current_dir(folder)
        .env_remove("SOURCE_DATE_EPOCH");
    let pipes = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    match writer.join().unwrap() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => panic!("{args}: {error}"),
        _ => output,
    }
}

fn succeeds(folder: &Path, args: &str, input: &[u8]) -> Vec<u8> {
    let output = piped(folder, args, input);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn fails(folder: &Path, code: i32, args: &str, input: &[u8]) -> String {
    let output = piped(folder, args, input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(code), 0),
        "{args}: {stderr}"
    );
    stderr
}

/// A folder with the sample's images and recipe and a key, and a signed bundle.
fn folder() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("root.img"), root_image()).unwrap();
    fs::write(path.join("boot.efi"), b"MZ boot program ".repeat(400)).unwrap();
    fs::write(path.join("bundle.toml"), RECIPE).unwrap();
    succeeds(path, "keygen -o k", b"");
    succeeds(path, "create bundle.toml --key k.key -o x.bundle", b"");
    let bundle = fs::read(path.join("x.bundle")).unwrap();
    (folder, bundle)
}

#[test]
fn paths_in_a_recipe_from_a_pipe_are_relative_to_the_current_directory() {
    let (folder, bundle) = folder();
    let path = folder.path();
    assert!(succeeds(path, "create - --key k.key -o y.bundle", RECIPE.as_bytes()).is_empty());
    assert!(fs::read(path.join("y.bundle")).unwrap() == bundle);
    assert!(succeeds(path, "create - --key k.key -o -", RECIPE.as_bytes()) == bundle);
    let wrong = RECIPE.replacen("version = \"1.2.3\"", "version = \"1 2\"", 1);
    let stderr = fails(path, 1, "create - --key k.key -o -", wrong.as_bytes());
    assert!(
        stderr.starts_with(
            "rayos-bundle: standard input:3: version: \"1 2\", expected 1 to 64 printable"
        ),
        "{stderr}"
    );
    let stderr = fails(
        path,
        1,
        "create - --key k.key -o -",
        b"[release]\nversion = \"\xff\"",
    );
    assert!(
        stderr.starts_with("rayos-bundle: standard input: "),
        "{stderr}"
    );
}

#[test]
fn every_verb_that_only_reads_takes_a_bundle_from_a_pipe() {
    let (folder, bundle) = folder();
    let path = folder.path();
    let stderr = succeeds(path, "verify - --trust k.pub", &bundle);
    assert_eq!(
        stderr,
        b"standard input: release 1.2.3: every byte and the signatures verified\n"
    );
    assert!(succeeds(path, "extract - --trust k.pub --image root -o -", &bundle) == root_image());
    for verb in ["inspect", "list", "cat-manifest", "digest"] {
        let from_file = succeeds(path, &format!("{verb} x.bundle"), b"");
        assert!(
            !from_file.is_empty() && succeeds(path, &format!("{verb} -"), &bundle) == from_file,
            "{verb}"
        );
    }
    assert_eq!(succeeds(path, "digest -", &bundle), bundle[..512]);
    assert!(succeeds(path, "compare - --against root.img", &bundle).is_empty());
    let same = succeeds(path, "diff x.bundle x.bundle", b"");
    for pair in ["- x.bundle", "x.bundle -"] {
        assert_eq!(succeeds(path, &format!("diff {pair}"), &bundle), same);
    }
}

#[test]
fn a_refusal_of_a_bundle_from_a_pipe_names_standard_input() {
    let (folder, mut bundle) = folder();
    let path = folder.path();
    let (last, len) = (bundle.len() - 1, bundle.len());
    let cut = fails(path, 3, "verify - --trust k.pub", &bundle[..last]);
    assert!(
        cut.starts_with("rayos-bundle: standard input: block hints ends after "),
        "{cut}"
    );
    bundle[last] ^= 1;
    for verb in ["verify -", "extract - --image root -o -"] {
        let stderr = fails(path, 3, &format!("{verb} --trust k.pub"), &bundle);
        assert!(
            stderr.starts_with("rayos-bundle: standard input: block hints: digest mismatch"),
            "{stderr}"
        );
    }
    bundle[last] ^= 1;
    bundle.push(0);
    let stderr = fails(path, 3, "verify - --trust k.pub", &bundle);
    assert_eq!(
        stderr,
        format!("rayos-bundle: standard input: data after the end of the bundle, at byte {len}\n")
    );
    let stderr = fails(path, 3, "inspect -", &noise(3, 5000));
    assert_eq!(
        stderr,
        "rayos-bundle: standard input: not a RayOS bundle or boot image\n"
    );
    assert!(
        fails(path, 1, "digest -", &bundle[..4000]).starts_with("rayos-bundle: standard input: ")
    );
}

#[test]
fn verbs_that_need_a_file_refuse_a_pipe() {
    let (folder, bundle) = folder();
    let path = folder.path();
    fs::write(path.join("sig"), [0; 64]).unwrap();
    for (code, args, words) in [
        (
            1,
            "sign - --key k.key",
            "standard input cannot be signed in place: name a file",
        ),
        (
            1,
            "attach - --public-key k.pub --signature sig",
            "standard input cannot be signed in place",
        ),
        (
            1,
            "diff - -",
            "standard input cannot be both bundles: name a file",
        ),
        (
            1,
            "delta - x.bundle --key k.key -o d",
            "standard input cannot be read twice: name a file",
        ),
        (
            1,
            "verify x.bundle --trust k.pub --base -",
            "standard input cannot be read twice: name a file",
        ),
        (
            2,
            "create bundle.toml --key k.key --json -o -",
            "--json cannot be used with a bundle on standard output",
        ),
        (
            2,
            "delta x.bundle x.bundle --key k.key --json -o -",
            "--json cannot be used with a bundle on standard output",
        ),
        (2, "create bundle.toml -o y", "<--key <FILE>|--unsigned>"),
        (
            2,
            "create bundle.toml --key k.key --unsigned -o y",
            "cannot be used with",
        ),
        (
            2,
            "extract x.bundle --image root -o y",
            "<--trust <FILE>|--insecure-no-verify>",
        ),
    ] {
        let said = fails(path, code, args, &bundle);
        assert!(said.contains(words), "{args}: {said}");
    }
    assert!(!path.join("y").exists() && !path.join("d").exists());
}

#[test]
fn a_closed_pipe_is_an_error_only_for_an_extracted_image() {
    let (folder, _) = folder();
    let run = |args: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut program = Command::new(env!("CARGO_BIN_EXE_rayos-bundle"));
        let output = program
            .args(args.split_whitespace())
            .current_dir(folder.path())
            .stdout(writer)
            .output();
        let output = output.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for args in ["list x.bundle --chunks", "inspect x.bundle --json"] {
        assert_eq!(run(args), (Some(0), String::new()), "{args}");
    }
    let (code, stderr) = run("extract x.bundle --trust k.pub --image root -o -");
    assert!(
        code == Some(1) && stderr.contains("Broken pipe"),
        "{stderr}"
    );
}

#[test]
fn binary_data_is_not_written_to_a_terminal() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let (folder, _) = folder();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new())
        .unwrap()
        .into_string()
        .unwrap();
    for args in [
        "create bundle.toml --unsigned -o -",
        "extract x.bundle --trust k.pub --image root -o -",
        "cat-manifest x.bundle",
        "digest x.bundle",
        "trust-block --trust k.pub -o -",
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_rayos-bundle"));
        program
            .args(args.split_whitespace())
            .current_dir(folder.path());
        let output = program
            .stdout(File::options().write(true).open(&name).unwrap())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args}: {stderr}");
        assert!(
            stderr.starts_with("rayos-bundle: standard output is a terminal: name a file"),
            "{args}: {stderr}"
        );
    }
}
