//! The files and values that several verbs take.

use anyhow::{Context as _, Result};
use installer::install::answers::Answers;
use record::Text64;
use std::path::Path;

/// Reads and parses the answers file at `path`.
pub(super) fn read_answers(path: &Path) -> Result<Answers> {
    let name = || path.display().to_string();
    let found = std::fs::read(path).with_context(name)?;
    Answers::decode(&found).with_context(name)
}

/// Reads the text file at `path`; errors name it.
pub(super) fn read_text(path: &Path) -> Result<String> {
    cli::input::read_text(path).with_context(|| path.display().to_string())
}

/// Parses the name of a machine's hardware.
pub(super) fn compatible(text: &str) -> Result<Text64> {
    Text64::new(text)
        .with_context(|| format!("compatible {text:?}: expected up to 64 printable characters"))
}
