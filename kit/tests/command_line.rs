//! `rayos-build` as a program: exit codes, messages, and a plan that writes nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program with an empty `PATH`.
fn run(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_rayos-build"))
        .args(arguments)
        .current_dir(folder)
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A folder with a product whose tree has a kernel.
fn product() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put(
        "rayos.toml",
        "[release]\nversion = \"1.0.0\"\nrollback_index = 1\ncompatible = \"x\"\n[root]\ntree = \"root\"\n",
    );
    put("root/boot/vmlinuz-6.1", "kernel");
    put("root/boot/initrd.img-6.1", "initramfs");
    put("root/usr/lib/os-release", "ID=x\n");
    folder
}

#[test]
fn a_missing_or_wrong_configuration_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, words) = run(&["build"], folder.path());
    assert_eq!(code, Some(2));
    assert!(words.starts_with("rayos-build: ./rayos.toml: "), "{words}");

    let folder = product();
    let (code, _, words) = run(&["build", "--version", "a b"], folder.path());
    assert_eq!(code, Some(2));
    assert!(words.contains("[release] version = \"a b\""), "{words}");
}

#[test]
fn missing_programs_are_named_before_anything_is_written() {
    let folder = product();
    let (code, _, words) = run(&["build"], folder.path());
    assert_eq!(code, Some(5), "{words}");
    for program in [
        "mkfs.erofs (package erofs-utils)",
        "rayos-bundle (package rayos-tools)",
        "./root/usr/lib/rayos/rayos-root (package rayos-system, in the root tree)",
    ] {
        assert!(words.contains(program), "{program}: {words}");
    }
    assert!(!folder.path().join("out").exists());
    assert!(!folder.path().join("root/etc").exists());
}

#[test]
fn the_plan_is_printed_and_nothing_is_written() {
    let folder = product();
    let (code, steps, _) = run(&["build", "--plan", "--version", "2.0.0"], folder.path());
    assert_eq!(code, Some(0));
    assert!(steps.ends_with("-o ./out/rayos-2.0.0.bundle\n"), "{steps}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn init_without_the_program_that_makes_keys_names_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, words) = run(&["init", "new"], folder.path());
    assert_eq!(code, Some(1));
    assert!(
        words.contains("rayos-bundle (package rayos-tools)"),
        "{words}"
    );
    // It failed before the key existed, so that nothing looks complete.
    assert!(!folder.path().join("new/trust.toml").exists());
}
