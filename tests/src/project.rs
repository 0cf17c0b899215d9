//! The files of the project, for tests that read documents and sources.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that hold no text of ours: results of builds, and inputs of fuzz targets.
const SKIPPED: [&str; 5] = ["target", "build", "corpus", "artifacts", ".git"];

/// A file of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectFile {
    /// Its path from the project's folder, with `/` between names.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Returns the project's folder. *Pure.*
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Returns all text files below `place`, a file or folder of the project, sorted by path. Results
/// of builds and fuzz corpora are left out. *Reads.*
///
/// # Errors
/// An error of reading a folder or a file.
pub fn files(place: &str) -> io::Result<Vec<ProjectFile>> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(place)];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                let path = entry?.path();
                if !SKIPPED.iter().any(|name| path.ends_with(name)) {
                    pending.push(path);
                }
            }
        } else if let Ok(text) = String::from_utf8(fs::read(&path)?) {
            let path = relative(&path);
            found.push(ProjectFile { path, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Returns the documents of the project: all `*.md` files. *Reads.*
///
/// # Errors
/// An error of reading a folder or a file.
pub fn documents() -> io::Result<Vec<ProjectFile>> {
    let mut all = files("")?;
    all.retain(|file| has_extension(&file.path, "md"));
    Ok(all)
}

/// Returns whether `path` ends with the extension. *Pure.*
#[must_use]
pub fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}

fn relative(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root()).unwrap_or(path).to_path_buf();
    path.to_string_lossy().into_owned()
}
