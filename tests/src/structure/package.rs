//! The packages of the workspace: dependencies and module trees.

use super::code::{without_comments_and_texts, without_test_modules};
use super::imports::{PathUse, aliases, paths};
use crate::project;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Folders of the packages, in the order of docs/architecture.md.
pub const FOLDERS: [&str; 13] = [
    "cli",
    "bundle/seal",
    "bundle",
    "bootctl/record",
    "bootctl/guard",
    "bootctl",
    "updater",
    "installer",
    "recovery",
    "kit",
    "tests",
    "tests/fixtures",
    "tests/qemu",
];

/// A package.
#[derive(Debug)]
pub struct Package {
    /// Its folder in the project.
    pub folder: &'static str,
    /// Its name, without `rayos-`.
    pub name: String,
    /// Names of the packages of the workspace that it depends on, without `rayos-`; not those for
    /// tests alone.
    pub dependencies: BTreeSet<String>,
    /// Its library and its programs.
    pub crates: Vec<CrateTree>,
}

/// The module tree of a library or a program.
#[derive(Debug)]
pub struct CrateTree {
    /// Name of the program; empty for the library.
    pub program: String,
    /// Modules by their path (`apply::phases`); that of the root is empty.
    pub modules: BTreeMap<String, Module>,
}

/// A module: one file.
#[derive(Debug)]
pub struct Module {
    /// Its file in the project.
    pub file: String,
    /// The text of the file.
    pub source: String,
    /// Its child modules, except those for tests.
    pub children: Vec<String>,
    pub(super) paths: Vec<PathUse>,
    pub(super) aliases: BTreeMap<String, Vec<String>>,
}

/// Reads all packages. *Reads.*
///
/// # Errors
/// When a file cannot be read or a module has no file.
pub fn packages() -> Result<Vec<Package>> {
    FOLDERS
        .into_iter()
        .filter(|folder| project::root().join(folder).join("Cargo.toml").exists())
        .map(package)
        .collect()
}

fn package(folder: &'static str) -> Result<Package> {
    let manifest = text(&format!("{folder}/Cargo.toml"))?;
    let name = manifest
        .lines()
        .find_map(|line| line.strip_prefix("name = \"rayos-"))
        .and_then(|rest| rest.strip_suffix('"'))
        .with_context(|| format!("{folder}/Cargo.toml: no name"))?;
    let mut crates = Vec::new();
    if exists(&format!("{folder}/src/lib.rs")) {
        crates.push(crate_tree("", &format!("{folder}/src/lib.rs"))?);
    }
    if exists(&format!("{folder}/src/main.rs")) {
        crates.push(crate_tree(name, &format!("{folder}/src/main.rs"))?);
    }
    if let Ok(programs) = fs::read_dir(project::root().join(folder).join("src/bin")) {
        for program in programs {
            let program = program?.file_name().to_string_lossy().into_owned();
            let root = match program.strip_suffix(".rs") {
                Some(_) => format!("{folder}/src/bin/{program}"),
                None => format!("{folder}/src/bin/{program}/main.rs"),
            };
            crates.push(crate_tree(program.trim_end_matches(".rs"), &root)?);
        }
    }
    crates.sort_by(|a, b| a.program.cmp(&b.program));
    Ok(Package {
        folder,
        name: name.to_owned(),
        dependencies: dependencies(&manifest),
        crates,
    })
}

/// Packages of the workspace in the tables `[dependencies]` of a manifest. *Pure.*
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_wanted = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_wanted = line.ends_with("dependencies]") && !line.contains("dev-dependencies");
        } else if let Some((name, _)) = line.split_once(['.', ' ']).filter(|_| is_wanted)
            && OURS.contains(&name)
        {
            found.insert(name.to_owned());
        }
    }
    found
}

/// Names of the packages in manifests.
const OURS: [&str; 13] = [
    "cli",
    "seal",
    "bundle",
    "record",
    "guard",
    "bootctl",
    "updater",
    "installer",
    "recovery",
    "kit",
    "fixtures",
    "qemu",
    "tests",
];

fn crate_tree(program: &str, root: &str) -> Result<CrateTree> {
    let mut modules = BTreeMap::new();
    let mut pending = vec![(String::new(), root.to_owned())];
    while let Some((path, file)) = pending.pop() {
        let source = text(&file)?;
        let code = without_test_modules(&without_comments_and_texts(&source));
        let children = child_modules(&code);
        for child in &children {
            let child_file = file_of(&file, child);
            let child_file = child_file.with_context(|| format!("{file}: no file of {child}"))?;
            pending.push((join(&path, child), child_file));
        }
        let paths = paths(&code);
        let module = Module {
            file,
            source,
            children,
            aliases: aliases(&paths),
            paths,
        };
        modules.insert(path, module);
    }
    Ok(CrateTree {
        program: program.to_owned(),
        modules,
    })
}

/// Names in `mod NAME;`. *Pure.*
fn child_modules(code: &str) -> Vec<String> {
    code.lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
            let line = line.strip_prefix("pub(super) ").unwrap_or(line);
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.strip_prefix("mod ")?.strip_suffix(';')
        })
        .map(str::to_owned)
        .collect()
}

/// The file of the module `child` that `file` declares.
fn file_of(file: &str, child: &str) -> Option<String> {
    let path = Path::new(file);
    let folder = path.parent()?.to_string_lossy().into_owned();
    let is_root = ["mod.rs", "lib.rs", "main.rs"]
        .iter()
        .any(|name| path.ends_with(name))
        || folder.ends_with("src/bin");
    let folder = if is_root {
        folder
    } else {
        format!("{folder}/{}", path.file_stem()?.to_string_lossy())
    };
    [
        format!("{folder}/{child}.rs"),
        format!("{folder}/{child}/mod.rs"),
    ]
    .into_iter()
    .find(|file| exists(file))
}

fn join(path: &str, child: &str) -> String {
    if path.is_empty() {
        child.to_owned()
    } else {
        format!("{path}::{child}")
    }
}

fn exists(file: &str) -> bool {
    project::root().join(file).is_file()
}

fn text(file: &str) -> Result<String> {
    fs::read_to_string(project::root().join(file)).with_context(|| file.to_owned())
}
