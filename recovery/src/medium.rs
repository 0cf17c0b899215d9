//! The installation medium: a file system on a removable device with a recovery image and bundles.

use crate::origin::Place;
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
    /// The firmware did not say which of two media it started.
    #[error("two media are in this machine, {0} and {1}: detach one of them")]
    Several(String, String),
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
    /// Searches `places` for the medium and mounts it at `at`, read-only; `None` if it is on none of
    /// them. *Reads.*
    ///
    /// # Errors
    /// [`MediumError::Several`] if it is on more than one disk; the system's error if the mount
    /// point cannot be used. A device that cannot be mounted is skipped.
    pub fn find(places: &[Place], at: &Path) -> Result<Option<Self>, MediumError> {
        let failed = |error| MediumError::Io {
            what: at.display().to_string(),
            error,
        };
        fs::create_dir_all(at).map_err(failed)?;
        let mut found: Option<&Place> = None;
        for place in places {
            if found.is_some_and(|first| first.disk == place.disk) {
                continue;
            }
            if !mount_medium(place, at).map_err(failed)? {
                continue;
            }
            unmount(at, UnmountFlags::empty()).map_err(|error| failed(error.into()))?;
            if let Some(first) = found {
                let [first, second] = [first, place].map(|it| it.path.display().to_string());
                return Err(MediumError::Several(first, second));
            }
            found = Some(place);
        }
        let Some(place) = found else {
            return Ok(None);
        };
        let is_there = mount_medium(place, at).map_err(failed)?;
        Ok(is_there.then(|| Self {
            root: at.to_owned(),
            disk: place.disk.clone(),
        }))
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
            let entry = entry.map_err(error)?;
            // A Mac adds a file `._NAME` with attributes beside each file that it copies.
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let path = entry.path();
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

/// Mounts a place at `at`, read-only, and leaves it mounted if it has the folder of a medium.
/// Returns whether it has.
fn mount_medium(place: &Place, at: &Path) -> io::Result<bool> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for kind in FILE_SYSTEMS {
        if mount(&place.path, at, kind, flags, None).is_err() {
            continue;
        }
        if at.join(MEDIA_DIR).is_dir() {
            return Ok(true);
        }
        unmount(at, UnmountFlags::empty())?;
    }
    Ok(false)
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
        let (_dir, one) = medium(&["a.bundle", "._a.bundle", "notes.txt"]);
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
