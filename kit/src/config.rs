//! `rayos.toml`: the description of a product.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Maximum length of `rayos.toml`.
pub const MAX_LEN: u64 = 64 << 10;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// It is not what is expected; the text has line and column.
    #[error("{path}: {error}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: Box<toml::de::Error>,
    },
    /// A value that cannot be used.
    #[error("{0}")]
    Value(String),
}

/// A product and one release of it. Paths are relative to the folder of the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The release.
    pub release: Release,
    /// The root file system.
    pub root: Root,
    /// The boot image.
    #[serde(default)]
    pub boot: Boot,
    /// Keys and trust.
    #[serde(default)]
    pub trust: Trust,
    /// The recovery system.
    #[serde(default)]
    pub recovery: Recovery,
    /// The boot guard.
    #[serde(default)]
    pub guard: Guard,
    /// Signatures for the firmware.
    pub secure_boot: Option<SecureBoot>,
    /// The installation stick.
    pub stick: Option<Stick>,
    /// The factory image.
    pub disk: Option<DiskImage>,
    /// A delta to the release before.
    pub delta: Option<Delta>,
    /// Folder of the results.
    #[serde(default = "default_out")]
    pub out: PathBuf,
}

/// The release: as in the recipe of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The version, for people.
    pub version: String,
    /// The rollback index, for decisions.
    pub rollback_index: u64,
    /// The hardware name.
    pub compatible: String,
    /// Release notes.
    pub notes: Option<String>,
    /// Time of all files, in seconds since 1970.
    #[serde(default)]
    pub created: u64,
    /// zstd level, 1 to 19; default: that of the program that makes the bundle.
    pub level: Option<u8>,
}

/// The root file system: exactly one of both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// A folder; it becomes an erofs image without its `boot`.
    pub tree: Option<PathBuf>,
    /// An image of a read-only file system.
    pub image: Option<PathBuf>,
}

/// The boot image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Boot {
    /// The kernel; default: the only `boot/vmlinuz-*` of the tree.
    pub kernel: Option<PathBuf>,
    /// The initramfs; default: `boot/initrd.img-*` of the same kernel.
    pub initramfs: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
    /// systemd's stub.
    pub stub: PathBuf,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            kernel: None,
            initramfs: None,
            cmdline: "quiet panic=10".to_owned(),
            stub: "/usr/lib/systemd/boot/efi/linuxx64.efi.stub".into(),
        }
    }
}

/// Keys and trust.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// The trust file of the machines.
    pub file: PathBuf,
    /// The private keys that sign the release. Without any, the build ends with an unsigned bundle.
    pub keys: Vec<PathBuf>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            file: "trust.toml".into(),
            keys: vec!["keys/release.key".into()],
        }
    }
}

/// The recovery system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recovery {
    /// Folder with `vmlinuz`, `initramfs` and `os-release`, as the package has it.
    pub base: PathBuf,
    /// The kernel's command line.
    pub cmdline: String,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            base: "/usr/lib/rayos/recovery".into(),
            cmdline: "quiet panic=10".to_owned(),
        }
    }
}

/// The boot guard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// The program, without keys.
    pub program: PathBuf,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            program: "/usr/lib/rayos/guard/rayos-guard.efi".into(),
        }
    }
}

/// Signatures for the firmware, by `sbsign`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecureBoot {
    /// The private key (PEM).
    pub key: PathBuf,
    /// Its certificate (PEM).
    pub certificate: PathBuf,
}

/// The installation stick.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stick {
    /// The answers file; without it, the stick writes nothing unasked.
    pub answers: Option<PathBuf>,
}

/// The factory image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskImage {
    /// Size of the disk, such as 8G.
    pub size: String,
    /// Layout file; default: the default layout.
    pub layout: Option<PathBuf>,
    /// Identity of the installation; default: random, and other bytes in each build.
    pub install_id: Option<String>,
}

/// A delta.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The bundle of the release that the machines run.
    pub from: PathBuf,
}

fn default_out() -> PathBuf {
    "out".into()
}

impl Config {
    /// Loads `rayos.toml`. *Reads.* Paths in the result are relative to the current folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |error| ConfigError::Read {
            path: path.to_owned(),
            error,
        };
        let len = std::fs::metadata(path).map_err(read)?.len();
        if len > MAX_LEN {
            let words = format!("{}: {len} bytes, maximum {MAX_LEN}", path.display());
            return Err(ConfigError::Value(words));
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let mut config = Self::parse(&text, path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for path in config.paths() {
            *path = folder.join(&*path);
        }
        Ok(config)
    }

    /// Parses the text of `rayos.toml`; `path` is for errors. *Pure.*
    ///
    /// # Errors
    /// [`ConfigError::Parse`] and [`ConfigError::Value`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        config.check().map_err(ConfigError::Value)?;
        Ok(config)
    }

    /// Checks what the syntax does not say; the program that makes the bundle checks the rest.
    /// *Pure.*
    ///
    /// # Errors
    /// The section and the value.
    pub fn check(&self) -> Result<(), String> {
        let Boot {
            kernel, initramfs, ..
        } = &self.boot;
        match (&self.root.tree, &self.root.image) {
            (Some(_), None) => {}
            (None, Some(_)) if kernel.is_some() && initramfs.is_some() => {}
            (None, Some(_)) => {
                return Err("[root] image: [boot] must name kernel and initramfs".to_owned());
            }
            _ => return Err("[root]: expected either tree or image".to_owned()),
        }
        let version = &self.release.version;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_+~".contains(c);
        if version.is_empty() || version.starts_with('.') || !version.chars().all(plain) {
            return Err(format!(
                "[release] version = {version:?}: expected letters, digits and . - _ + ~"
            ));
        }
        Ok(())
    }

    /// All paths of the configuration.
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let secure_boot = self
            .secure_boot
            .iter_mut()
            .flat_map(|keys| [&mut keys.key, &mut keys.certificate]);
        let stick = self.stick.iter_mut().flat_map(|stick| &mut stick.answers);
        let disk = self.disk.iter_mut().flat_map(|disk| &mut disk.layout);
        let plain = [
            &mut self.boot.stub,
            &mut self.trust.file,
            &mut self.recovery.base,
            &mut self.guard.program,
            &mut self.out,
        ];
        plain
            .into_iter()
            .chain(&mut self.root.tree)
            .chain(&mut self.root.image)
            .chain(&mut self.boot.kernel)
            .chain(&mut self.boot.initramfs)
            .chain(&mut self.trust.keys)
            .chain(secure_boot)
            .chain(stick)
            .chain(disk)
            .chain(self.delta.iter_mut().map(|delta| &mut delta.from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "[release]\nversion = \"1.0.0\"\nrollback_index = 1\ncompatible = \"x\"\n\
                         [root]\ntree = \"root\"\n";

    #[test]
    fn six_lines_are_enough_and_paths_belong_to_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rayos.toml");
        std::fs::write(&path, SMALL).unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.root.tree, Some(folder.path().join("root")));
        assert_eq!(config.trust.keys, [folder.path().join("keys/release.key")]);
        // An absolute path stays.
        assert_eq!(config.guard, Guard::default());
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| {
            let refused = Config::parse(text, Path::new("rayos.toml"));
            refused.unwrap_err().to_string()
        };
        let words = refused(&SMALL.replace("tree", "three"));
        assert!(
            words.contains("unknown field `three`") && words.contains("line 6"),
            "{words}"
        );
        let words = refused(&SMALL.replace("tree = \"root\"", ""));
        assert_eq!(words, "[root]: expected either tree or image");
        let words = refused(&SMALL.replace("tree", "image"));
        assert_eq!(words, "[root] image: [boot] must name kernel and initramfs");
        let words = refused(&SMALL.replace("1.0.0", "../1"));
        assert!(words.starts_with("[release] version = \"../1\""), "{words}");
    }

    #[test]
    fn an_endless_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rayos.toml");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(MAX_LEN + 1).unwrap();
        let words = Config::load(&path).unwrap_err().to_string();
        assert!(words.ends_with("65537 bytes, maximum 65536"), "{words}");
    }
}
