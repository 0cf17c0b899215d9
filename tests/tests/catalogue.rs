//! The catalogue of faults and attacks (docs/threat-model.md) names the tests that cover each row.
//! These tests exist.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tests::catalogue::{NOTHING, rows as catalogue};

/// Number of rows of each part of the catalogue.
const PARTS: [(char, usize); 6] = [
    ('A', 26),
    ('B', 20),
    ('C', 22),
    ('D', 7),
    ('E', 25),
    ('F', 26),
];
/// Minimum number of words of a test's name without its file.
const WORDS: usize = 4;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Every Rust source of the project, with its text.
fn sources() -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let packages = [
        "bundle",
        "bootctl",
        "updater",
        "installer",
        "recovery",
        "tests",
    ];
    let mut folders: Vec<PathBuf> = packages
        .iter()
        .map(|package| project().join(package))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                found.push((path, text));
            }
        }
    }
    Ok(found)
}

/// True if `name` is a file, a function, or a function in a file: `reinstall.rs`,
/// `guard/tests/machine.rs::one_test`, `firmware::firmware_whose_store_is_full`.
fn exists(name: &str, sources: &[(PathBuf, String)]) -> bool {
    let (place, function) = match name.rsplit_once("::") {
        Some((place, function)) => (Some(place.replace("::", "/")), Some(function)),
        None if name.ends_with(".rs") => (Some(name.to_owned()), None),
        None => (None, Some(name)),
    };
    let in_place = |path: &Path| {
        place.as_deref().is_none_or(|place| {
            path.ends_with(place) || path.ends_with(format!("{place}.rs")) || in_folder(path, place)
        })
    };
    sources.iter().any(|(path, text)| {
        in_place(path) && function.is_none_or(|name| text.contains(&format!("fn {name}(")))
    })
}

/// True if `path` is a file of the folder `place`, such as `refused`.
fn in_folder(path: &Path, place: &str) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(place))
}

/// True if a word between backticks should be a test. *Pure.*
fn is_test(name: &str) -> bool {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_/.:".contains(c));
    plain && (name.contains("::") || name.ends_with(".rs") || name.split('_').count() >= WORDS)
}

/// True if the last cell of a row either names a test or has one of the words for no test. *Pure.*
fn is_complete(cells: &str) -> bool {
    let shown = [
        "Model",
        "Lab",
        "SIM",
        "QEMU",
        "fuzz target",
        "second reader",
    ]
    .iter()
    .any(|by| cells.contains(by))
        || cells.split('`').skip(1).step_by(2).any(is_test);
    shown != NOTHING.iter().any(|none| cells.contains(none))
}

#[test]
fn every_row_exists_once_and_names_tests_that_exist() -> Result<()> {
    let text = fs::read_to_string(project().join("docs/threat-model.md"))?;
    let rows: Vec<(&str, &str)> = catalogue(&text).collect();
    let incomplete: Vec<_> = rows
        .iter()
        .filter(|(_, cells)| !is_complete(cells))
        .collect();
    ensure!(
        incomplete.is_empty(),
        "rows without a test, or with a test and words for no test: {incomplete:?}"
    );
    let ids: Vec<String> = rows.iter().map(|(id, _)| (*id).to_owned()).collect();
    let all: Vec<String> = PARTS
        .iter()
        .flat_map(|(part, count)| (1..=*count).map(move |number| format!("{part}{number:02}")))
        .collect();
    assert_eq!(ids, all);

    let sources = sources()?;
    let named: BTreeSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| is_test(name))
        .collect();
    assert!(named.len() > 80, "only {} tests are named", named.len());
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !exists(name, &sources))
        .collect();
    ensure!(
        missing.is_empty(),
        "docs/threat-model.md names tests that do not exist: {missing:?}"
    );
    Ok(())
}

#[test]
fn missing_tests_are_detected() -> Result<()> {
    let sources = sources()?;
    assert!(exists("catalogue.rs::missing_tests_are_detected", &sources));
    for name in [
        "catalogue.rs::what_exists",
        "no_such.rs",
        "nowhere::missing_tests_are_detected",
    ] {
        assert!(is_test(name) && !exists(name, &sources), "{name}");
    }
    assert!(!is_test("BootOrder") && !is_test("update-revokes"));
    Ok(())
}
