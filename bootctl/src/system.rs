//! What a system says of itself, in `/etc/rayos/system.toml`.

use record::Text64;
use serde::Deserialize;
use std::path::Path;

/// Where a system says it.
pub const SYSTEM_FILE: &str = "/etc/rayos/system.toml";

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// What a release must be compatible with to be installed by this system.
    pub compatible: String,
}

/// Why the file is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SystemError {
    /// It is not TOML, or has a key that is not known.
    #[error("system.toml: {0}")]
    Syntax(String),
    /// The name is too long or not printable.
    #[error("system.toml: compatible is {0:?}, expected 1 to 64 printable characters")]
    Compatible(String),
    /// It cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Its path.
        file: String,
        /// What the kernel said.
        error: String,
    },
}

impl System {
    /// Reads the file. *Pure.*
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

    /// Reads the file at `path`. *Reads.*
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

    /// The name as the boot record holds it.
    #[must_use]
    pub fn compatible(&self) -> Text64 {
        // `parse` has looked at it.
        Text64::new(&self.compatible).unwrap_or(Text64::EMPTY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_name() {
        let system = System::parse("compatible = \"rayos-x86_64\"").expect("system");
        assert_eq!(system.compatible().as_str(), "rayos-x86_64");
        assert!(System::parse("compatible = \"\"").is_err());
        assert!(System::parse("compatible = \"a b\"").is_err());
        assert!(System::parse("compatible = \"x\"\ncolour = 1").is_err());
    }
}
