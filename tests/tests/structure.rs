//! The structure of the packages: who may import whom, no circles, short files, complete maps.
//!
//! A failure names file and line and the change that is needed. `docs/architecture.md` has the
//! module graph, which `scripts/module-graph` draws.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use tests::project::{files, has_extension, root};
use tests::structure::allowed::{PACKAGES, ROOMS};
use tests::structure::code::lines_of_code;
use tests::structure::drawing::{DOCUMENT, graph, inserted};
use tests::structure::package::packages;

/// Maximum number of lines of code in a file: not blank, not only a comment.
const MAX_LINES: usize = 450;

/// Names of modules and packages that say nothing about their content.
const EMPTY_NAMES: &[&str] = &[
    "base", "common", "core", "helper", "helpers", "misc", "shared", "types", "util", "utils",
];

/// Fails with `lines`, if there are any, under a heading.
fn none(heading: &str, lines: Vec<String>) -> Result<()> {
    ensure!(lines.is_empty(), "{heading}:\n{}", lines.join("\n"));
    Ok(())
}

#[test]
fn packages_import_in_one_direction() -> Result<()> {
    let mut wrong = Vec::new();
    for package in packages()? {
        let manifest = format!("{}/Cargo.toml", package.folder);
        let allowed = PACKAGES
            .iter()
            .find(|(name, _)| *name == package.name)
            .with_context(|| format!("{manifest}: add {} to PACKAGES", package.name))?
            .1;
        for dependency in &package.dependencies {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!(
                    "{manifest}: {} may not depend on {dependency}",
                    package.name
                ));
            }
        }
    }
    none("dependencies against docs/architecture.md", wrong)
}

#[test]
fn rooms_import_only_what_they_may() -> Result<()> {
    let mut wrong = Vec::new();
    for package in packages()? {
        let Some(library) = package.crates.iter().find(|tree| tree.program.is_empty()) else {
            continue;
        };
        let rules = ROOMS
            .iter()
            .find(|(name, _)| *name == package.name)
            .with_context(|| format!("add the rooms of {} to ROOMS", package.name))?
            .1;
        let imports = library.room_imports();
        for import in &imports {
            let (from, to) = (import.from.as_str(), import.to.as_str());
            let allowed = rules.iter().find(|(room, _)| *room == from);
            match allowed {
                None => wrong.push(format!("{}: add room {from} to ROOMS", import.place)),
                Some((_, allowed)) if !allowed.contains(&to) => {
                    wrong.push(format!("{}: {from} may not import {to}", import.place));
                }
                Some(_) => {}
            }
        }
        let is_used = |from: &str, to: &str| {
            imports
                .iter()
                .any(|import| import.from == from && import.to == to)
        };
        for (from, allowed) in rules {
            for to in allowed.iter().filter(|to| !is_used(from, to)) {
                wrong.push(format!(
                    "ROOMS: {}: {from} does not import {to}: remove it",
                    package.name
                ));
            }
        }
    }
    none("imports between rooms", wrong)
}

#[test]
fn no_modules_import_each_other_in_a_circle() -> Result<()> {
    let mut circles = Vec::new();
    for package in packages()? {
        for tree in &package.crates {
            for circle in tree.circles() {
                let imports: Vec<String> = circle
                    .iter()
                    .map(|import| {
                        format!("  {}: {} imports {}", import.place, import.from, import.to)
                    })
                    .collect();
                circles.push(format!(
                    "{} {}: remove one of these imports:\n{}",
                    package.name,
                    tree.program,
                    imports.join("\n")
                ));
            }
        }
    }
    none("circles of modules", circles)
}

#[test]
fn files_are_short() -> Result<()> {
    let mut long = Vec::new();
    let mut checked = 0;
    for file in files("")? {
        if has_extension(&file.path, "rs") {
            checked += 1;
            let lines = lines_of_code(&file.text);
            if lines > MAX_LINES {
                long.push(format!("{}: {lines} lines of code: split it", file.path));
            }
        }
    }
    assert!(checked > 300, "only {checked} files were found");
    none(&format!("files above {MAX_LINES} lines of code"), long)
}

#[test]
fn every_module_of_a_library_is_in_its_map() -> Result<()> {
    let mut missing = Vec::new();
    for package in packages()? {
        for tree in package.crates.iter().filter(|tree| tree.program.is_empty()) {
            let root = &tree.modules[""];
            let mapped: BTreeSet<&str> = root
                .source
                .lines()
                .filter_map(|line| line.strip_prefix("//! | "))
                .flat_map(|row| row.split(" | ").next().unwrap_or_default().split(", "))
                .map(|name| name.trim_matches(['`', '[', ']', '(', ')']))
                .map(|name| name.trim_start_matches("mod@"))
                .collect();
            for child in root
                .children
                .iter()
                .filter(|it| !mapped.contains(it.as_str()))
            {
                missing.push(format!("{}: add a row for {child} to the map", root.file));
            }
        }
    }
    none("modules that are not in the map of their library", missing)
}

#[test]
fn names_say_what_is_inside() -> Result<()> {
    let mut wrong = Vec::new();
    for package in packages()? {
        if EMPTY_NAMES.contains(&package.name.as_str()) {
            wrong.push(format!("{}/Cargo.toml: {}", package.folder, package.name));
        }
        for tree in &package.crates {
            for module in tree.modules.values() {
                for child in module.children.iter() {
                    if EMPTY_NAMES.contains(&child.as_str()) {
                        wrong.push(format!("{}: rename the module {child}", module.file));
                    }
                }
            }
        }
    }
    none("names without meaning", wrong)
}

#[test]
fn the_drawn_module_graph_is_current() -> Result<()> {
    let document = std::fs::read_to_string(root().join(DOCUMENT))?;
    let current = inserted(&document, &graph(&packages()?))
        .with_context(|| format!("{DOCUMENT} has no markers of the module graph"))?;
    ensure!(
        document == current,
        "{DOCUMENT}: the module graph is not current: run scripts/module-graph"
    );
    Ok(())
}
