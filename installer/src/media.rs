//! Installation media: a stick that a machine boots, created by the same code as an installed disk.

use crate::disk::layout::{ALIGNMENT, PlannedDisk, PlannedPartition};
use crate::disk::table::{Table, TableError};
use crate::esp::{self, EspFile, REMOVABLE_PATH, guards};
use bootctl::device::BlockDevice;
use bundle::ImageRole;
use bundle::trust::pe::GuardError;
use record::{Guid, PartitionName};
use seal::Trust;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use updater::source::{AnySource, HttpOptions, Location};
use updater::source::{FetchError, Retries};
use updater::{ApplyError, Incoming};

/// Path of the recovery image on a medium: its seal, then its EFI program, as in the recovery
/// partition.
pub const RECOVERY_PATH: &str = "EFI/RAYOS/RECOVERY.IMG";
/// Directory on a medium with bundle and answers file.
pub const MEDIA_DIR: &str = "RAYOS";
/// Name of the answers file in [`MEDIA_DIR`].
pub const ANSWERS_NAME: &str = "install.toml";

/// Maximum length of a file on a FAT file system, in bytes: its length has 32 bits.
pub const MAX_FAT_FILE: u64 = u32::MAX as u64;

/// Returns whether a file on a FAT file system may have this name, in all systems that read it.
/// *Pure.* The characters are those of long names (FAT specification 1.03, section 7.4).
fn is_fat_name(name: &str) -> bool {
    let plain = |c: char| (' '..='~').contains(&c) && !"\"*/:<>?\\|".contains(c);
    (1..=200).contains(&name.len()) && name.chars().all(plain) && !name.ends_with([' ', '.'])
}

/// Content of a medium.
pub struct MediaContent<'a> {
    /// The boot guard, with its trusted keys.
    pub guard: &'a [u8],
    /// Seal and recovery program.
    pub recovery: &'a [u8],
    /// Answers file.
    pub answers: Option<&'a [u8]>,
    /// The bundle.
    pub bundle: &'a Path,
}

/// Why a medium was not created.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The bundle cannot be read or is not acceptable.
    #[error(transparent)]
    Bundle(#[from] ApplyError),
    /// The boot guard in the bundle would start nothing of it.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The bundle has no image of a role that a medium needs.
    #[error("bundle has no {0} image")]
    Missing(ImageRole),
    /// The bundle is longer than a file on a FAT file system may be.
    #[error(
        "bundle {}: {len} bytes, maximum on a FAT file system {MAX_FAT_FILE}",
        path.display()
    )]
    TooLong {
        /// The bundle.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The file name of the bundle is not possible on a FAT file system.
    #[error(
        "bundle {0:?}: name not possible on a FAT file system: expected 1 to 200 printable ASCII \
         characters without \" * / : < > ? \\ |, no space or dot at the end"
    )]
    Name(String),
    /// A file or the medium cannot be read or written.
    #[error("{what}: {error}")]
    Io {
        /// File or device.
        what: String,
        /// Error of the system.
        error: io::Error,
    },
    /// The partition table cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The images of a bundle that a medium needs.
pub struct Images {
    /// Whether the guard starts recovery on a medium, where there are no trust links.
    pub starts: Result<Option<GuardError>, GuardError>,
    /// The boot guard.
    pub guard: Vec<u8>,
    /// Seal and recovery program.
    pub recovery: Vec<u8>,
    /// SHA-256 of the signed manifest: names the release.
    pub release: [u8; 32],
    /// Rollback index of the release.
    pub rollback_index: u64,
    /// Hardware that the release is compatible with.
    pub compatible: Vec<String>,
}

/// Reads and verifies the guard and recovery images of the bundle at `path`. *Reads.*
///
/// # Errors
/// [`MediaError`].
pub async fn images(path: &Path, trust: &Trust) -> Result<Images, MediaError> {
    let source = AnySource::new(&Location::File(path.to_owned()), HttpOptions::default());
    let source = source.map_err(|error| MediaError::Bundle(FetchError::from(error).into()))?;
    let incoming = Incoming::open(source, trust, Retries::default(), &|_, _| {}).await?;
    let release = Arc::clone(incoming.release());
    let mut taken = incoming
        .into_images(&[ImageRole::Guard, ImageRole::Recovery])
        .await?;
    let mut take = |role| taken.remove(&role).ok_or(MediaError::Missing(role));
    let (guard, image) = (take(ImageRole::Guard)?, take(ImageRole::Recovery)?);
    let mut recovery = release.seal().as_bytes().to_vec();
    recovery.extend_from_slice(&image);
    let rollback_index = release.manifest().rollback_index;
    let starts = guards::check(&guard, &release, &[], 0);
    Ok(Images {
        starts,
        guard,
        recovery,
        release: release.statement().manifest.sha256,
        rollback_index,
        compatible: release.manifest().compatible.clone(),
    })
}

impl MediaContent<'_> {
    /// Returns the GUID of a stick with this content and the release of this digest. *Pure.* Two
    /// sticks with other answers have other GUIDs: recovery uses the answers of the stick that was
    /// started, and recognises it by this.
    #[must_use]
    pub fn id(&self, release: [u8; 32]) -> Guid {
        let mut digest = Sha256::new_with_prefix(release);
        digest.update(self.answers.unwrap_or_default());
        let mut id = [0; 16];
        id.copy_from_slice(&digest.finalize()[..16]);
        Guid(id)
    }

    /// Returns the length of a file system with this content, in bytes: a multiple of 1 MiB, and
    /// large enough for FAT32. *Reads* the length of the bundle.
    ///
    /// # Errors
    /// [`MediaError::Io`] without a bundle; [`MediaError::TooLong`], [`MediaError::Name`].
    pub fn esp_len(&self) -> Result<u64, MediaError> {
        let bundle = std::fs::metadata(self.bundle)
            .map_err(|error| self.bundle_error(error))?
            .len();
        if bundle > MAX_FAT_FILE {
            let path = self.bundle.to_owned();
            return Err(MediaError::TooLong { path, len: bundle });
        }
        self.bundle_name()?;
        let files = [
            self.guard.len(),
            self.recovery.len(),
            self.answers.map_or(0, <[u8]>::len),
        ];
        let content = files.iter().fold(bundle, |sum, len| sum + *len as u64);
        // The tables of a FAT32 file system with clusters of 512 bytes take one byte in 64.
        let needed = content + content / 50 + 4 * ALIGNMENT;
        Ok(needed.max(36 * ALIGNMENT).next_multiple_of(ALIGNMENT))
    }

    /// Creates the file system at `offset` of `device`. *Writes*, durable on return. The same
    /// content gives the same bytes.
    ///
    /// # Errors
    /// [`MediaError`].
    ///
    /// # Power loss
    /// The firmware finds no file system until this returns.
    pub fn write_esp(
        &self,
        device: &dyn BlockDevice,
        offset: u64,
        len: u64,
    ) -> Result<(), MediaError> {
        let name = self.bundle_name()?;
        let bundle = File::open(self.bundle).map_err(|error| self.bundle_error(error))?;
        let bundle_path = format!("{MEDIA_DIR}/{name}");
        let answers_path = format!("{MEDIA_DIR}/{ANSWERS_NAME}");
        let mut files = vec![
            EspFile::new(REMOVABLE_PATH, self.guard),
            EspFile::new(RECOVERY_PATH, self.recovery),
            EspFile {
                path: &bundle_path,
                content: Box::new(bundle) as Box<dyn Read>,
            },
        ];
        files.extend(
            self.answers
                .map(|answers| EspFile::new(&answers_path, answers)),
        );
        esp::create(device, offset, len, 0x5241_594f, &mut files).map_err(|error| MediaError::Io {
            what: "medium".to_owned(),
            error,
        })
    }

    /// Returns the name that the bundle has on the medium.
    fn bundle_name(&self) -> Result<String, MediaError> {
        let name = self.bundle.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        if is_fat_name(&name) {
            Ok(name)
        } else {
            Err(MediaError::Name(name))
        }
    }

    fn bundle_error(&self, error: io::Error) -> MediaError {
        MediaError::Io {
            what: self.bundle.display().to_string(),
            error,
        }
    }
}

/// Returns the length of a stick with a file system of `esp_len` bytes and a table at each end.
/// *Pure.*
#[must_use]
pub const fn stick_len(esp_len: u64) -> u64 {
    esp_len + 2 * ALIGNMENT
}

/// Creates a stick: a partition table with one EFI system partition. *Writes*, durable on return.
///
/// # Errors
/// [`MediaError`].
///
/// # Power loss
/// The firmware finds no file system until this returns; running it again completes the stick.
pub fn write_stick(
    device: &dyn BlockDevice,
    content: &MediaContent<'_>,
    id: Guid,
) -> Result<(), MediaError> {
    let esp_len = content.esp_len()?;
    let esp = PlannedPartition {
        purpose: PartitionName::Esp,
        number: 1,
        offset: ALIGNMENT,
        size: esp_len,
        uuid: id,
    };
    let disk = PlannedDisk {
        disk_guid: id,
        install_id: id,
        size: device.len(),
        sector_size: device.sector_size(),
        partitions: vec![esp],
        kept: Vec::new(),
    };
    Table::build(&disk)?.commit(device)?;
    content.write_esp(device, ALIGNMENT, esp_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fat_can_store_are_accepted_and_no_others() {
        for name in [
            "rayos-1.2.0+7.bundle",
            "a~rc1.bundle",
            "rayos 1.2.0.bundle",
            "(1).bundle",
        ] {
            assert!(is_fat_name(name), "{name}");
        }
        let long = "x".repeat(201);
        for name in [
            "", "a:b", "a\\b", "a?", "ends.", "ends ", "tab\t", "grün", &long,
        ] {
            assert!(!is_fat_name(name), "{name}");
        }
    }
}
