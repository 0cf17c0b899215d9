//! The folder of the checks: which of its files are checks, and which are passed over.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Ends of the names under which package managers and editors keep other versions of a file.
const LEFTOVERS: [&str; 11] = [
    "~",
    ".bak",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-old",
    ".dpkg-tmp",
    ".orig",
    ".rej",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
];

/// The files of a folder of checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckFiles {
    /// The checks, in the order of their names. One that cannot be looked at, such as a link to
    /// nothing, is a check as well: it fails when it is started.
    pub checks: Vec<PathBuf>,
    /// The names that are not checks, each with the reason.
    pub passed_over: Vec<String>,
}

impl CheckFiles {
    /// Returns the files in `dir`. *Reads.* Hidden files are skipped.
    ///
    /// # Errors
    /// The error of reading the folder, unless there is nothing of that name.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let entries = match std::fs::read_dir(dir) {
            // A link to nothing is there: it was meant to be a folder.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && std::fs::symlink_metadata(dir).is_err() =>
            {
                return Ok(found);
            }
            entries => entries?,
        };
        for entry in entries {
            found.add(entry?.path());
        }
        found.checks.sort_unstable();
        found.passed_over.sort_unstable();
        Ok(found)
    }

    fn add(&mut self, path: PathBuf) {
        let name = file_name(&path);
        if name.starts_with('.') {
            return;
        }
        let reason = match std::fs::metadata(&path) {
            _ if LEFTOVERS.iter().any(|end| name.ends_with(end)) => "another version of a file",
            Ok(metadata) if metadata.is_dir() => "a folder",
            Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => "not executable",
            _ => return self.checks.push(path),
        };
        self.passed_over.push(format!("{name} ({reason})"));
    }
}

pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
