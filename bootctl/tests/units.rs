//! The files in `dist` are valid: systemd accepts the units, the shell accepts the scripts, and all
//! of them use only existing verbs and options.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rayos-bootctl");

fn files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(dir);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn systemd_accepts_the_units() {
    let dir = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for file in files("systemd") {
        // systemd looks for the program.
        let text = std::fs::read_to_string(&file)
            .unwrap()
            .replace("/usr/bin/rayos-bootctl", PROGRAM);
        let unit = dir.path().join(file.file_name().unwrap());
        std::fs::write(&unit, text).unwrap();
        units.push(unit);
    }
    assert_eq!(units.len(), 2);
    match Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
    {
        // Without systemd the units cannot be checked; the public continuous integration has it.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => panic!("systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            // It also checks units of the distribution that ours depend on; their errors are
            // ignored.
            let ours: Vec<&str> = said
                .lines()
                .filter(|line| line.contains("rayos-health"))
                .collect();
            assert!(ours.is_empty(), "{said}");
        }
    }
}

#[test]
fn scripts_are_valid_shell_and_use_existing_verbs() {
    let mut seen = Vec::new();
    for file in files("init").into_iter().chain(files("systemd")) {
        let text = std::fs::read_to_string(&file).unwrap();
        if text.starts_with("#!/bin/sh") {
            let parsed = Command::new("sh").arg("-n").arg(&file).status().unwrap();
            assert!(parsed.success(), "{}", file.display());
        }
        for line in text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
        {
            let Some((_, rest)) = line.split_once("rayos-bootctl ") else {
                continue;
            };
            // The command ends where the shell takes over; a substitution counts as a word.
            let (rest, filled) = rest
                .split_once("\"$")
                .map_or((rest, false), |(rest, _)| (rest, true));
            let ends = |word: &&str| word.contains(['>', '|', '&', ';']);
            let words = rest.split_whitespace().take_while(|word| !ends(word));
            let words = words
                .map(|word| word.trim_end_matches([')', '"']))
                .chain(filled.then_some("word"));
            let words: Vec<&str> = words.collect();
            // The program refuses to print help for an unknown verb or option.
            let output = Command::new(PROGRAM)
                .args(&words)
                .arg("--help")
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}: {words:?}: {}",
                file.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            seen.push(words[0].to_owned());
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["booted", "health", "milestone", "root"]);
}
