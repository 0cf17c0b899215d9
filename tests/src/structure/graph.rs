//! Imports between the modules of a crate, and between its rooms.

use super::package::CrateTree;
use std::collections::{BTreeMap, BTreeSet};

/// An import of one module by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The importing module.
    pub from: String,
    /// The imported module.
    pub to: String,
    /// File and line of the import.
    pub place: String,
}

impl CrateTree {
    /// Returns the imports between modules, one for each pair. A re-export (`pub use`) is not an
    /// import of the module that has it: the importer of the name imports its module. *Pure.*
    #[must_use]
    pub fn imports(&self) -> Vec<Import> {
        let mut found = BTreeMap::new();
        for (from, module) in &self.modules {
            for path in module.paths.iter().filter(|path| !path.is_reexport) {
                let Some(to) = self.resolve(from, &path.names, 0) else {
                    continue;
                };
                if to != *from {
                    found
                        .entry((from.clone(), to))
                        .or_insert_with(|| format!("{}:{}", module.file, path.line));
                }
            }
        }
        found
            .into_iter()
            .map(|((from, to), place)| Import { from, to, place })
            .collect()
    }

    /// The module that `names`, a path in the module `from`, leads to; `None` for another crate.
    fn resolve(&self, from: &str, names: &[String], depth: usize) -> Option<String> {
        // A re-export that leads to itself ends here.
        if depth > 8 {
            return None;
        }
        let (first, rest) = names.split_first()?;
        let mut at = match first.as_str() {
            "crate" => String::new(),
            "self" => from.to_owned(),
            "super" => parent(from),
            child if self.is_child(from, child) => child_path(from, child),
            _ => return None,
        };
        for (number, name) in rest.iter().enumerate() {
            if name == "super" {
                at = parent(&at);
            } else if self.is_child(&at, name) {
                at = child_path(&at, name);
            } else if let Some(target) = self.modules.get(&at)?.aliases.get(name)
                && name != "self"
            {
                let target: Vec<String> =
                    target.iter().chain(&rest[number + 1..]).cloned().collect();
                // A name of another crate is defined where it is imported.
                return self.resolve(&at, &target, depth + 1).or(Some(at));
            } else {
                break;
            }
        }
        Some(at)
    }

    fn is_child(&self, path: &str, name: &str) -> bool {
        self.modules
            .get(path)
            .is_some_and(|module| module.children.iter().any(|child| child == name))
    }

    /// Returns each circle of modules: its modules, and an import of each that is part of it.
    /// *Pure.*
    #[must_use]
    pub fn circles(&self) -> Vec<Vec<Import>> {
        let imports = self.imports();
        let reached: BTreeMap<&str, BTreeSet<&str>> = self
            .modules
            .keys()
            .map(|module| (module.as_str(), reach(&imports, module)))
            .collect();
        let together = |a: &str, b: &str| reached[a].contains(b) && reached[b].contains(a);
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for module in self.modules.keys() {
            if !together(module, module) || !seen.insert(module.as_str()) {
                continue;
            }
            let circle: Vec<Import> = imports
                .iter()
                .filter(|import| together(module, &import.from) && together(module, &import.to))
                .cloned()
                .collect();
            seen.extend(
                self.modules
                    .keys()
                    .map(String::as_str)
                    .filter(|other| together(module, other)),
            );
            circles.push(circle);
        }
        circles
    }

    /// Returns the imports between rooms, one for each pair. A room is a module of the root with
    /// all modules below it. *Pure.*
    #[must_use]
    pub fn room_imports(&self) -> Vec<Import> {
        let mut found: BTreeMap<(String, String), String> = BTreeMap::new();
        for import in self.imports() {
            let (from, to) = (room(&import.from), room(&import.to));
            if from != to && !from.is_empty() {
                let to = if to.is_empty() { ROOT } else { to };
                found
                    .entry((from.to_owned(), to.to_owned()))
                    .or_insert(import.place);
            }
        }
        found
            .into_iter()
            .map(|((from, to), place)| Import { from, to, place })
            .collect()
    }

    /// Returns the rooms, each after all rooms that import it; without circles of rooms. *Pure.*
    #[must_use]
    pub fn rooms(&self) -> Vec<String> {
        let imports = self.room_imports();
        let all: BTreeSet<&str> = self.modules.keys().map(|path| room(path)).collect();
        let mut left: BTreeSet<&str> = all.into_iter().filter(|room| !room.is_empty()).collect();
        let mut sorted = Vec::new();
        while !left.is_empty() {
            let is_imported = |room: &&str| {
                imports
                    .iter()
                    .any(|import| import.to == **room && left.contains(import.from.as_str()))
            };
            let free: Vec<&str> = left
                .iter()
                .copied()
                .filter(|room| !is_imported(room))
                .collect();
            // A circle of rooms: `circles` names it.
            let next = if free.is_empty() {
                left.iter().copied().collect()
            } else {
                free
            };
            for room in next {
                left.remove(room);
                sorted.push(room.to_owned());
            }
        }
        sorted
    }
}

/// The name of the root module, where it defines items of its own.
pub const ROOT: &str = "lib.rs";

/// The room of a module: the first name of its path; empty for the root.
fn room(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

fn parent(path: &str) -> String {
    path.rsplit_once("::")
        .map_or(String::new(), |(parent, _)| parent.to_owned())
}

fn child_path(path: &str, child: &str) -> String {
    if path.is_empty() {
        child.to_owned()
    } else {
        format!("{path}::{child}")
    }
}

/// Modules that `module` imports, directly or not.
fn reach<'a>(imports: &'a [Import], module: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut pending = vec![module];
    while let Some(module) = pending.pop() {
        for import in imports.iter().filter(|import| import.from == module) {
            if reached.insert(import.to.as_str()) {
                pending.push(&import.to);
            }
        }
    }
    reached
}
