//! The catalogue of faults and attacks (docs/threat-model.md) names the tests that cover each: they
//! are there.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tests::catalogue::{NOTHING, rows as catalogue};

/// Rows of each part of the catalogue.
const PARTS: [(char, usize); 6] = [
    ('A', 26),
    ('B', 20),
    ('C', 22),
    ('D', 7),
    ('E', 25),
    ('F', 26),
];
/// Words of a test's name, at least, where it stands without its file.
const WORDS: usize = 4;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Every Rust source of the project, and what is in it.
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

/// Whether `name` is a file, a function, or a function in a file: `again.rs`,
/// `guard/tests/machine.rs::one_test`, `firmware::firmware_whose_store_is_full`.
fn is_there(name: &str, sources: &[(PathBuf, String)]) -> bool {
    let (place, function) = match name.rsplit_once("::") {
        Some((place, function)) => (Some(place), Some(function)),
        None if name.ends_with(".rs") => (Some(name), None),
        None => (None, Some(name)),
    };
    let in_place = |path: &Path| {
        place.is_none_or(|place| {
            path.ends_with(place) || path.ends_with(format!("{place}.rs")) || in_folder(path, place)
        })
    };
    sources.iter().any(|(path, text)| {
        in_place(path) && function.is_none_or(|name| text.contains(&format!("fn {name}(")))
    })
}

/// Whether `path` is a file of the folder `place`, such as `refused`.
fn in_folder(path: &Path, place: &str) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(place))
}

/// Whether what stands between backticks is to be a test: everything else there is a word of the
/// field.
fn is_test(name: &str) -> bool {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_/.:".contains(c));
    plain && (name.contains("::") || name.ends_with(".rs") || name.split('_').count() >= WORDS)
}

/// Whether the last cell of a row names something that shows it, or says that nothing does.
fn is_honest(cells: &str) -> bool {
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
        || cells
            .split('`')
            .skip(1)
            .step_by(2)
            .any(|name| name.contains(".rs") || name.starts_with("refused"));
    shown != NOTHING.iter().any(|none| cells.contains(none))
}

#[test]
fn every_row_of_the_catalogue_is_there_once_and_names_tests_that_exist() -> Result<()> {
    let text = fs::read_to_string(project().join("docs/threat-model.md"))?;
    let rows: Vec<(&str, &str)> = catalogue(&text).collect();
    let dishonest: Vec<_> = rows.iter().filter(|(_, cells)| !is_honest(cells)).collect();
    ensure!(
        dishonest.is_empty(),
        "rows that name no test, or one that is not to be there: {dishonest:?}"
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
        .filter(|name| !is_there(name, &sources))
        .collect();
    ensure!(
        missing.is_empty(),
        "docs/threat-model.md names tests that are not there: {missing:?}"
    );
    Ok(())
}

#[test]
fn what_is_not_there_is_noticed() -> Result<()> {
    let sources = sources()?;
    assert!(is_there(
        "catalogue.rs::what_is_not_there_is_noticed",
        &sources
    ));
    for name in [
        "catalogue.rs::what_is_there",
        "no_such.rs",
        "nowhere::what_is_not_there_is_noticed",
    ] {
        assert!(is_test(name) && !is_there(name, &sources), "{name}");
    }
    assert!(!is_test("BootOrder") && !is_test("update-revokes"));
    Ok(())
}
