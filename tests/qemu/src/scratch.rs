//! The folder of one scenario: disks, logs, firmware variables. Removed when the scenario succeeds,
//! kept when it fails.

use crate::Failure;
use std::path::{Path, PathBuf};

/// The folder of one scenario, `target/qemu/NAME`. It is removed when it is dropped, unless the
/// thread is panicking, [`Scratch::keep`] was called, or `RAYOS_KEEP` is set in the environment.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Creates the folder, empty. *Writes.*
    ///
    /// # Errors
    /// When the folder cannot be made or emptied.
    pub fn new(name: &str) -> Result<Self, Failure> {
        Self::at(project_folder().join("target/qemu").join(name))
    }

    /// Creates the folder `path`, empty. *Writes.*
    ///
    /// # Errors
    /// As [`Scratch::new`].
    pub fn at(path: PathBuf) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(format!("create {}", path.display()), error.to_string())
        };
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(failed)?;
        }
        std::fs::create_dir_all(&path).map_err(failed)?;
        Ok(Self {
            path,
            keep: std::env::var_os("RAYOS_KEEP").is_some(),
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it. *Pure.*
    #[must_use]
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Keeps the folder when the scenario ends.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Ends a scenario and returns `result`: the folder is kept if that is an error.
    ///
    /// # Errors
    /// Those of `result`.
    pub fn finish<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        self.keep |= result.is_err();
        result
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep && !std::thread::panicking() {
            // A folder that cannot be removed is emptied by the next run.
            std::fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// Returns the project's folder, which holds this workspace. *Pure.*
#[must_use]
pub fn project_folder() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}
