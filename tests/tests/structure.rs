//! The structure of the packages: who may import whom, no circles, short files, complete maps.
//!
//! A failure names file and line and the change that is needed. `docs/architecture.md` has the
//! module graph, which `scripts/module-graph` draws.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use tests::project::{files, has_extension, root};
use tests::structure::allowed::PACKAGES;
use tests::structure::code::lines_of_code;
use tests::structure::drawing::{DOCUMENT, graph, inserted};
use tests::structure::package::packages;

/// A crate, and for each of its folders those that it may import from.
type CrateRooms = (
    &'static str,
    &'static [(&'static str, &'static [&'static str])],
);

/// For each library, the rooms that each room may import. A room is a module of the root with all
/// modules below it; `lib.rs` are items that the root itself defines.
///
/// A new import needs a line here, and a reason that a reviewer accepts. An import that no source
/// has any more must leave its line.
const ROOMS: &[CrateRooms] = &[
    (
        "cli",
        &[
            ("clock", &[]),
            ("exit_status", &[]),
            ("generate", &[]),
            ("input", &[]),
            ("new_file", &[]),
            ("output", &[]),
            ("quantity", &[]),
        ],
    ),
    (
        "seal",
        &[
            (
                "chain",
                &[
                    "error",
                    "field",
                    "key",
                    "seal",
                    "signatures",
                    "statement",
                    "trust",
                ],
            ),
            ("pe", &[]),
            (
                "seal",
                &["error", "field", "key", "signatures", "statement", "trust"],
            ),
            ("trust", &["error", "field", "key", "signatures"]),
            ("signatures", &["error", "field", "key"]),
            ("error", &["key", "statement"]),
            ("statement", &["field"]),
            ("key", &["field"]),
            ("field", &[]),
        ],
    ),
    (
        "bundle",
        &[
            (
                "delta",
                &[
                    "create", "format", "open", "parallel", "read", "trust", "verity",
                ],
            ),
            ("report", &["format", "hex", "parallel", "read", "verity"]),
            ("create", &["format", "parallel", "trust", "verity"]),
            ("open", &["format", "hex", "parallel", "read", "verity"]),
            ("parallel", &[]),
            ("read", &["format", "hex", "verity"]),
            ("trust", &["hex"]),
            ("format", &["hex", "verity"]),
            ("hex", &[]),
            ("verity", &[]),
        ],
    ),
    (
        "record",
        &[
            ("event", &["layout", "reason", "seq", "slot"]),
            ("handoff", &["decision", "guid", "slot"]),
            ("pair", &["record", "record_error"]),
            (
                "rebuild",
                &[
                    "gpt",
                    "guid",
                    "reason",
                    "record",
                    "seq",
                    "slot",
                    "slot_state",
                ],
            ),
            ("variables", &["guid"]),
            ("decision", &["reason", "record", "slot", "slot_state"]),
            ("gpt", &["guid", "layout", "read_at", "slot"]),
            ("layout", &["guid", "record", "slot"]),
            ("read_at", &[]),
            (
                "record",
                &["guid", "record_error", "seq", "slot", "slot_state"],
            ),
            ("seq", &[]),
            ("slot", &[]),
            ("slot_state", &["guid", "reason", "record_error"]),
            ("guid", &[]),
            ("reason", &[]),
            ("record_error", &[]),
        ],
    ),
    (
        "guard",
        &[
            ("clock", &[]),
            ("request", &[]),
            ("run", &["disk", "image", "machine", "system"]),
            ("watchdog", &["lib.rs"]),
            ("system", &["disk", "image", "machine"]),
            ("machine", &["disk", "image"]),
            ("image", &["disk"]),
            ("disk", &[]),
        ],
    ),
    (
        "bootctl",
        &[
            ("firmware_model", &["boot"]),
            ("machine", &["boot", "disk", "firmware", "state", "sysfs"]),
            ("system", &[]),
            ("boot", &["disk", "firmware", "state"]),
            ("esp", &["disk"]),
            ("sysfs", &["disk"]),
            ("firmware", &["disk"]),
            ("state", &["disk"]),
            ("disk", &[]),
        ],
    ),
    (
        "updater",
        &[
            (
                "apply",
                &[
                    "batch",
                    "error",
                    "events",
                    "guard_keys",
                    "options",
                    "pipeline",
                    "plan",
                    "progress",
                    "scan",
                    "slot",
                    "source",
                    "worker_pool",
                ],
            ),
            ("lock_owner", &[]),
            ("status", &[]),
            ("terminal", &["events"]),
            (
                "verify_slot",
                &[
                    "batch",
                    "error",
                    "events",
                    "progress",
                    "scan",
                    "slot",
                    "worker_pool",
                ],
            ),
            ("options", &["events", "plan", "source"]),
            (
                "pipeline",
                &["batch", "error", "scan", "slot", "source", "worker_pool"],
            ),
            (
                "scan",
                &[
                    "batch",
                    "error",
                    "events",
                    "progress",
                    "slot",
                    "worker_pool",
                ],
            ),
            ("batch", &[]),
            ("progress", &["events"]),
            ("slot", &["error", "plan"]),
            ("worker_pool", &["error"]),
            ("error", &["plan", "source"]),
            ("events", &[]),
            ("guard_keys", &["plan"]),
            ("plan", &[]),
            ("source", &[]),
        ],
    ),
    (
        "installer",
        &[
            ("exit_status", &["esp", "install"]),
            ("host", &[]),
            ("interactive", &["disk", "install"]),
            ("media", &["disk", "esp"]),
            ("progress_markers", &[]),
            ("install", &["disk", "esp"]),
            ("disk", &[]),
            ("esp", &[]),
        ],
    ),
    (
        "recovery",
        &[
            ("boot_installed", &[]),
            ("guard_repair", &[]),
            ("medium", &["origin"]),
            ("origin", &[]),
        ],
    ),
    (
        "kit",
        &[
            ("init", &[]),
            ("run", &["archive", "plan", "uki"]),
            ("plan", &["config", "locate"]),
            ("locate", &["config"]),
            ("archive", &[]),
            ("config", &[]),
            ("uki", &[]),
        ],
    ),
    (
        "tests",
        &[
            ("catalogue", &[]),
            ("image", &[]),
            ("memory_machine", &[]),
            ("recording", &["sim"]),
            ("sample", &[]),
            ("structure", &["project"]),
            ("web", &[]),
            ("project", &[]),
            ("sim", &[]),
        ],
    ),
    (
        "fixtures",
        &[
            ("corpus", &["dice"]),
            ("guard_program", &[]),
            ("hostile", &[]),
            ("partition_table", &[]),
            ("schema", &[]),
            ("dice", &[]),
        ],
    ),
    (
        "qemu",
        &[
            ("disk_error", &["failure", "running"]),
            (
                "machine",
                &[
                    "accelerator",
                    "console",
                    "disk",
                    "failure",
                    "firmware",
                    "qmp",
                    "running",
                    "scratch",
                    "variable_store",
                ],
            ),
            ("power", &["console", "failure", "qmp", "running"]),
            ("shell", &["failure", "running"]),
            (
                "accelerator",
                &["console", "failure", "firmware", "scratch"],
            ),
            ("disk", &[]),
            ("running", &["console", "cpu_time", "failure", "qmp"]),
            ("variable_store", &["failure", "firmware"]),
            ("console", &["terminal"]),
            ("cpu_time", &[]),
            ("firmware", &[]),
            ("qmp", &[]),
            ("scratch", &["failure"]),
            ("failure", &[]),
            ("terminal", &[]),
        ],
    ),
];

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
