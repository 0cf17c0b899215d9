//! The sample releases that `scripts/build-sample` makes.

use qemu::{Failure, project_folder};
use std::path::PathBuf;
use std::process::Command;

/// The folder of the sample releases.
#[derive(Clone, Debug)]
pub struct Sample {
    folder: PathBuf,
}

impl Sample {
    /// Returns the sample in `RAYOS_SAMPLE`, unchanged, or else the one in `build/sample`, which is
    /// made or updated first (minutes the first time, a second without changes). *Writes.*
    ///
    /// # Errors
    /// When it cannot be made; the failure has the output of the script.
    pub fn ready() -> Result<Self, Failure> {
        if let Some(folder) = std::env::var_os("RAYOS_SAMPLE") {
            return Ok(Self {
                folder: folder.into(),
            });
        }
        let folder = project_folder().join("build/sample");
        let step = "build the sample releases";
        let made = Command::new(project_folder().join("scripts/build-sample"))
            .output()
            .map_err(Failure::of(step))?;
        if !made.status.success() {
            let stderr = String::from_utf8_lossy(&made.stderr);
            return Err(Failure::new(
                step,
                format!("{}: {}", made.status, stderr.trim()),
            ));
        }
        Ok(Self { folder })
    }

    /// The folder. *Pure.*
    #[must_use]
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// A file in it. *Pure.*
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The bundle of `version`. *Pure.*
    #[must_use]
    pub fn bundle(&self, version: &str) -> PathBuf {
        self.file(&format!("rayos-{version}.bundle"))
    }

    /// One of our programs, linked statically. *Pure.*
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.file(&format!("bin/{name}"))
    }
}
