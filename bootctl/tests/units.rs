//! What is in `dist` is sound: the systemd units by the word of systemd, the scripts by that of
//! their shell, and all of them name only verbs and options that there are.

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
        // It looks for the program.
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
        // A machine without systemd has no use for the units either; the public continuous
        // integration has it.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => panic!("systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            // It judges all that the units lean on, too; what the distribution's own units do is
            // not ours to mend.
            let ours: Vec<&str> = said
                .lines()
                .filter(|line| line.contains("rayos-health"))
                .collect();
            assert!(ours.is_empty(), "{said}");
        }
    }
}

#[test]
fn scripts_are_shell_and_name_verbs_that_there_are() {
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
            // Up to whatever the shell does with the rest of the line; what it fills in is a word,
            // whatever it is.
            let (rest, filled) = rest
                .split_once("\"$")
                .map_or((rest, false), |(rest, _)| (rest, true));
            let ends = |word: &&str| word.contains(['>', '|', '&', ';']);
            let words = rest.split_whitespace().take_while(|word| !ends(word));
            let words = words
                .map(|word| word.trim_end_matches([')', '"']))
                .chain(filled.then_some("word"));
            let words: Vec<&str> = words.collect();
            // Its help is refused for a verb or an option that there is not.
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
