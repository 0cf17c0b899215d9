//! The paths in a source that may lead to another module of the crate.

use std::collections::BTreeMap;

/// A path in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathUse {
    /// Its names, from the first.
    pub(super) names: Vec<String>,
    /// Its line, from 1.
    pub(super) line: usize,
    /// True if it is re-exported: `pub use`.
    pub(super) is_reexport: bool,
}

/// Returns the paths of `use` declarations, and the other paths that begin with `crate`, `self` or
/// `super`. `code` has no comments and texts. *Pure.*
pub(super) fn paths(code: &str) -> Vec<PathUse> {
    let mut found = Vec::new();
    let mut rest = code.to_owned();
    for (at, _) in code.match_indices("use ") {
        let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let Some(len) = code[at..].find(';').filter(|_| !is_word) else {
            continue;
        };
        let line = 1 + code[..at].matches('\n').count();
        let start = code[..at].rfind([';', '}', '{']).map_or(0, |end| end + 1);
        let is_reexport = code[start..at].contains("pub");
        let mut trees = Vec::new();
        expand(&[], &code[at + 4..at + len], &mut trees);
        found.extend(trees.into_iter().map(|names| PathUse {
            names,
            line,
            is_reexport,
        }));
        let blank: String = code[at..at + len]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        rest.replace_range(at..at + len, &blank);
    }
    for (number, line) in rest.lines().enumerate() {
        for names in inline(line) {
            found.push(PathUse {
                names,
                line: number + 1,
                is_reexport: false,
            });
        }
    }
    found
}

/// Expands a tree of a `use` declaration: `a::{b, c::D as E}` is `a::b` and `a::c::D`.
fn expand(before: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((path, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let names = path.split("::").map(|name| name.trim().to_owned());
        found.push(before.iter().cloned().chain(names).collect());
        return;
    };
    let names = path.split("::").map(|name| name.trim().to_owned());
    let names: Vec<String> = before
        .iter()
        .cloned()
        .chain(names.filter(|name| !name.is_empty()))
        .collect();
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                expand(&names, &group[begin..at], found);
                begin = at + 1;
            }
            '}' if depth == 0 => {
                if !group[begin..at].trim().is_empty() {
                    expand(&names, &group[begin..at], found);
                }
                return;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
}

/// The paths in a line that begin with `crate`, `self` or `super`.
fn inline(line: &str) -> Vec<Vec<String>> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    line.split(|c: char| !is_path(c))
        .filter(|word| {
            ["crate::", "self::", "super::"]
                .iter()
                .any(|first| word.starts_with(first))
        })
        .map(|word| {
            word.split("::")
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect()
}

/// Names that a module re-exports or imports, with their paths.
pub(super) fn aliases(paths: &[PathUse]) -> BTreeMap<String, Vec<String>> {
    paths
        .iter()
        .filter(|path| path.names.len() > 1)
        .filter_map(|path| Some((path.names.last()?.clone(), path.names.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn trees_are_expanded_and_other_paths_are_found() {
        let code = "pub use a::{b, c::{self, D as E}};\nfn x() -> super::Y {\n    crate::z::f()\n}";
        let found: Vec<String> = paths(code)
            .iter()
            .map(|path| {
                format!(
                    "{} {} {}",
                    path.names.join("::"),
                    path.line,
                    path.is_reexport
                )
            })
            .collect();
        let expected = [
            "a::b 1 true",
            "a::c::self 1 true",
            "a::c::D 1 true",
            "super::Y 2 false",
            "crate::z::f 3 false",
        ];
        assert_eq!(found, expected);
    }
}
