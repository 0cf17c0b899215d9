//! The module graph as text, for docs/architecture.md.

use super::graph::Import;
use super::package::{CrateTree, Package};
use std::fmt::Write as _;

/// The document with the graph.
pub const DOCUMENT: &str = "docs/architecture.md";
/// The lines before and after the graph.
const MARKERS: [&str; 2] = [
    "<!-- module graph: begin (scripts/module-graph) -->",
    "<!-- module graph: end -->",
];
/// Width of a line.
const WIDTH: usize = 100;

/// Returns the graph of the libraries: for each room the rooms that it imports. *Pure.*
#[must_use]
pub fn graph(packages: &[Package]) -> String {
    let mut text = String::new();
    for package in packages {
        for tree in package.crates.iter().filter(|tree| tree.program.is_empty()) {
            let rooms = tree.rooms();
            if rooms.len() > 1 {
                let dependencies: Vec<&str> =
                    package.dependencies.iter().map(String::as_str).collect();
                let imports = if dependencies.is_empty() {
                    String::new()
                } else {
                    format!(" -> {}", dependencies.join(" "))
                };
                writeln!(text, "{}{imports}", package.name).unwrap_or_default();
                draw(tree, &rooms, &mut text);
            }
        }
    }
    format!("```\n{text}```\n")
}

fn draw(tree: &CrateTree, rooms: &[String], text: &mut String) {
    let imports = tree.room_imports();
    let width = rooms.iter().map(String::len).max().unwrap_or(0);
    for room in rooms {
        let is_of = |import: &&Import| import.from == *room;
        let imported: Vec<&str> = imports
            .iter()
            .filter(is_of)
            .map(|import| import.to.as_str())
            .collect();
        let mut line = format!("  {room:<width$}");
        for (number, name) in imported.iter().enumerate() {
            if number == 0 {
                line.push_str(" ->");
            }
            if line.len() + 1 + name.len() > WIDTH {
                writeln!(text, "{line}").unwrap_or_default();
                line = format!("{:indent$}", "", indent = width + 5);
            }
            line.push(' ');
            line.push_str(name);
        }
        writeln!(text, "{}", line.trim_end()).unwrap_or_default();
    }
}

/// Returns `document` with `graph` between its markers; `None` if it has no markers. *Pure.*
#[must_use]
pub fn inserted(document: &str, graph: &str) -> Option<String> {
    let (before, rest) = document.split_once(MARKERS[0])?;
    let (_, after) = rest.split_once(MARKERS[1])?;
    Some(format!(
        "{before}{}\n{graph}{}{after}",
        MARKERS[0], MARKERS[1]
    ))
}
