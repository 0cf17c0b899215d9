//! `/etc/rayos/system.toml`, in which a system names its compatible.

use record::Text64;
use serde::Deserialize;
use std::path::Path;

/// Path of the file.
pub const SYSTEM_FILE: &str = "/etc/rayos/system.toml";

/// Content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Compatible of this machine; a release for another one is refused.
    pub compatible: String,
}

/// Why the file is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SystemError {
    /// The file is not TOML, or has an unknown key.
    #[error("system.toml: {0}")]
    Syntax(String),
    /// The name is empty, too long or not printable.
    #[error("system.toml: compatible is {0:?}, expected 1 to 64 printable characters")]
    Compatible(String),
    /// The file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Its path.
        file: String,
        /// Error of the kernel.
        error: String,
    },
}

impl System {
    /// Parses the content of the file. *Pure.*
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn parse(text: &str) -> Result<Self, SystemError> {
        let system: Self = toml::from_str(text)
            .map_err(|error| SystemError::Syntax(error.to_string().trim_end().to_owned()))?;
        match Text64::new(&system.compatible) {
            Some(name) if name != Text64::EMPTY => Ok(system),
            _ => Err(SystemError::Compatible(system.compatible)),
        }
    }

    /// Reads and parses the file at `path`. *Reads.*
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn load(path: &Path) -> Result<Self, SystemError> {
        let failed = |error: std::io::Error| SystemError::Read {
            file: path.display().to_string(),
            error: error.to_string(),
        };
        Self::parse(&std::fs::read_to_string(path).map_err(failed)?)
    }

    /// Returns the compatible as it stands in the boot record. *Pure.*
    #[must_use]
    pub fn compatible(&self) -> Text64 {
        // `parse` has checked it.
        Text64::new(&self.compatible).unwrap_or(Text64::EMPTY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compatible_is_a_printable_name() {
        let system = System::parse("compatible = \"rayos-x86_64\"").expect("system");
        assert_eq!(system.compatible().as_str(), "rayos-x86_64");
        assert!(System::parse("compatible = \"\"").is_err());
        assert!(System::parse("compatible = \"a b\"").is_err());
        assert!(System::parse("compatible = \"x\"\ncolour = 1").is_err());
    }
}
