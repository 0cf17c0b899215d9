//! The installation medium: a file system on a removable device with a recovery image and bundles.

use installer::disk::disks::Roots;
use installer::install::answers::{Answers, AnswersError};
use installer::install::media_fingerprint::MediaFingerprint;
use installer::media::{ANSWERS_NAME, MEDIA_DIR};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use seal::SEAL_LEN;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use updater::source::Location;

/// File systems of media.
const FILE_SYSTEMS: [&str; 2] = ["vfat", "iso9660"];

/// A mounted medium, read-only.
#[derive(Debug)]
pub struct Medium {
    root: PathBuf,
    /// Kernel name of its disk.
    pub disk: String,
}

/// Why a medium cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// A file on it cannot be read.
    #[error("medium: {what}: {error}")]
    Io {
        /// Path on the medium.
        what: String,
        /// Error of the system.
        error: io::Error,
    },
    /// Its answers file cannot be used.
    #[error(transparent)]
    Answers(#[from] AnswersError),
    /// It contains no bundle.
    #[error("medium: no *.bundle in {MEDIA_DIR}")]
    NoBundle,
    /// It contains several bundles, and the answers file names none.
    #[error("medium: several bundles in {MEDIA_DIR}: {0}: name one in {ANSWERS_NAME}")]
    SeveralBundles(String),
}

impl Medium {
    /// Searches every block device for a medium and mounts it at `at`, read-only; `None` if there
    /// is none. *Reads.*
    ///
    /// # Errors
    /// The block devices cannot be listed. A device that cannot be mounted is skipped.
    pub fn find(roots: &Roots, at: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let mut names: Vec<_> = fs::read_dir(roots.sys.join("class/block"))?
            .flatten()
            .collect();
        // Partitions first: a disk with partitions has no file system of its own, and the kernel
        // would print an error for it on the console.
        names.sort_by_key(|entry| (!entry.path().join("partition").exists(), entry.file_name()));
        for entry in names {
            let name = entry.file_name().to_string_lossy().into_owned();
            let node = roots.dev.join(&name);
            for kind in FILE_SYSTEMS {
                let flags = MountFlags::RDONLY
                    | MountFlags::NOSUID
                    | MountFlags::NODEV
                    | MountFlags::NOEXEC;
                if mount(&node, at, kind, flags, None).is_err() {
                    continue;
                }
                if at.join(MEDIA_DIR).is_dir() {
                    let disk = whole_disk(&entry.path()).unwrap_or(name);
                    return Ok(Some(Self {
                        root: at.to_owned(),
                        disk,
                    }));
                }
                unmount(at, UnmountFlags::empty())?;
            }
        }
        Ok(None)
    }

    /// Reads its answers file; `None` if there is none. *Reads.*
    ///
    /// # Errors
    /// [`MediumError::Io`], [`MediumError::Answers`].
    pub fn answers(&self) -> Result<Option<Answers>, MediumError> {
        let path = self.root.join(MEDIA_DIR).join(ANSWERS_NAME);
        match fs::read(&path) {
            Ok(found) => Ok(Some(Answers::decode(&found)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(MediumError::Io {
                what: ANSWERS_NAME.to_owned(),
                error,
            }),
        }
    }

    /// Returns the path of its answers file, which need not exist. *Pure.*
    #[must_use]
    pub fn answers_path(&self) -> PathBuf {
        self.root.join(MEDIA_DIR).join(ANSWERS_NAME)
    }

    /// Returns the fingerprint of this medium with `bundle`. *Reads* its answers file and the seal
    /// of the bundle.
    ///
    /// # Errors
    /// [`MediumError::Io`].
    pub fn fingerprint(&self, bundle: &Location) -> Result<MediaFingerprint, MediumError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| MediumError::Io { what, error }
        };
        let answers =
            fs::read(self.root.join(MEDIA_DIR).join(ANSWERS_NAME)).map_err(failed(ANSWERS_NAME))?;
        let bundle = match bundle {
            Location::File(path) => {
                let mut seal = vec![0; SEAL_LEN];
                let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut seal));
                read.map_err(failed(&path.display().to_string()))?;
                seal
            }
            other => other.to_string().into_bytes(),
        };
        Ok(MediaFingerprint::of(&answers, &bundle))
    }

    /// Returns the bundle that the answers file names, as a path on the medium or a URL; without a
    /// name, the only bundle on the medium. *Reads.*
    ///
    /// # Errors
    /// [`MediumError`].
    pub fn bundle(&self, named: Option<&str>) -> Result<String, MediumError> {
        let dir = self.root.join(MEDIA_DIR);
        if let Some(name) = named {
            let path = || dir.join(name).display().to_string();
            return Ok(if name.contains("://") {
                name.to_owned()
            } else {
                path()
            });
        }
        let error = |error| MediumError::Io {
            what: MEDIA_DIR.to_owned(),
            error,
        };
        let mut bundles = Vec::new();
        for entry in fs::read_dir(&dir).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "bundle")
            {
                bundles.push(path.display().to_string());
            }
        }
        bundles.sort();
        match &bundles[..] {
            [one] => Ok(one.clone()),
            [] => Err(MediumError::NoBundle),
            several => Err(MediumError::SeveralBundles(several.join(", "))),
        }
    }
}

/// Returns the disk of a partition; `None` for a whole disk. *Reads.*
fn whole_disk(class_dir: &Path) -> Option<String> {
    let real = fs::canonicalize(class_dir).ok()?;
    let disk = real
        .join("partition")
        .exists()
        .then(|| real.parent())
        .flatten()?;
    Some(disk.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium(names: &[&str]) -> (tempfile::TempDir, Medium) {
        let dir = tempfile::tempdir().expect("directory");
        fs::create_dir(dir.path().join(MEDIA_DIR)).expect("directory");
        for name in names {
            fs::write(dir.path().join(MEDIA_DIR).join(name), "").expect("file");
        }
        let medium = Medium {
            root: dir.path().to_owned(),
            disk: "sda".to_owned(),
        };
        (dir, medium)
    }

    #[test]
    fn the_only_bundle_needs_no_name() {
        let (_dir, one) = medium(&["a.bundle", "notes.txt"]);
        assert!(
            one.bundle(None)
                .expect("bundle")
                .ends_with("RAYOS/a.bundle")
        );
        assert!(
            one.bundle(Some("b.bundle"))
                .expect("bundle")
                .ends_with("RAYOS/b.bundle")
        );
        assert_eq!(
            one.bundle(Some("http://x/y")).expect("bundle"),
            "http://x/y"
        );
        let (_dir, none) = medium(&[]);
        assert!(matches!(none.bundle(None), Err(MediumError::NoBundle)));
        let (_dir, two) = medium(&["a.bundle", "b.bundle"]);
        assert!(matches!(
            two.bundle(None),
            Err(MediumError::SeveralBundles(_))
        ));
    }

    #[test]
    fn the_fingerprint_depends_on_answers_and_bundle() {
        let (dir, medium) = medium(&[]);
        let path = dir.path().join("RAYOS/a.bundle");
        fs::write(dir.path().join("RAYOS/install.toml"), "version = 1").expect("file");
        fs::write(&path, vec![7; SEAL_LEN + 10]).expect("file");
        let (file, url) = (
            Location::File(path.clone()),
            Location::Http("http://x/y".to_owned()),
        );
        let fingerprints = [
            medium.fingerprint(&file).expect("fingerprint"),
            medium.fingerprint(&url).expect("fingerprint"),
        ];
        assert_eq!(
            fingerprints[0],
            medium.fingerprint(&file).expect("fingerprint")
        );
        assert_ne!(fingerprints[0], fingerprints[1]);
        fs::write(&path, vec![8; SEAL_LEN]).expect("file");
        assert_ne!(
            fingerprints[0],
            medium.fingerprint(&file).expect("another bundle")
        );
        fs::write(dir.path().join("RAYOS/install.toml"), "version = 1 # again").expect("file");
        assert_ne!(
            fingerprints[1],
            medium.fingerprint(&url).expect("other answers")
        );
        fs::write(&path, b"short").expect("file");
        assert!(matches!(
            medium.fingerprint(&file),
            Err(MediumError::Io { .. })
        ));
    }

    #[test]
    fn invalid_answers_are_an_error_and_missing_ones_are_not() {
        let (dir, medium) = medium(&[]);
        assert!(matches!(medium.answers(), Ok(None)));
        fs::write(dir.path().join("RAYOS/install.toml"), "version = 7").expect("file");
        assert!(matches!(
            medium.answers(),
            Err(MediumError::Answers(AnswersError::Version(7)))
        ));
    }
}
