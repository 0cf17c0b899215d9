//! The files of a new product: a commented `rayos.toml`, answers for the stick, a trust file.

use std::fs;
use std::io;
use std::path::Path;

/// The text of a new `rayos.toml`.
pub const RAYOS_TOML: &str = include_str!("rayos.toml");
/// The text of a new `install.toml`.
pub const INSTALL_TOML: &str = "\
# Answers of the installation stick; docs/install.example.toml has every key. As it is, it installs
# without questions, to the only blank disk of a machine.
version = 1
unattended = true
";

/// Returns a trust file with one key for everything. *Pure.*
#[must_use]
pub fn trust_file(public_key: &str) -> String {
    format!(
        "# Who may sign releases for these machines.\nepoch = 0\n\n[threshold]\nrelease = 1\n\n[[key]]\n\
         name = \"releases\"\nroles = [\"release\"]\npublic_key = \"\"\"\n{}\n\"\"\"\n",
        public_key.trim_end()
    )
}

/// Writes `rayos.toml` and `install.toml` into `folder`, which may exist, and no file twice.
///
/// # Errors
/// A file exists, or cannot be written; the message names it.
///
/// # Power loss
/// Leaves some files missing or short.
pub fn write_files(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("keys"))?;
    for (name, text) in [("rayos.toml", RAYOS_TOML), ("install.toml", INSTALL_TOML)] {
        write_new(&folder.join(name), text)?;
    }
    Ok(())
}

/// Writes a file that does not exist.
///
/// # Errors
/// It exists, or cannot be written; the message names it.
///
/// # Power loss
/// Leaves the file missing or short.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::File::options();
    let written = options
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_new_configuration_is_valid_as_it_is_and_with_every_comment_removed() {
        let path = Path::new("rayos.toml");
        Config::parse(RAYOS_TOML, path).unwrap();
        let all: String = RAYOS_TOML
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        let config = Config::parse(&all, path).unwrap();
        assert!(config.secure_boot.is_some() && config.disk.is_some() && config.delta.is_some());
    }

    #[test]
    fn a_second_init_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path()).unwrap();
        let path = folder.path().join("rayos.toml");
        fs::write(&path, "mine").unwrap();
        let words = write_files(folder.path()).unwrap_err().to_string();
        assert!(words.contains("rayos.toml"), "{words}");
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
    }
}
