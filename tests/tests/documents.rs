//! The documents: their width, their links, and the files that they name.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use tests::project::{ProjectFile, documents, files, has_extension, root};

/// Maximum number of characters of a line, except in tables and code.
const WIDTH: usize = 120;
/// Extensions of files that documents name by their path.
const EXTENSIONS: [&str; 7] = ["rs", "py", "sh", "md", "toml", "yml", "json"];
/// Files that documents name and that belong to the reader, not to the project.
const FOREIGN: [&str; 5] = [
    "bundle.toml",
    "install.toml",
    "system.toml",
    "trust.toml",
    "layout.toml",
];

#[test]
fn lines_wrap_at_the_width() -> Result<()> {
    let mut long = Vec::new();
    for document in documents()? {
        for (number, line) in prose_lines(&document.text) {
            let width = line.chars().count();
            if width > WIDTH && !line.starts_with('|') {
                long.push(format!("{}:{number}: {width} characters", document.path));
            }
        }
    }
    ensure!(
        long.is_empty(),
        "lines of more than {WIDTH} characters:\n{}",
        long.join("\n")
    );
    Ok(())
}

#[test]
fn relative_links_lead_to_files_and_headings() -> Result<()> {
    let all = documents()?;
    let mut broken = Vec::new();
    let mut checked = 0;
    for document in &all {
        for (number, line) in prose_lines(&document.text) {
            for target in links(&line) {
                checked += 1;
                if let Err(reason) = follow(document, &target, &all) {
                    broken.push(format!("{}:{number}: {target}: {reason}", document.path));
                }
            }
        }
    }
    assert!(checked > 50, "only {checked} links were found");
    ensure!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    Ok(())
}

#[test]
fn files_named_in_documents_exist() -> Result<()> {
    let paths: BTreeSet<String> = files("")?.into_iter().map(|file| file.path).collect();
    let mut missing = Vec::new();
    let mut checked = 0;
    for document in documents()? {
        for (number, line) in prose_lines(&document.text) {
            for name in code_spans(&line).filter(|name| names_a_file(name)) {
                checked += 1;
                if !exists(&name, &paths) {
                    missing.push(format!("{}:{number}: {name}", document.path));
                }
            }
        }
    }
    assert!(checked > 100, "only {checked} names were found");
    ensure!(
        missing.is_empty(),
        "files that do not exist:\n{}",
        missing.join("\n")
    );
    Ok(())
}

#[test]
fn packages_have_complete_metadata_and_the_lints_of_the_workspace() -> Result<()> {
    let keys = [
        "description = \"",
        "license.workspace = true",
        "repository.workspace = true",
        "homepage.workspace = true",
        "documentation.workspace = true",
        "readme.workspace = true",
        "rust-version.workspace = true",
        "keywords = [",
        "categories = [",
        "\n[lints",
    ];
    let mut lacking = Vec::new();
    let mut packages = 0;
    for file in files("")? {
        let is_package = file.path.ends_with("/Cargo.toml") && !file.path.contains("fuzz/");
        if !is_package {
            continue;
        }
        packages += 1;
        for key in keys.iter().filter(|key| !file.text.contains(**key)) {
            lacking.push(format!("{}: {}", file.path, key.trim()));
        }
    }
    assert!(packages > 10, "only {packages} packages were found");
    ensure!(lacking.is_empty(), "missing:\n{}", lacking.join("\n"));
    Ok(())
}

#[test]
fn wrong_links_and_names_are_noticed() {
    let document = ProjectFile {
        path: "docs/boot.md".to_owned(),
        text: String::new(),
    };
    let other = ProjectFile {
        path: "docs/format.md".to_owned(),
        text: "# The format\n\n## Block hints\n".to_owned(),
    };
    let all = [document, other];
    assert_eq!(follow(&all[0], "format.md#block-hints", &all), Ok(()));
    assert_eq!(follow(&all[0], "../README.md", &all), Ok(()));
    assert!(follow(&all[0], "format.md#hints", &all).is_err());
    assert!(follow(&all[0], "no-such.md", &all).is_err());

    let paths = BTreeSet::from(["bootctl/record/tests/bytes.rs".to_owned()]);
    assert!(exists("record/tests/bytes.rs", &paths) && exists("bytes.rs", &paths));
    assert!(exists("tests/tests", &paths) && !exists("tests/no-such-folder", &paths));
    assert!(!exists("ytes.rs", &paths) && !exists("tests/other.rs", &paths));
    assert!(names_a_file("tests/src/sim") && names_a_file("esp.rs::a_test_of_it"));
    for other in [
        "rayos-updater apply",
        "a/b",
        "docs/*.md",
        "/etc/rayos/x.toml",
        "Boot0007",
    ] {
        assert!(!names_a_file(other), "{other}");
    }
    let line = "See [`a`](x.md) and `b` and [c](https://example.org).";
    assert_eq!(links(line), ["x.md"]);
    assert_eq!(code_spans(line).collect::<Vec<_>>(), ["a", "b"]);
}

/// Returns the lines of a document that are not code, with their numbers.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (!fenced && !is_fence).then(|| (index + 1, line.to_owned()))
    })
}

/// Returns the targets of links that are relative to the document.
fn links(line: &str) -> Vec<String> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .map(str::to_owned)
        .collect()
}

/// Returns the code spans of a line.
fn code_spans(line: &str) -> impl Iterator<Item = String> {
    line.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Checks that a link of `document` leads to a file and, if it names one, to a heading of it.
fn follow(document: &ProjectFile, target: &str, all: &[ProjectFile]) -> Result<(), &'static str> {
    let (place, heading) = target
        .split_once('#')
        .map_or((target, None), |(place, heading)| (place, Some(heading)));
    let folder = Path::new(&document.path).parent().unwrap_or(Path::new(""));
    let path = if place.is_empty() {
        document.path.clone()
    } else {
        plain(&folder.join(place))
    };
    if !root().join(&path).exists() {
        return Err("no such file");
    }
    let Some(heading) = heading else {
        return Ok(());
    };
    let found = all.iter().find(|other| other.path == path);
    let headings = found.map(|other| anchors(&other.text)).unwrap_or_default();
    if headings.contains(heading) {
        Ok(())
    } else {
        Err("no such heading")
    }
}

/// Returns the path without `.` and `..`.
fn plain(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain.to_string_lossy().into_owned()
}

/// Returns the anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    prose_lines(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.chars().filter(is_kept).collect::<String>())
        .map(|heading| heading.replace(' ', "-"))
        .collect()
}

/// Returns whether a code span is the path of a file or folder of the project.
fn names_a_file(name: &str) -> bool {
    let place = name.split("::").next().unwrap_or(name);
    let is_plain = place
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let is_foreign = place.starts_with(['/', '.'])
        || place.starts_with("build/")
        || FOREIGN.contains(&place)
        // Examples: a path in capital letters stands for another one.
        || place.contains("WORKSPACE")
        || place.contains("PACKAGE");
    let is_file = EXTENSIONS
        .iter()
        .any(|extension| has_extension(place, extension));
    let starts_in_project = place
        .split_once('/')
        .is_some_and(|(first, _)| root().join(first).is_dir());
    is_plain && !is_foreign && (is_file || starts_in_project)
}

/// Returns whether the name is a file or folder of the project. A path may leave out folders at its
/// beginning.
fn exists(name: &str, paths: &BTreeSet<String>) -> bool {
    let place = name.split("::").next().unwrap_or(name);
    let place = place.trim_end_matches('/');
    root().join(place).exists()
        || paths.iter().any(|path| {
            path.strip_suffix(place)
                .is_some_and(|before| before.ends_with('/'))
        })
        || paths
            .iter()
            .any(|path| path.contains(&format!("/{place}/")))
}
