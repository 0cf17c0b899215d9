//! The kernel and the initramfs of a release: named, or found in the tree of its root.

use crate::config::Config;
use std::fs;
use std::path::{Path, PathBuf};

/// Why they were not found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The folder of kernels cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The folder.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// No kernel, or several.
    #[error("{path} has {count} kernels (vmlinuz-*), expected 1; [boot] kernel names one")]
    Kernels {
        /// The folder.
        path: PathBuf,
        /// Their number.
        count: usize,
    },
    /// A file that is missing.
    #[error("{0} is missing")]
    Missing(PathBuf),
}

/// What a boot image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The os-release file, if the root is a tree.
    pub os_release: Option<PathBuf>,
}

/// Returns the files of the boot image. *Reads* the folder `boot` of the root's tree.
///
/// # Errors
/// [`LocateError`].
pub fn boot_files(config: &Config) -> Result<BootFiles, LocateError> {
    let tree = config.root.tree.as_deref();
    let kernel = match (&config.boot.kernel, tree) {
        (Some(kernel), _) => kernel.clone(),
        (None, tree) => only_kernel(&tree.unwrap_or(Path::new("")).join("boot"))?,
    };
    let initramfs = config.boot.initramfs.clone().unwrap_or_else(|| {
        let name = kernel.file_name().unwrap_or_default().to_string_lossy();
        let version = name.trim_start_matches("vmlinuz-");
        kernel.with_file_name(format!("initrd.img-{version}"))
    });
    let os_release = tree.map(|tree| tree.join("usr/lib/os-release"));
    let needed = [Some(&kernel), Some(&initramfs), os_release.as_ref()];
    if let Some(missing) = needed.into_iter().flatten().find(|path| !path.is_file()) {
        return Err(LocateError::Missing(missing.clone()));
    }
    Ok(BootFiles {
        kernel,
        initramfs,
        os_release,
    })
}

/// Returns the only kernel of a folder.
fn only_kernel(folder: &Path) -> Result<PathBuf, LocateError> {
    let read = |error| LocateError::Read {
        path: folder.to_owned(),
        error,
    };
    let mut kernels = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"vmlinuz-")
        {
            kernels.push(entry.path());
        }
    }
    match (kernels.pop(), kernels.len()) {
        (Some(kernel), 0) => Ok(kernel),
        (kernel, rest) => Err(LocateError::Kernels {
            path: folder.to_owned(),
            count: rest + usize::from(kernel.is_some()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_and_initramfs_of_one_version_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path();
        let text = format!(
            "[release]\nversion = \"1\"\nrollback_index = 1\ncompatible = \"x\"\n[root]\ntree = {tree:?}\n"
        );
        let config = Config::parse(&text, Path::new("rayos.toml")).unwrap();
        fs::create_dir_all(tree.join("boot")).unwrap();
        fs::create_dir_all(tree.join("usr/lib")).unwrap();
        let words = |config: &Config| boot_files(config).unwrap_err().to_string();
        assert!(
            words(&config).contains("has 0 kernels"),
            "{}",
            words(&config)
        );
        fs::write(tree.join("boot/vmlinuz-6.1"), "").unwrap();
        assert!(words(&config).ends_with("initrd.img-6.1 is missing"));
        fs::write(tree.join("boot/initrd.img-6.1"), "").unwrap();
        fs::write(tree.join("usr/lib/os-release"), "").unwrap();
        let found = boot_files(&config).unwrap();
        assert_eq!(found.initramfs, tree.join("boot/initrd.img-6.1"));
        fs::write(tree.join("boot/vmlinuz-6.2"), "").unwrap();
        assert!(words(&config).contains("has 2 kernels"));
    }
}
